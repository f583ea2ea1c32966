#include "json_body.h"

#include <stddef.h>
#include <string.h>

#include "syntax.h"

/* Where the walk is; a chunk is "5\r\nhello\r\n", the last one "0\r\n". */
enum { IN_SIZE, AT_SIZE_END, IN_DATA, AT_DATA_END, PAST_DATA, AT_END };

/* --- keys --------------------------------------------------------------------------------------------------------------- */

static void note(struct lb_json_body *body, enum lb_json_event event)
{
    const struct lb_json *json = &body->json;
    struct lb_json_said *said = &body->said;
    uint32_t key = (uint32_t)__builtin_ctz(json->which);
    uint16_t bit = (uint16_t)(1 << key);
    if (event == LB_JSON_TWICE) {
        said->twice |= json->which;
        return;
    }
    said->seen |= bit;
    if (json->kind != LB_JSON_STRING || json->word.length > LB_JSON_WORD)
        return;
    said->words |= bit;
    said->lengths[key] = json->word.length;
    memcpy(said->text[key], json->word.bytes, json->word.length);
}

static void read_content(struct lb_json_body *body, const char *at, uint32_t count)
{
    const char *end = at + count;
    enum lb_json_event event;
    body->content += count;
    while ((event = lb_json_read(&body->json, &at, end)) == LB_JSON_VALUE || event == LB_JSON_TWICE || event == LB_JSON_TEXT) {
        if (event != LB_JSON_TEXT)
            note(body, event);
        else if (!body->said.seen)
            lb_blocks_read_json(&body->text, body->json.raw, body->json.raw_length);
    }
    if (event == LB_JSON_BAD || event == LB_JSON_TOO_DEEP)
        body->said.over = body->said.broken = 1;
}

/* --- chunks ------------------------------------------------------------------------------------------------------------- */

/* One byte of what frames them. */
static void walk(struct lb_chunk_walk *walk, char c)
{
    switch (walk->place) {
    case IN_SIZE:
        if (c == '\r')
            walk->place = AT_SIZE_END;
        else
            walk->left = walk->left << 4 | ((uint32_t)lb_hex(c) & 15); /* as we wrote it; a large one ends beyond what is read */
        break;
    case AT_SIZE_END:
        walk->place = walk->left ? IN_DATA : AT_END;
        break;
    case AT_DATA_END:
        walk->place = PAST_DATA;
        break;
    case PAST_DATA:
        walk->place = IN_SIZE;
        break;
    }
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void read_chunks(struct lb_json_body *body, const char *request, uint32_t end, uint32_t most)
{
    while (body->at < end && !body->said.over && body->content < most && body->walk.place != AT_END) {
        if (body->walk.place != IN_DATA) {
            walk(&body->walk, request[body->at++]);
            continue;
        }
        uint32_t count = least(least(body->walk.left, end - body->at), most - body->content);
        read_content(body, request + body->at, count);
        body->at += count;
        body->walk.left -= count;
        if (!body->walk.left)
            body->walk.place = AT_DATA_END;
    }
}

/* --- the body ----------------------------------------------------------------------------------------------------------- */

void lb_json_body_begin(struct lb_json_body *body, const struct lb_json_path *keys, uint32_t count, uint32_t head)
{
    lb_json_begin(&body->json, keys, count);
    memset(&body->said, 0, offsetof(struct lb_json_said, lengths));
    body->walk = (struct lb_chunk_walk){0, IN_SIZE};
    body->text.blocks = NULL;
    body->at = head;
    body->content = 0;
}

void lb_json_body_begin_text(struct lb_json_body *body, const struct lb_json_path *keys, uint32_t count, uint32_t head,
                             const struct lb_blocks_reader *text)
{
    lb_json_body_begin(body, keys, count, head);
    body->text = *text;
}

void lb_json_body_read(struct lb_json_body *body, const char *request, uint32_t end, int chunked, uint32_t most)
{
    if (chunked) {
        read_chunks(body, request, end, most);
    } else if (body->at < end && !body->said.over) {
        uint32_t count = least(end - body->at, most - body->content);
        read_content(body, request + body->at, count);
        body->at += count;
    }
}

void lb_json_body_end(struct lb_json_body *body, int whole)
{
    body->said.over = 1;
    body->said.cut = !whole;
    body->said.broken |= whole && !lb_json_is_whole(&body->json);
}
