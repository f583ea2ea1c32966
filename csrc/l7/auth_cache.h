/* What was granted lately: the decisions of auth_request.h that hold for a while. Of a worker; nothing but an equal question finds one. */
#ifndef LB_AUTH_CACHE_H
#define LB_AUTH_CACHE_H

#include <stddef.h>
#include <stdint.h>

enum { LB_AUTH_LINES = 480 }; /* longer ones are not kept */

/* A question, hashed with a key that nobody outside knows, twice. */
struct lb_auth_key {
    uint64_t tag[2];
};

struct lb_auth_cache; /* NULL: nothing was kept yet */

/* What of the question counts: each piece is put in, and its length with it. Zero at first. */
struct lb_auth_question {
    char text[8192];
    size_t length;
    int too_long; /* it is asked each time */
};

void lb_auth_question_put(struct lb_auth_question *question, const void *bytes, size_t count);

/* Make one: NULL without memory. secret: 32 random bytes. */
struct lb_auth_cache *lb_auth_cache_open(const uint8_t secret[32]);
void lb_auth_cache_close(struct lb_auth_cache *cache);

struct lb_auth_key lb_auth_key_of(const struct lb_auth_cache *cache, const struct lb_auth_question *question);

/* The lines that were granted, *length of them; NULL: it is to be asked. */
const char *lb_auth_cache_find(struct lb_auth_cache *cache, struct lb_auth_key key, uint64_t now_ms, uint32_t *length);

void lb_auth_cache_keep(struct lb_auth_cache *cache, struct lb_auth_key key, uint64_t until_ms, const char *lines,
                        uint32_t length);

#endif
