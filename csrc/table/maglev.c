#include "maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A member's order of preference over the slots: offset, offset + skip, ... (3.4 of the paper). */
struct preference {
    uint32_t at;
    uint32_t skip;
    uint64_t due; /* turns are taken when round * weight reaches it: the heaviest takes every round */
};

static void prefer(struct preference *preference, uint64_t name)
{
    preference->at = (uint32_t)(name >> 32) % LB_MAGLEV_SLOTS;
    preference->skip = (uint32_t)name % (LB_MAGLEV_SLOTS - 1) + 1;
    preference->due = 0;
}

static uint32_t next_free(struct preference *preference, const uint8_t *taken)
{
    for (;;) {
        uint32_t slot = preference->at;
        preference->at = (slot + preference->skip) % LB_MAGLEV_SLOTS;
        if (!taken[slot])
            return slot;
    }
}

static void populate(const uint32_t *members, const uint32_t *weights, uint32_t count, struct preference *preferences,
                     uint8_t *taken, uint32_t *slots)
{
    uint32_t heaviest = 1, filled = 0;
    for (uint32_t i = 0; i < count; i++)
        if (weights[i] > heaviest)
            heaviest = weights[i];
    for (uint64_t round = 1;; round++)
        for (uint32_t i = 0; i < count; i++) {
            if (round * weights[i] < preferences[i].due + heaviest)
                continue;
            preferences[i].due += heaviest;
            uint32_t slot = next_free(&preferences[i], taken);
            taken[slot] = 1;
            __atomic_store_n(&slots[slot], members[i], __ATOMIC_RELAXED); /* a worker that was overtaken may still read */
            if (++filled == LB_MAGLEV_SLOTS)
                return;
        }
}

int64_t lb_maglev_build(const uint32_t *members, const uint32_t *weights, const uint64_t *names, uint32_t count,
                        uint32_t *slots)
{
    struct preference *preferences = malloc(count * sizeof *preferences);
    uint8_t *taken = calloc(1, LB_MAGLEV_SLOTS);
    int64_t result = -ENOMEM;
    if (preferences && taken) {
        for (uint32_t i = 0; i < count; i++)
            prefer(&preferences[i], names[i]);
        populate(members, weights, count, preferences, taken, slots);
        result = LB_MAGLEV_SLOTS;
    }
    free(preferences);
    free(taken);
    return result;
}
