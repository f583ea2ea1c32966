/* What ended is accounted for: in the tallies of its listener and its pool, and, where somebody listens, in the ring of records that
 * the access log and traces are made from. The writer never waits; a reader that is late has lost what was overwritten. */
#ifndef LB_ACCOUNT_H
#define LB_ACCOUNT_H

#include "shm.h"

enum { LB_NEVER_US = UINT32_MAX, LB_USER_BYTES = 64 };

/* The texts of an exchange, kept from its head to its end. */
struct lb_request_log {
    uint64_t trace[2];
    uint64_t span;
    uint64_t parent;
    uint8_t trace_flags;
    uint8_t method_length;
    uint8_t host_length;
    uint8_t id_length;
    uint16_t path_length;
    uint8_t truncated;
    uint8_t referer_length;
    uint8_t agent_length;
    uint8_t user_length;
    uint8_t pad[2];
    char text[LB_RECORD_TEXT]; /* method, host, path, referer, agent, id */
    char user[LB_USER_BYTES];  /* whose credentials came */
};

/* A session or an exchange that has ended. */
struct lb_ended {
    uint64_t now_us; /* monotonic */
    uint64_t began_us;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint32_t listener;
    uint32_t pool;      /* UINT32_MAX: none was found for it */
    uint32_t backend;   /* UINT32_MAX: none */
    uint32_t accept_us; /* as in struct lb_record */
    uint32_t connect_us;
    uint32_t first_us;
    uint32_t queue_us;
    const uint8_t *client;            /* 16 bytes */
    const char *reason;               /* of the balancer's local response, or NULL */
    const struct lb_request_log *log; /* NULL: it has no texts */
    uint16_t client_port;
    uint16_t status;
    enum lb_record_kind kind;
    enum lb_end end;
    uint8_t flags; /* REUSED, TLS, BY_... of enum lb_record_flag */
    uint8_t tried;
    uint8_t minor;
    uint8_t grpc;   /* grpc-status and one; 0: none */
    uint8_t spoken; /* enum lb_protocol: with the backend; 0: with none */
    uint8_t model;  /* row and one; 0: none */
};

void lb_account(const struct lb_shm *shm, uint32_t worker, const struct lb_ended *ended);

/* A connection was accepted, or a udp session opened. */
void lb_account_accepted(const struct lb_shm *shm, uint32_t worker, uint32_t listener);

/* A text was sent to a backend by the policy prefix: why (enum lb_why), and how many of its bytes were known there. */
void lb_account_text(const struct lb_shm *shm, uint32_t section, uint32_t pool, enum lb_why why, uint32_t bytes, uint32_t known);

/* Does anybody want records? */
static inline int lb_account_records(const struct lb_shm *shm)
{
    return (__atomic_load_n(&shm->head->log_every, __ATOMIC_RELAXED) |
            __atomic_load_n(&shm->head->trace_every, __ATOMIC_RELAXED)) != 0;
}

/* Microseconds between two times, for the fields of 32 bits. */
static inline uint32_t lb_account_us(uint64_t from_us, uint64_t to_us)
{
    return to_us - from_us < LB_NEVER_US ? (uint32_t)(to_us - from_us) : LB_NEVER_US - 1;
}

#endif
