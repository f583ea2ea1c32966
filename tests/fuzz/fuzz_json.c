/* libFuzzer's target for the reader of JSON. In one piece, in two and byte by byte it tells the same; what streams is the text between its
 * bounds, and a text that is whole stays so with blanks behind it. */
#include <stdlib.h>
#include <string.h>

#include "json/reader.h"

enum { MOST = 4096, TOLD = 1 << 16 };

static const struct lb_json_path paths[] = {
    {{"model"}, {5}, 1, 0},
    {{"messages"}, {8}, 1, 1},
    {{"metadata", "tier"}, {8, 4}, 2, 0},
    {{"", "a", "b", "c"}, {0, 1, 1, 1}, 4, 1},
};

/* What was told, but for where the text of values was cut. */
struct told {
    uint8_t bytes[TOLD];
    uint32_t count;
    uint64_t text;
    enum lb_json_event last;
    int whole;
};

static void demand(int condition)
{
    if (!condition)
        abort();
}

static void put(struct told *told, const void *bytes, uint32_t count)
{
    demand(count <= TOLD - told->count);
    memcpy(told->bytes + told->count, bytes, count);
    told->count += count;
}

static void note(struct told *told, const struct lb_json *json, enum lb_json_event event)
{
    uint8_t said[] = {(uint8_t)event, (uint8_t)json->which, json->kind};
    if (event == LB_JSON_TEXT) {
        demand(json->raw_length > 0);
        put(told, json->raw, (uint32_t)json->raw_length);
        told->text += json->raw_length;
        return;
    }
    put(told, said, sizeof said);
    if (event == LB_JSON_VALUE && json->kind <= LB_JSON_NUMBER && json->word.length <= LB_JSON_WORD)
        put(told, json->word.bytes, json->word.length);
}

static void feed(struct told *told, struct lb_json *json, const char *at, uint32_t count)
{
    const char *end = at + count;
    do {
        told->last = lb_json_read(json, &at, end);
        demand(at <= end);
        if (told->last == LB_JSON_BAD || told->last == LB_JSON_TOO_DEEP)
            return;
        if (told->last != LB_JSON_MORE)
            note(told, json, told->last);
    } while (told->last != LB_JSON_MORE);
    demand(at == end);
}

/* In pieces of so many bytes, behind a first one. */
static void read_in(struct told *told, const char *bytes, uint32_t count, uint32_t first, uint32_t size)
{
    struct lb_json json;
    told->count = 0;
    told->text = 0;
    told->last = LB_JSON_MORE;
    lb_json_begin(&json, paths, sizeof paths / sizeof paths[0]);
    for (uint32_t at = 0, here = first; at < count && told->last == LB_JSON_MORE; at += here, here = size) {
        here = here < count - at ? here : count - at;
        feed(told, &json, bytes + at, here);
    }
    told->whole = lb_json_is_whole(&json);
    demand(!told->whole || told->last == LB_JSON_MORE);
    if (told->last == LB_JSON_MORE)
        feed(told, &json, "  ", 2);
    demand(!told->whole || lb_json_is_whole(&json));
}

static void demand_same(const struct told *one, const struct told *other)
{
    demand(one->last == other->last && one->whole == other->whole);
    if (one->last != LB_JSON_MORE) /* how much of a value's text was told before its fault depends on where it was cut */
        return;
    demand(one->text == other->text && one->count == other->count);
    demand(memcmp(one->bytes, other->bytes, one->count) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct told one, two, many;
    if (size < 1 || size > MOST)
        return 0;
    const char *bytes = (const char *)data + 1;
    uint32_t count = (uint32_t)size - 1;
    read_in(&one, bytes, count, count, count);
    read_in(&two, bytes, count, data[0] % (count + 1), count);
    read_in(&many, bytes, count, 1, 1);
    demand_same(&one, &two);
    demand_same(&one, &many);
    demand(one.text <= count);
    return 0;
}
