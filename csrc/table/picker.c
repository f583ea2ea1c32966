#include "picker.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "avoid.h"
#include "backend_health.h"
#include "ending.h"
#include "load.h"
#include "prefixes.h"
#include "table.h"
#include "view.h"

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void raise_sections(struct lb_head *head, uint32_t count)
{
    uint32_t now = __atomic_load_n(&head->sections, __ATOMIC_RELAXED);
    while (now < count && !__atomic_compare_exchange_n(&head->sections, &now, count, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        ;
}

int lb_picker_join(struct lb_picker *picker, const struct lb_shm *shm, uint64_t seed)
{
    struct lb_cursor *cursors = calloc(shm->head->max_pools, sizeof *cursors);
    if (!cursors)
        return -ENOMEM;
    for (uint32_t i = 0; i < shm->head->max_pools; i++)
        cursors[i].seed = (seed + i) * 2 + 1;
    for (uint32_t section = shm->head->workers; section < shm->head->workers + LB_PICKERS; section++) {
        struct lb_worker_row *row = lb_shm_worker(shm, section);
        uint32_t nobody = 0;
        if (!__atomic_compare_exchange_n(&row->pid, &nobody, (uint32_t)getpid(), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        row->state = LB_WORKER_PICKING;
        raise_sections(shm->head, section + 1);
        *picker = (struct lb_picker){.shm = *shm, .section = section, .cursors = cursors};
        return 0;
    }
    free(cursors);
    return -EUSERS;
}

void lb_picker_bury(const struct lb_shm *shm, uint32_t section)
{
    lb_table_bury_worker(shm, section);
    __atomic_store_n(&lb_shm_worker(shm, section)->pid, 0, __ATOMIC_RELEASE);
}

void lb_picker_forget(struct lb_picker *picker)
{
    free(picker->cursors);
    picker->cursors = NULL;
}

void lb_picker_leave(struct lb_picker *picker)
{
    lb_picker_bury(&picker->shm, picker->section);
    lb_picker_forget(picker);
}

static void begin(struct lb_picker *picker)
{
    while (__atomic_test_and_set(&picker->busy, __ATOMIC_ACQUIRE))
        ;
}

static void done(struct lb_picker *picker)
{
    __atomic_clear(&picker->busy, __ATOMIC_RELEASE);
}

static uint32_t claim(struct lb_picker *picker, const struct lb_picker_wish *asked, struct lb_picked *picked)
{
    struct lb_thought thought;
    struct lb_wish wish = {.worker = picker->section,
                           .now_ms = (uint32_t)(picked->at_us / 1000),
                           .key = asked->key,
                           .blocks = asked->blocks,
                           .thought = &thought};
    uint32_t backend = lb_view_acquire(&picker->shm, asked->pool, &wish, &picker->cursors[asked->pool], asked->cost);
    struct lb_pick pick = {picked->at_us, picker->section, asked->pool, backend, asked->cost, 0, 0, &thought};
    picked->decision = lb_why_note(&picker->shm, &pick);
    return backend;
}

void lb_picker_by(const struct lb_picker *picker, const void *bytes, size_t count, struct lb_picker_wish *wish,
                  struct lb_blocks *blocks)
{
    if (wish->pool >= picker->shm.head->max_pools)
        return;
    wish->key = lb_policy_key(bytes, count);
    if (picker->shm.pools[wish->pool].policy != LB_PREFIX)
        return;
    wish->blocks = blocks;
    if (picker->shm.pools[wish->pool].hash_key == LB_HASH_JSON)
        lb_prefixes_text(&picker->shm, wish->pool, bytes, count, blocks);
    else
        lb_prefixes_key(&picker->shm, wish->pool, wish->key, blocks);
}

int lb_picker_pick(struct lb_picker *picker, const struct lb_picker_wish *wish, struct lb_picked *picked)
{
    if (wish->pool >= picker->shm.head->max_pools || !picker->shm.pools[wish->pool].state)
        return -ENOENT;
    *picked = (struct lb_picked){.at_us = now_us(), .pool = wish->pool, .cost = wish->cost};
    begin(picker);
    uint32_t backend = claim(picker, wish, picked);
    done(picker);
    picked->backend = backend;
    if (backend == LB_NONE)
        return -EAGAIN;
    picked->generation = picker->shm.backends[backend].generation;
    return 0;
}

static void learn(struct lb_picker *picker, const struct lb_picked *picked, enum lb_says says, uint64_t now)
{
    int fresh;
    struct lb_backend_health *health = lb_health_of(&picker->shm, picker->section, picked->backend, &fresh);
    switch (says) {
    case LB_SAYS_NOTHING:
        break;
    case LB_SAYS_GOOD:
        lb_health_responded(health, (uint32_t)(now - picked->at_us), now / 1000);
        break;
    case LB_SAYS_UNREACHABLE:
        lb_health_unreachable(health, ECONNREFUSED);
        (void)lb_avoid_failed(&picker->shm, picker->section, picked->pool, picked->backend, (uint32_t)(now / 1000));
        break;
    case LB_SAYS_FAILED:
        lb_health_failed(health, 0);
        lb_add(&health->sessions, 1); /* it was reached */
        break;
    }
}

void lb_picker_release(struct lb_picker *picker, const struct lb_picked *picked, enum lb_end end)
{
    uint64_t now = now_us();
    begin(picker);
    lb_load_give(&picker->shm, picker->section, picked->pool, picked->backend, picked->cost);
    lb_why_end(&picker->shm, picker->section, picked->decision, end, 0, now);
    if (picker->shm.backends[picked->backend].generation == picked->generation)
        learn(picker, picked, (enum lb_says)lb_endings[end].says, now);
    done(picker);
}
