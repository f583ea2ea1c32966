#include "maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A member's order of preference over the slots: offset, offset + skip, ... (3.4 of the paper). */
struct preference {
    uint64_t name;
    uint32_t member;
    uint32_t weight;
    uint32_t at;
    uint32_t skip;
    uint64_t due; /* turns are taken when round * weight reaches it: the heaviest takes every round */
};

static struct preference prefer(uint64_t name, uint32_t member, uint32_t weight)
{
    return (struct preference){
        .name = name,
        .member = member,
        .weight = weight,
        .at = (uint32_t)(name >> 32) % LB_MAGLEV_SLOTS,
        .skip = (uint32_t)name % (LB_MAGLEV_SLOTS - 1) + 1,
    };
}

/* Who goes first matters where preferences meet: by name, so that it is the same everywhere. */
static int by_name(const void *a, const void *b)
{
    const struct preference *one = a, *two = b;
    return (one->name > two->name) - (one->name < two->name);
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

static void populate(struct preference *preferences, uint32_t count, uint8_t *taken, uint32_t *slots)
{
    uint32_t heaviest = 1, filled = 0;
    for (uint32_t i = 0; i < count; i++)
        if (preferences[i].weight > heaviest)
            heaviest = preferences[i].weight;
    for (uint64_t round = 1;; round++)
        for (uint32_t i = 0; i < count; i++) {
            if (round * preferences[i].weight < preferences[i].due + heaviest)
                continue;
            preferences[i].due += heaviest;
            uint32_t slot = next_free(&preferences[i], taken);
            taken[slot] = 1;
            __atomic_store_n(&slots[slot], preferences[i].member,
                             __ATOMIC_RELAXED); /* a worker that was overtaken may still read */
            if (++filled == LB_MAGLEV_SLOTS)
                return;
        }
}

int64_t lb_maglev_build(const uint32_t *members, const uint32_t *weights, const uint64_t *names, uint32_t count, uint32_t *slots)
{
    struct preference *preferences = malloc(count * sizeof *preferences);
    uint8_t *taken = calloc(1, LB_MAGLEV_SLOTS);
    int64_t result = -ENOMEM;
    if (preferences && taken) {
        for (uint32_t i = 0; i < count; i++)
            preferences[i] = prefer(names[i], members[i], weights[i]);
        qsort(preferences, count, sizeof *preferences, by_name);
        populate(preferences, count, taken, slots);
        result = LB_MAGLEV_SLOTS;
    }
    free(preferences);
    free(taken);
    return result;
}
