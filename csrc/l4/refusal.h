/* Clients whose handshake was refused: what the control plane logs of them. At most so many a second from each worker, whatever comes;
 * the others are counted. */
#ifndef LB_REFUSAL_H
#define LB_REFUSAL_H

#include "../core/channel.h"

struct lb_worker_context;
struct lb_accepted;

enum { LB_REFUSALS = 8 /* that wait for the end of a turn */ };

struct lb_refusals {
    struct lb_refusal waiting[LB_REFUSALS];
    uint32_t count;
    uint32_t untold;   /* since the last that was told */
    uint32_t tokens;   /* how many may be told now */
    uint64_t since_ms; /* monotonic: when the tokens were counted */
};

/* This client was refused, for this reason in words. */
void lb_refusal_note(struct lb_worker_context *ctx, const struct lb_accepted *client, const char *words);

/* What a connection's first bytes are, where a ClientHello is waited for. */
enum lb_first_words {
    LB_WORDS_TLS,   /* or nothing that we know: OpenSSL says */
    LB_WORDS_PART,  /* a word so far: more bytes tell */
    LB_WORDS_HTTP,  /* a request without TLS */
    LB_WORDS_OTHER, /* no TLS either */
};

enum lb_first_words lb_first_words(const char *bytes, uint32_t count);

/* Why such words are refused. */
const char *lb_first_words_refused(enum lb_first_words words);

#endif
