/* Which backends have computed which beginnings of texts lately: what the policy `prefix` goes by. Tables of a fixed size, which all
 * workers share. A pool has one alone, as long as there are no more pools than tables. They hold no text.
 *
 * What a backend has had is forgotten when it begins a new life (comes up again after it was down, or is another one at the row), when it
 * has not been asked for it for the pool's prefix_ttl or since its cache (prefix_cache) was filled with other texts, and when others need
 * the slot: the oldest of a line goes first. */
#ifndef LB_PREFIXES_H
#define LB_PREFIXES_H

#include "blocks.h"
#include "shm.h"

enum { LB_HOLDERS = 4 }; /* backends that are remembered of one block */

/* A text's blocks as they are known in a pool, and those of a whole key by its hash. */
void lb_prefixes_text(const struct lb_shm *shm, uint32_t pool, const void *bytes, size_t count, struct lb_blocks *blocks);
void lb_prefixes_key(const struct lb_shm *shm, uint32_t pool, uint64_t key, struct lb_blocks *blocks);

/* Who has a block. */
struct lb_holders {
    uint32_t backend[LB_HOLDERS];
    uint32_t count;
};

/* The backends that have had this block within the pool's prefix_ttl, in the life that they live now. now_ms: monotonic, low 32 bits. */
void lb_prefixes_find(const struct lb_shm *shm, uint32_t pool, uint64_t hash, uint32_t now_ms, struct lb_holders *holders);

/* A text goes to this backend: it will have all of its blocks. Any worker. */
void lb_prefixes_learn(const struct lb_shm *shm, uint32_t pool, const struct lb_blocks *blocks, uint32_t backend,
                       uint32_t now_ms);

/* Likewise of an end that a text continues elsewhere: from now on several backends know it. */
void lb_prefixes_learn_end(const struct lb_shm *shm, uint32_t pool, uint64_t end, uint32_t backend, uint32_t now_ms);

/* So many bytes of a text are new to the backend: they push out of its cache what was used longest ago. */
void lb_prefixes_fill(const struct lb_shm *shm, uint32_t pool, uint32_t backend, uint32_t bytes, uint32_t now_ms);

/* Control plane: the backend begins anew, whatever it had is lost. */
void lb_prefixes_forget(const struct lb_shm *shm, uint32_t backend);

/* Count one more text for a backend in what it was given lately; 1: halve all of its pool, so that it stays lately. */
__attribute__((warn_unused_result)) int lb_prefixes_count(const struct lb_shm *shm, uint32_t backend);
void lb_prefixes_halve(const struct lb_shm *shm, uint32_t backend);

#endif
