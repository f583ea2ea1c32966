/* What a head means: how its body is delimited (RFC 9112 6.3), whether the connection goes on (9.3), which fields are for this forward
 * only (RFC 9110 7.6.1), and whom it is for (3.2, RFC 9110 7.2). */
#ifndef LB_MESSAGE_H
#define LB_MESSAGE_H

#include "head.h"

enum { LB_NOMINATED_ROOM = 16 };

enum lb_framing {
    LB_BODY_NONE = 0,
    LB_BODY_LENGTH = 1,
    LB_BODY_CHUNKED = 2,
    LB_BODY_TO_END = 3, /* a response's only: the connection's end is the body's */
};

enum lb_method {
    LB_METHOD_OTHER = 0,
    LB_GET,
    LB_HEAD,
    LB_POST,
    LB_PUT,
    LB_DELETE,
    LB_OPTIONS,
    LB_TRACE,
    LB_PATCH,
    LB_CONNECT,
};

struct lb_message {
    struct lb_message_head head;
    uint64_t length;         /* of the body, when framing is LB_BODY_LENGTH */
    uint8_t framing;         /* enum lb_framing */
    uint8_t method;          /* enum lb_method */
    uint8_t persistent;      /* the peer keeps its connection open after this message */
    uint8_t upgrade;         /* asks for, or agrees to, another protocol */
    uint8_t expects;         /* 100-continue */
    uint8_t takes_trailers;  /* TE: trailers */
    uint8_t absolute;        /* the target names the authority itself */
    uint8_t navigates;       /* Sec-Fetch-Mode: navigate: a browser shows what comes */
    uint8_t https;           /* and a scheme that asks for TLS */
    uint8_t length_anew;     /* of a response: its length stands there more than once, or with zeros before it */
    uint8_t nominated_count; /* fields that Connection names, beside the usual options */
    struct lb_span nominated[LB_NOMINATED_ROOM];
    struct lb_span authority;  /* host[:port] as received; empty in HTTP/1.0 without Host */
    struct lb_span host;       /* of it, without the port */
    struct lb_span path;       /* of the target; empty for "*" and for an absolute target without one */
    struct lb_span query;      /* with its '?'; empty if none */
    struct lb_span upgrade_to; /* the Upgrade field's value */
    struct lb_span keep_alive; /* the first Keep-Alive field's */
    uint32_t seen;             /* fields that are there: a bit for each enum lb_field_name */
};

/* Head and meaning at once. method of lb_message_response: that of the request. */
__attribute__((warn_unused_result)) enum lb_reading lb_message_request(struct lb_message *message, const char *bytes,
                                                                       uint32_t count, const struct lb_head_limits *limits);
__attribute__((warn_unused_result)) enum lb_reading lb_message_response(struct lb_message *message, const char *bytes,
                                                                        uint32_t count, const struct lb_head_limits *limits,
                                                                        enum lb_method method);

static inline int lb_message_has(const struct lb_message *message, enum lb_field_name name)
{
    return message->seen >> name & 1;
}

/* May it be sent twice (RFC 9110 9.2.2)? */
int lb_method_is_idempotent(enum lb_method method);

/* Is this field for one forward only? */
int lb_message_is_hop_field(const struct lb_message *message, const char *bytes, const struct lb_field *field);

/* The next element of a comma-separated list (RFC 9110 5.6.1); an empty one at the list's end. at: start at 0. */
struct lb_span lb_list_next(const char *bytes, struct lb_span list, uint32_t *at);

#endif
