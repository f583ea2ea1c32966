/* Connections that are not served yet: the places of a worker for them, and the lists that those are in whose handshake waits or is under
 * way. */
#ifndef LB_PREREAD_LISTS_H
#define LB_PREREAD_LISTS_H

#include "accepted.h"
#include "hello.h"
#include "worker_context.h"

enum lb_preread_stage {
    LB_PREREAD_HEADER, /* the PROXY header has not come yet */
    LB_PREREAD_HELLO,  /* nor has the ClientHello, which names the pool */
    LB_PREREAD_SHAKE,  /* the handshake has begun, or waits its turn to begin */
    LB_PREREAD_TOLD,   /* it spoke plain HTTP and was told so: what it still sends is thrown away, until it ends */
};

struct lb_preread {
    struct lb_timer timer;       /* first: a timer is its preread */
    struct lb_accepted accepted; /* its descriptor is watched */
    uint32_t generation;         /* in every event: those of an earlier tenant are dropped */
    uint32_t next;               /* in the list of those to run */
    uint32_t older;              /* among those that shake hands, by since_ms */
    uint32_t newer;
    uint32_t since_ms; /* monotonic, low 32 bits: when its handshake last went on */
    uint8_t live;
    uint8_t stage;   /* enum lb_preread_stage */
    uint8_t queued;  /* it is in a list */
    uint8_t gone;    /* the client was seen to hang up */
    uint8_t shaking; /* its handshake is under way */
    uint8_t words;   /* enum lb_first_words */
};

/* It has prereads_done: all that came is the taker's. */
typedef void (*lb_preread_fn)(void *context, const struct lb_accepted *accepted);

/* Which pool does a hello lead to? */
typedef uint32_t (*lb_named_fn)(void *context, uint32_t listener, const struct lb_hello *hello, const union lb_address *client);

/* Linked by next. */
struct lb_preread_list {
    uint32_t first;
    uint32_t last;
    uint32_t count;
};

struct lb_prereads {
    struct lb_worker_context *ctx;
    lb_preread_fn done;
    lb_named_fn named;
    void *context;
    struct lb_slab slab;
    struct lb_wheel wheel;
    struct lb_preread_list ready;   /* whose handshake can go on */
    struct lb_preread_list waiting; /* whose handshake can begin */
    uint32_t eldest;                /* of those that shake hands */
    uint32_t youngest;
    uint32_t shaking; /* how many do */
    uint32_t most_shaking;
};

static inline struct lb_preread *lb_preread_at(const struct lb_prereads *prereads, uint32_t index)
{
    return lb_slab_at(&prereads->slab, index);
}

static inline uint32_t lb_preread_index(const struct lb_prereads *prereads, const struct lb_preread *preread)
{
    return lb_slab_index(&prereads->slab, preread);
}

/* Put it behind the others, if it is in no list. */
void lb_preread_append(struct lb_prereads *prereads, struct lb_preread_list *list, struct lb_preread *preread);

/* To begin a handshake. */
void lb_preread_wait_turn(struct lb_prereads *prereads, struct lb_preread *preread);

/* The next that is still alive, left in its place, or NULL: those that have ended are given back. */
struct lb_preread *lb_preread_first_alive(struct lb_prereads *prereads, struct lb_preread_list *list);
void lb_preread_drop_first(struct lb_prereads *prereads, struct lb_preread_list *list);

/* Its handshake is under way from now on, and went on just now; it went on again; it is not under way any more, if it was. */
void lb_preread_shakes(struct lb_prereads *prereads, struct lb_preread *preread);
void lb_preread_went_on(struct lb_prereads *prereads, struct lb_preread *preread);
void lb_preread_shakes_no_more(struct lb_prereads *prereads, struct lb_preread *preread);

#endif
