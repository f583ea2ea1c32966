#include "text_body.h"

#include <string.h>

#include "../table/policy.h"
#include "../table/prefixes.h"
#include "belongs.h"
#include "json_condition.h"

int lb_http_goes_by_text(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    return pool->hash_key == LB_HASH_JSON && (pool->policy == LB_PREFIX || pool->policy == LB_MAGLEV) &&
           lb_json_is_body(&l7->message, bytes);
}

static struct lb_text *text_at(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_slab_at(&l7->texts, exchange->text);
}

/* The names of the pool's `hash`, apart by commas. They stay where they are: in the segment. */
static uint32_t keys_of(const struct lb_pool_row *pool, struct lb_json_path keys[LB_TEXT_KEYS])
{
    const char *at = (const char *)pool->hash_name, *end = at + strnlen(at, sizeof pool->hash_name);
    uint32_t count = 0;
    while (at < end && count < LB_TEXT_KEYS) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        uint32_t length = (uint32_t)((comma ? comma : end) - at);
        keys[count++] =
            (struct lb_json_path){.names = {at}, .lengths = {length}, .levels = 1, .streams = pool->policy == LB_PREFIX};
        at += length + 1;
    }
    return count;
}

void lb_text_begin(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body)
{
    const struct lb_shm *shm = &l7->ctx->shm;
    struct lb_blocks_reader reader;
    if (exchange->text == LB_SLAB_NONE)
        exchange->text = lb_slab_take(&l7->texts); /* as many as exchanges */
    struct lb_text *text = text_at(l7, exchange);
    uint32_t count = keys_of(lb_http_pool(l7, exchange), text->keys);
    text->keyed = 0;
    lb_blocks_begin(&reader, &text->blocks, shm->head->client_key, shm->pools[exchange->pool].tenant);
    lb_json_body_begin_text(body, text->keys, count, l7->message.head.bytes, &reader);
}

int lb_text_is_there(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body)
{
    const struct lb_json_said *said = &body->said;
    struct lb_text *text = text_at(l7, exchange);
    if (!said->seen && !said->over)
        return 0;
    text->blocks.cut = !said->seen;
    if (said->seen & said->words) {
        uint32_t key = (uint32_t)__builtin_ctz(said->seen & said->words);
        text->key = lb_policy_key(said->text[key], said->lengths[key]);
        text->keyed = 1;
    }
    return 1;
}

const struct lb_text *lb_text_of(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->text == LB_SLAB_NONE ? NULL : text_at(l7, exchange);
}

void lb_text_drop(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->text != LB_SLAB_NONE)
        lb_slab_give(&l7->texts, exchange->text);
    exchange->text = LB_SLAB_NONE;
}
