#include "auth_cache.h"

#include <stdlib.h>
#include <string.h>

#include "../core/siphash.h"

enum { SETS = 512, WAYS = 2 };

struct entry {
    struct lb_auth_key key;
    uint64_t until_ms; /* 0: it is free */
    uint32_t length;
    char lines[LB_AUTH_LINES];
};

struct lb_auth_cache {
    uint8_t secret[32];
    struct entry entries[SETS * WAYS];
};

struct lb_auth_cache *lb_auth_cache_open(const uint8_t secret[32])
{
    struct lb_auth_cache *cache = calloc(1, sizeof *cache);
    if (cache)
        memcpy(cache->secret, secret, sizeof cache->secret);
    return cache;
}

void lb_auth_cache_close(struct lb_auth_cache *cache)
{
    free(cache);
}

void lb_auth_question_put(struct lb_auth_question *question, const void *bytes, size_t count)
{
    uint32_t length = (uint32_t)count;
    if (count > sizeof question->text || sizeof question->text - question->length < count + sizeof length) {
        question->too_long = 1;
        return;
    }
    memcpy(question->text + question->length, &length, sizeof length);
    memcpy(question->text + question->length + sizeof length, bytes, count);
    question->length += sizeof length + count;
}

struct lb_auth_key lb_auth_key_of(const struct lb_auth_cache *cache, const struct lb_auth_question *question)
{
    return (struct lb_auth_key){{lb_siphash(cache->secret, question->text, question->length),
                                 lb_siphash(cache->secret + 16, question->text, question->length)}};
}

static struct entry *set_of(struct lb_auth_cache *cache, struct lb_auth_key key)
{
    return cache->entries + key.tag[0] % SETS * WAYS;
}

static int is_of(const struct entry *entry, struct lb_auth_key key)
{
    return ((entry->key.tag[0] ^ key.tag[0]) | (entry->key.tag[1] ^ key.tag[1])) == 0;
}

const char *lb_auth_cache_find(struct lb_auth_cache *cache, struct lb_auth_key key, uint64_t now_ms, uint32_t *length)
{
    struct entry *set = set_of(cache, key);
    for (int i = 0; i < WAYS; i++)
        if (set[i].until_ms > now_ms && is_of(&set[i], key)) {
            *length = set[i].length;
            return set[i].lines;
        }
    return NULL;
}

void lb_auth_cache_keep(struct lb_auth_cache *cache, struct lb_auth_key key, uint64_t until_ms, const char *lines,
                        uint32_t length)
{
    struct entry *set = set_of(cache, key), *place = set;
    if (length > LB_AUTH_LINES)
        return;
    for (int i = 0; i < WAYS; i++)
        if (is_of(&set[i], key)) {
            place = &set[i];
            break;
        } else if (set[i].until_ms < place->until_ms) {
            place = &set[i];
        }
    place->key = key;
    place->until_ms = until_ms;
    place->length = length;
    memcpy(place->lines, lines, length);
}
