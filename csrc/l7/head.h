/* The head of an HTTP/1 message: its first line and its fields, as slices of the receive buffer. Syntax only; what the fields
 * mean is message.h's.
 *
 * Strict where RFC 9112 lets a recipient be lenient, since leniency is what request smuggling lives on: lines end in CRLF (2.2),
 * no obs-fold (5.2), no white space before a colon (5.1), no control characters (RFC 9110 5.5). Of responses a little more is taken,
 * where nobody but us reads it: blanks before a colon and in the first line, which is written anew. */
#ifndef LB_HEAD_H
#define LB_HEAD_H

#include <stdint.h>

#include "span.h"

enum { LB_FIELD_ROOM = 1000, LB_METHOD_BYTES = 32 };

/* Fields that the balancer reads or writes; the others pass. */
enum lb_field_name {
    LB_OTHER = 0,
    LB_HOST_FIELD,
    LB_CONTENT_LENGTH,
    LB_TRANSFER_ENCODING,
    LB_CONNECTION,
    LB_KEEP_ALIVE,
    LB_PROXY_CONNECTION,
    LB_TE,
    LB_UPGRADE,
    LB_EXPECT,
    LB_COOKIE,
    LB_DATE,
    LB_FORWARDED,
    LB_X_FORWARDED_FOR,
    LB_X_FORWARDED_PROTO,
    LB_X_FORWARDED_HOST,
    LB_X_REQUEST_ID,
    LB_HTTP2_SETTINGS,
    LB_CLIENT_CERT, /* Client-Cert and Client-Cert-Chain (RFC 9440) */
    LB_TRAILER,
    LB_TRACEPARENT, /* W3C Trace Context */
    LB_TRACESTATE,
    LB_PICK,           /* any other header that says who the client is, or how it came: l7/claim_headers.h */
    LB_LB_COST,        /* X-LB-Cost */
    LB_LB_PRIORITY,    /* X-LB-Priority */
    LB_SEC_FETCH_MODE, /* W3C Fetch Metadata */
    LB_CHALLENGE,      /* WWW-Authenticate, Proxy-Authenticate */
    LB_CREDENTIALS,    /* Authorization, Proxy-Authorization */
    LB_REMOVED,        /* no name: what is not to go on, whatever it is (l7/caller.h) */
};

struct lb_field {
    struct lb_span line; /* name to CRLF, both included */
    struct lb_span name;
    struct lb_span value; /* without white space around it */
    uint16_t known;       /* enum lb_field_name */
    uint16_t blanks;      /* stood before the colon: the line does not go on as it came */
};

/* How far the reading came: a response, or what the peer did wrong. The refusals are the status that a client is told; a backend's
 * are all 502. */
enum lb_reading {
    LB_READ_DONE = 0,
    LB_READ_PARTIAL = 1, /* well so far: more bytes are needed */
    LB_READ_BAD = 400,
    LB_READ_TOO_LARGE = 413,
    LB_READ_TARGET_LONG = 414,
    LB_READ_EXPECTATION = 417,
    LB_READ_HEAD_LARGE = 431,
    LB_READ_UNKNOWN = 501,
    LB_READ_VERSION = 505,
};

struct lb_head_limits {
    uint32_t head;   /* bytes */
    uint32_t target; /* bytes */
    uint32_t fields; /* at most LB_FIELD_ROOM */
};

struct lb_message_head {
    uint32_t bytes; /* from the buffer's start through the empty line */
    uint32_t first; /* where the first line begins: 2 after a stray CRLF, else 0 */
    uint32_t field_count;
    uint16_t status; /* of a response */
    uint8_t minor;   /* HTTP/1.minor */
    struct lb_span method;
    struct lb_span target;
    struct lb_span reason; /* of a response */
    struct lb_field fields[LB_FIELD_ROOM];
};

/* Read a request's or a response's head from the buffer's start. Nothing is remembered between calls: call again with more bytes
 * once another line has come (lb_head_waits). */
__attribute__((warn_unused_result)) enum lb_reading lb_head_request(struct lb_message_head *head, const char *bytes,
                                                                    uint32_t count, const struct lb_head_limits *limits);
__attribute__((warn_unused_result)) enum lb_reading lb_head_response(struct lb_message_head *head, const char *bytes,
                                                                     uint32_t count, const struct lb_head_limits *limits);

/* After LB_READ_PARTIAL at `seen` bytes: is it still useless to read again? Keeps a peer that sends byte by byte from costing a
 * whole reading each. */
int lb_head_waits(const char *bytes, uint32_t seen, uint32_t count, const struct lb_head_limits *limits);

/* The known name, or LB_OTHER. */
enum lb_field_name lb_field_known(const char *name, uint32_t length);

#endif
