#include "why.h"

enum { JSON_SHIFT = 4 }; /* in spoken_why */

/* The place of the next decision, which nobody reads while it is being written. */
static struct lb_decision *begin(const struct lb_shm *shm, uint32_t section, uint64_t *number)
{
    *number = lb_shm_worker(shm, section)->decisions + 1;
    struct lb_decision *decision = lb_shm_decision(shm, section, *number);
    __atomic_store_n(&decision->number, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return decision;
}

static void publish(const struct lb_shm *shm, uint32_t section, struct lb_decision *decision, uint64_t number)
{
    __atomic_store_n(&decision->number, number, __ATOMIC_RELEASE);
    lb_add(&lb_shm_worker(shm, section)->decisions, 1);
}

uint32_t lb_why_note(const struct lb_shm *shm, const struct lb_pick *pick)
{
    uint64_t number;
    struct lb_decision *decision = begin(shm, pick->section, &number);
    const struct lb_thought *thought = pick->thought;
    int found = pick->backend != LB_NONE;

    decision->at_us = pick->now_us;
    decision->generation = found ? shm->backends[pick->backend].generation : 0;
    decision->backend = pick->backend;
    decision->pool = (uint16_t)pick->pool;
    for (int i = 0; i < 2; i++) {
        decision->candidate[i] = thought->candidate[i];
        decision->score[i] = thought->score[i];
    }
    decision->took_us = 0;
    decision->status = 0;
    decision->why = found || thought->why == LB_WHY_LIMITED ? thought->why : LB_WHY_NONE;
    decision->end = found ? LB_ENDED_NOT : LB_ENDED_NO_BACKEND;
    decision->cost = (uint16_t)pick->cost;
    decision->policy = (uint8_t)shm->pools[pick->pool].policy;
    decision->tried = (uint8_t)pick->tried;
    decision->spoken = decision->spoken_why = 0;
    decision->blocks = thought->blocks;
    decision->matched = thought->matched;
    decision->route = (uint16_t)pick->route;
    publish(shm, pick->section, decision, number);
    return (uint32_t)number;
}

void lb_why_answer(const struct lb_shm *shm, uint32_t section, enum lb_why why, uint32_t route, uint32_t status, uint64_t now_us)
{
    uint64_t number;
    struct lb_decision *decision = begin(shm, section, &number);
    *decision = (struct lb_decision){
        .at_us = now_us,
        .backend = LB_NONE,
        .pool = UINT16_MAX,
        .candidate = {LB_NONE, LB_NONE},
        .score = {-1, -1},
        .status = (uint16_t)status,
        .why = (uint8_t)why,
        .end = LB_ENDED_LOCAL,
        .route = (uint16_t)route,
    };
    publish(shm, section, decision, number);
}

void lb_why_refuse(const struct lb_shm *shm, uint32_t section, const struct lb_why_refused *refused)
{
    uint64_t number;
    struct lb_decision *decision = begin(shm, section, &number);
    int chosen = refused->pool < shm->head->max_pools;
    *decision = (struct lb_decision){
        .at_us = refused->now_us,
        .backend = LB_NONE,
        .pool = chosen ? (uint16_t)refused->pool : UINT16_MAX,
        .candidate = {LB_NONE, LB_NONE},
        .score = {-1, -1},
        .status = refused->status,
        .why = (uint8_t)refused->why,
        .end = LB_ENDED_DENIED,
        .policy = chosen ? (uint8_t)shm->pools[refused->pool].policy : 0,
        .route = refused->route,
    };
    publish(shm, section, decision, number);
}

void lb_why_speak(const struct lb_shm *shm, uint32_t section, uint32_t number, uint8_t spoken, uint8_t why)
{
    struct lb_decision *decision = lb_shm_decision(shm, section, number);
    if ((uint32_t)decision->number != number || decision->end != LB_ENDED_NOT)
        return;
    decision->spoken = spoken;
    decision->spoken_why = (uint8_t)(decision->spoken_why >> JSON_SHIFT << JSON_SHIFT | why);
}

void lb_why_body(const struct lb_shm *shm, uint32_t section, uint32_t number, enum lb_json_why json)
{
    struct lb_decision *decision = lb_shm_decision(shm, section, number);
    if ((uint32_t)decision->number == number)
        decision->spoken_why = (uint8_t)(json << JSON_SHIFT);
}

void lb_why_way(const struct lb_shm *shm, uint32_t section, const struct lb_way *way)
{
    uint64_t number = lb_shm_worker(shm, section)->decisions;
    struct lb_way_row *row = lb_shm_way(shm, section, number);
    __atomic_store_n(&row->number, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    row->way = *way;
    __atomic_store_n(&row->number, number, __ATOMIC_RELEASE);
}

void lb_why_end(const struct lb_shm *shm, uint32_t section, uint32_t number, enum lb_end end, uint32_t status, uint64_t now_us)
{
    struct lb_decision *decision = lb_shm_decision(shm, section, number);
    if ((uint32_t)decision->number != number || decision->end != LB_ENDED_NOT)
        return;
    decision->took_us = (uint32_t)(now_us - decision->at_us);
    decision->status = (uint16_t)status;
    __atomic_store_n(&decision->end, (uint8_t)end, __ATOMIC_RELEASE);
}
