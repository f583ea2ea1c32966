/* Heads as they go out. The fields of one forward are left out, those that tell of the client are set, the rest is passed on as it
 * came, byte for byte. */
#ifndef LB_H1_ENCODE_H
#define LB_H1_ENCODE_H

#include "../forward.h"
#include "../message.h"
#include "../route_answer.h"

/* Into out, of message->head.bytes + LB_ENCODE_ROOM + LB_CERTIFICATE_ROOM bytes, and LB_EDITS_BYTES and the path of what is edited; the length. */
size_t lb_encode_request(char *out, const struct lb_message *message, const char *bytes, const struct lb_forward *forward);

/* What becomes of a response. */
struct lb_response_edits {
    uint8_t client_minor;                /* the client's HTTP/1.minor */
    uint8_t persistent;                  /* its connection goes on */
    uint32_t keeps_s;                    /* for how long between requests, as clients are told; 0: they are not */
    uint8_t chunked;                     /* the body goes out chunked */
    uint8_t switches;                    /* to another protocol */
    uint8_t http2;                       /* it came by HTTP/2 */
    const char *date;                    /* now, "Sun, 06 Nov 1994 08:49:37 GMT" */
    const char *cookie;                  /* a Set-Cookie value to add, or NULL */
    const struct lb_edited_head *edited; /* what else is done to it; NULL: nothing */
    const char *backend;                 /* its address */
};

size_t lb_encode_response(char *out, const struct lb_message *message, const char *bytes, const struct lb_response_edits *edits);

/* What the client is told of its connection; where it ends. */
char *lb_encode_connection(char *to, const struct lb_response_edits *edits, uint16_t status);

/* A response of the balancer's own, body included (LB_ENCODE_ROOM bytes suffice). */
struct lb_local_response {
    uint16_t status;
    uint32_t retry_after_s; /* 0: none */
    uint8_t client_minor;
    uint8_t persistent;
    uint8_t head_only; /* the request's method was HEAD */
    uint8_t openai;    /* its client reads errors as OpenAI's API tells them */
    uint8_t code;      /* enum lb_error_code */
    const char *date;
    const char *why;               /* in words, for the body */
    struct lb_route_answer answer; /* what its route says */
    const char *challenges;        /* whole lines, of 401; else NULL */
    const char *lines;             /* of a call of gRPC-Web, instead of a body; NULL: it is none */
    const struct lb_listener_row *listener;
};

size_t lb_encode_local(char *out, const struct lb_local_response *response);

#endif
