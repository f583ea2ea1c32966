#include "by_prefix.h"

#include "load.h"
#include "prefixes.h"

enum {
    SCANNED = 32,     /* members that are all compared; of more, so many draws */
    STRANGE_IN = 4,   /* one in so many looks for a backend to warm up */
    ESTABLISHED = 32, /* texts that a backend was given lately before it gives one away */
    FIRST_TEXTS = 8,  /* that a new backend gets whatever is under way */
};

#define EASE 4.0f        /* requests under way that are no load yet */
#define EASE_GIVEN 2.0f  /* texts given lately that are none yet: the first ones are mere chance */
#define KNOWN 0.35f      /* a text that is known whole is worth so much of a backend's share of load */
#define LEAST_GIVEN 0.5f /* who was given less than that share is not flooded for it ... */
#define MOST_GIVEN 2.0f  /* ... and who was given more than that is not shunned for ever */

/* What is known of a text. */
struct match {
    struct lb_holders holders; /* usable ones that have had the most of it */
    uint32_t depth;            /* blocks that these have; 0: nobody has any */
    uint32_t home;             /* the only one that served a text that this one continues; LB_NONE: none, or several */
    uint64_t end;              /* of that text */
};

/* What the members have in common. */
struct scale {
    float all;   /* under way in the pool */
    float given; /* lately, a unit of weight */
};

static float lately(const struct lb_choice *choice, uint32_t backend)
{
    return (float)__atomic_load_n(&choice->shm->homes[backend].lately, __ATOMIC_RELAXED);
}

static int is_member(const struct lb_choice *choice, uint32_t backend)
{
    const struct lb_backend_row *row = &choice->shm->backends[backend];
    return row->pool == choice->pool && row->tier == choice->tier && lb_choice_usable(choice, backend);
}

static void find(const struct lb_choice *choice, uint64_t hash, struct lb_holders *holders)
{
    struct lb_holders found;
    lb_prefixes_find(choice->shm, choice->pool, hash, choice->wish->now_ms, &found);
    holders->count = 0;
    for (uint32_t i = 0; i < found.count; i++)
        if (is_member(choice, found.backend[i]))
            holders->backend[holders->count++] = found.backend[i];
}

/* Did anybody serve a text that ended there? */
static int ended_at(const struct lb_choice *choice, uint64_t end, struct match *match)
{
    struct lb_holders ended;
    find(choice, end, &ended);
    match->end = end;
    match->home = ended.count == 1 ? ended.backend[0] : LB_NONE;
    return ended.count > 0;
}

/* Who served a text that ended where a part of this one does: the last such part counts. This text's own end says nothing, unless
 * it goes on: it may be a question that all ask. A key, and a text that goes on for a block and more behind what is known of it: who
 * served one that ended in the last block that is known. */
static void find_home(const struct lb_choice *choice, const struct lb_blocks *blocks, struct match *match)
{
    uint32_t first = blocks->ends > LB_ENDS ? blocks->ends - LB_ENDS : 0;
    match->home = LB_NONE;
    if (!blocks->ends || (blocks->words && match->depth < blocks->count)) {
        if (match->depth)
            (void)ended_at(choice, lb_blocks_last_at(blocks->hash[match->depth - 1]), match);
        return;
    }
    for (uint32_t part = blocks->ends - !blocks->cut; part > first; part--)
        if (ended_at(choice, blocks->end[(part - 1) % LB_ENDS], match))
            break;
}

static struct match match(const struct lb_choice *choice)
{
    const struct lb_blocks *blocks = choice->wish->blocks;
    struct match found = {.depth = blocks->count};
    while (found.depth) {
        find(choice, blocks->hash[found.depth - 1], &found.holders);
        if (found.holders.count)
            break;
        found.depth--;
    }
    find_home(choice, blocks, &found);
    return found;
}

static int has(const struct match *match, uint32_t backend)
{
    for (uint32_t i = 0; match->depth && i < match->holders.count; i++)
        if (match->holders.backend[i] == backend)
            return 1;
    return 0;
}

/* Lower is better; an even share of either load is 1. */
static float score(const struct lb_choice *choice, const struct match *match, const struct scale *scale, uint32_t backend)
{
    float cost = lb_choice_cost(choice, backend), weight = (float)choice->weight;
    float busy = (lb_choice_work(choice, backend) * cost * weight + EASE * (float)choice->member_count) /
                 (scale->all + EASE * (float)choice->member_count);
    float given = (lately(choice, backend) * cost * weight + EASE_GIVEN * (float)choice->member_count) /
                  (scale->given * weight + EASE_GIVEN * (float)choice->member_count);
    given = given < LEAST_GIVEN ? LEAST_GIVEN : given > MOST_GIVEN ? MOST_GIVEN : given;
    float known =
        has(match, backend) ? (float)lb_blocks_bytes(match->depth) / (float)lb_blocks_bytes(choice->wish->blocks->count) : 0;
    return busy + given - KNOWN * known;
}

/* Those who are compared, but for one: of a small pool each member, from anywhere; of a large one draws by weight, and who knows the
 * text. */
static uint32_t gather(const struct lb_choice *choice, struct lb_cursor *cursor, const struct match *match, uint32_t except,
                       uint32_t candidates[SCANNED + LB_HOLDERS])
{
    uint32_t count = 0, few = choice->member_count <= SCANNED, start = lb_draw(cursor, choice->member_count);
    for (uint32_t i = 0; i < (few ? choice->member_count : SCANNED); i++) {
        uint32_t backend = few ? lb_entry(choice->members, (start + i) % choice->member_count)
                               : lb_entry(choice->slots, lb_draw(cursor, choice->slot_count));
        if (backend != except && lb_choice_usable(choice, backend) && lb_choice_admits(choice, cursor, backend))
            candidates[count++] = backend;
    }
    for (uint32_t i = 0; match->depth && !few && i < match->holders.count; i++)
        if (match->holders.backend[i] != except)
            candidates[count++] = match->holders.backend[i];
    return count;
}

/* The best of all but one by load and by what is known. */
static uint32_t place(const struct lb_choice *choice, struct lb_cursor *cursor, const struct match *match, uint32_t except)
{
    uint32_t candidates[SCANNED + LB_HOLDERS], count = gather(choice, cursor, match, except, candidates), best = LB_NONE;
    struct scale scale = {.all = (float)lb_load_of_pool(choice->shm, choice->pool)};
    float least = INFINITY;
    for (uint32_t i = 0; i < count; i++)
        scale.given += lately(choice, candidates[i]) * lb_choice_cost(choice, candidates[i]) / (float)count;
    for (uint32_t i = 0; i < count; i++) {
        float mine = score(choice, match, &scale, candidates[i]);
        if (mine >= least)
            continue;
        least = mine;
        best = candidates[i];
    }
    lb_choice_compare(choice, 1, best, least);
    return best;
}

/* A backend that is new, or has been given next to nothing while this one has several under way: a text that this one would continue
 * starts anew there, as all of a shared beginning have one place each already. LB_NONE: nobody, or it is not this one's turn. */
static uint32_t stranger(const struct lb_choice *choice, struct lb_cursor *cursor, uint32_t home, float all)
{
    if (lb_draw(cursor, STRANGE_IN) || lately(choice, home) < ESTABLISHED)
        return LB_NONE;
    uint32_t other = lb_entry(choice->slots, lb_draw(cursor, choice->slot_count));
    if (other == home || !lb_choice_usable(choice, other) || !lb_choice_admits(choice, cursor, other))
        return LB_NONE;
    float mine = lately(choice, other) * lb_choice_cost(choice, other), its = lately(choice, home) * lb_choice_cost(choice, home);
    int is_new = __atomic_load_n(&choice->shm->homes[other].given, __ATOMIC_RELAXED) < FIRST_TEXTS;
    int is_idle = lb_choice_work(choice, other) + 2 <= lb_choice_work(choice, home);
    return mine * 2 < its && (is_new || is_idle) && lb_choice_within_bound(choice, other, all) ? other : LB_NONE;
}

static void tell(const struct lb_choice *choice, const struct match *match, uint32_t backend, enum lb_why why)
{
    struct lb_thought *thought = choice->wish->thought;
    if (!thought)
        return;
    int knows = backend != LB_NONE && (backend == match->home || has(match, backend));
    thought->why = (uint8_t)(why != LB_WHY_NEW || !knows ? why : LB_WHY_SHARED);
    thought->blocks = (uint8_t)choice->wish->blocks->count;
    thought->matched = (uint8_t)match->depth;
    thought->had = knows ? thought->matched : 0;
    thought->end = match->home != LB_NONE && backend != match->home ? match->end : 0;
}

uint32_t lb_pick_by_prefix(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    struct match found = match(choice);
    if (found.home == LB_NONE) {
        uint32_t backend = place(choice, cursor, &found, LB_NONE);
        tell(choice, &found, backend, LB_WHY_NEW);
        return backend;
    }
    float all = (float)lb_load_of_pool(choice->shm, choice->pool);
    lb_choice_compare(choice, 0, found.home, lb_choice_work(choice, found.home));
    if (!lb_choice_within_bound(choice, found.home, all)) {
        uint32_t backend = place(choice, cursor, &found, found.home);
        tell(choice, &found, backend == LB_NONE ? found.home : backend, backend == LB_NONE ? LB_WHY_PREFIX : LB_WHY_CROWDED);
        return backend == LB_NONE ? found.home : backend; /* nobody else can be had */
    }
    uint32_t other = stranger(choice, cursor, found.home, all);
    tell(choice, &found, other == LB_NONE ? found.home : other, other == LB_NONE ? LB_WHY_PREFIX : LB_WHY_WARM);
    return other == LB_NONE ? found.home : other;
}
