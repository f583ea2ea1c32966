/* The backends of a pool that a client is brought to, one after the other, until one takes it: of sessions of tcp and tls, of datagrams,
 * and of exchanges. What differs between these is said by the operations. */
#ifndef LB_L4_ATTEMPT_H
#define LB_L4_ATTEMPT_H

#include "../table/wish.h"
#include "worker_context.h"

struct lb_attempt;

struct lb_attempt_ops {
    /* A backend that was not tried yet, charged with the client; or LB_NONE. */
    uint32_t (*pick)(const struct lb_attempt *attempt);
    /* Is there a connection to *attempt->backend that can be used at once? NULL: there never is. */
    int (*reuse)(const struct lb_attempt *attempt);
    /* Begin to connect to *attempt->backend: 0, or a positive errno. */
    int (*connect)(const struct lb_attempt *attempt);
    /* Let go of *attempt->backend, and say why. */
    void (*leave)(const struct lb_attempt *attempt, enum lb_end why);
};

/* A client that wants a backend; all but the operations is its own. */
struct lb_attempt {
    const struct lb_attempt_ops *ops;
    struct lb_worker_context *ctx;
    void *context;   /* for the operations */
    void *client;    /* likewise */
    uint32_t *tried; /* LB_MAX_TRIED rows */
    uint8_t *tried_count;
    uint8_t *shortages; /* of tried: that this host lacked something for */
    uint32_t *backend;  /* row; charged, or LB_NONE */
    uint32_t pool;
};

enum lb_attempted {
    LB_ATTEMPT_BEGUN,  /* a connect is under way */
    LB_ATTEMPT_REUSED, /* a connection is at hand */
    LB_ATTEMPT_NOBODY, /* there is nobody to pick */
    LB_ATTEMPT_SPENT,  /* the last attempt failed, and another is not allowed: of its pool's retries, or of the retry budget */
};

/* Go on until a connect is under way. error: what the attempt before came to, 0 at first. backend: picked already, or LB_NONE. */
__attribute__((warn_unused_result)) enum lb_attempted lb_attempt_next(const struct lb_attempt *attempt, int error,
                                                                      uint32_t backend);

/* It came to this error: the backend is left, which is evidence against it unless this host lacked something or ended it (ECONNABORTED).
 * May another be tried? */
int lb_attempt_failed(const struct lb_attempt *attempt, int error);

/* May another backend be tried after this error, when so many have been? Counts the retry. An attempt that failed for a shortage asked
 * nothing of its backend: it costs no retry, and is counted in *shortages. */
int lb_may_retry(struct lb_worker_context *ctx, uint32_t pool, int error, uint32_t tried_count, uint8_t *shortages);

/* Why there is none: LB_ENDED_NO_BACKEND, LB_ENDED_RESOURCE or LB_ENDED_UNREACHABLE. */
enum lb_end lb_attempt_end(const struct lb_attempt *attempt);

#endif
