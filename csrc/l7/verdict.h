/* What is to be done next with a client. Every file says so by a verdict; the driver alone (drive.c; of connections, http.c) carries it out, so that states,
 * ends and responses have one writer. */
#ifndef LB_VERDICT_H
#define LB_VERDICT_H

#include <stdint.h>

#include "../table/shm.h"

enum lb_next {
    /* to go on */
    LB_NEXT_WAIT,    /* for an event */
    LB_NEXT_AGAIN,   /* it moved: look again */
    LB_NEXT_LATER,   /* its share of the turn is used up */
    LB_NEXT_STARVED, /* a buffer is needed and none is free */
    LB_NEXT_OVER,    /* it is gone; only the driver knows that */
    /* for the driver to do */
    LB_NEXT_READ,    /* the request's route depends on its body: look at what is there of it */
    LB_NEXT_TEXT,    /* likewise, for its pool's policy */
    LB_NEXT_ASK,     /* a service was asked whether it may go on */
    LB_NEXT_GRANTED, /* and says that it may */
    LB_NEXT_HOLD,    /* which did not decide: read on, before anything else */
    LB_NEXT_ATTEMPT, /* find a backend for the request, which lies in the buffer */
    LB_NEXT_ANOTHER, /* find another one; without any, respond with status */
    LB_NEXT_INSTEAD, /* its response is not for the client: backend row `number`, charged already, gets the request */
    LB_NEXT_PICKED,  /* the client waited in a queue, and backend row `number` can take it */
    LB_NEXT_QUEUE,   /* it has been put into its pool's queue */
    LB_NEXT_CONNECT, /* a connection to its backend has begun */
    LB_NEXT_FAILED,  /* that connection came to errno `number` */
    LB_NEXT_SEND,    /* its backend is at hand: send the request */
    LB_NEXT_LOST,    /* its backend failed the exchange: replay it, respond with status, or break off */
    LB_NEXT_RESPOND, /* the balancer answers by itself; number: seconds for Retry-After, 0: as its pool says */
    LB_NEXT_ANSWER,  /* so it does for its route; number: the route's row */
    LB_NEXT_FINISH,  /* the exchange is over */
    LB_NEXT_WON,     /* a twin's response is another exchange's, `number`: l7->won is what it came to there */
    LB_NEXT_HTTP2,   /* the client's first words are those of HTTP/2 */
    LB_NEXT_LINGER,  /* all is said: what the client still sends is thrown away */
    LB_NEXT_END,     /* the client's connection */
};

/* What went wrong, of a local response whose status does not say it alone. */
enum lb_error_code {
    LB_ERROR_BY_STATUS = 0,
    LB_ERROR_QUEUE_FULL,
    LB_ERROR_QUEUE_TIMEOUT,
    LB_ERROR_NO_BACKEND, /* none is usable */
    LB_ERROR_TOTAL_TIMEOUT,
};

/* As small as two registers. */
struct lb_verdict {
    uint8_t next;    /* enum lb_next */
    uint8_t end;     /* enum lb_end; of LB_NEXT_RESPOND: enum lb_error_code */
    uint16_t status; /* of a local response */
    uint32_t number;
    const char *why; /* in words, for its body and its record */
};

static inline struct lb_verdict lb_verdict(enum lb_next next)
{
    return (struct lb_verdict){.next = (uint8_t)next};
}

static inline struct lb_verdict lb_verdict_number(enum lb_next next, uint32_t number)
{
    return (struct lb_verdict){.next = (uint8_t)next, .number = number};
}

static inline struct lb_verdict lb_verdict_end(enum lb_end why)
{
    return (struct lb_verdict){.next = LB_NEXT_END, .end = (uint8_t)why};
}

static inline struct lb_verdict lb_verdict_respond(uint16_t status, const char *why)
{
    return (struct lb_verdict){.next = LB_NEXT_RESPOND, .status = status, .why = why};
}

static inline struct lb_verdict lb_verdict_error(uint16_t status, enum lb_error_code code, const char *why)
{
    return (struct lb_verdict){.next = LB_NEXT_RESPOND, .end = (uint8_t)code, .status = status, .why = why};
}

static inline struct lb_verdict lb_verdict_lost(uint16_t status, const char *why)
{
    return (struct lb_verdict){.next = LB_NEXT_LOST, .status = status, .why = why};
}

/* Is there something for the driver to do? */
static inline int lb_verdict_decides(struct lb_verdict verdict)
{
    return verdict.next > LB_NEXT_OVER;
}

#endif
