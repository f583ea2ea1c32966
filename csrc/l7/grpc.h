/* What gRPC says in HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). */
#ifndef LB_GRPC_H
#define LB_GRPC_H

#include "message.h"

/* Codes that the balancer says or looks at (doc/statuscodes.md of gRPC). */
enum lb_grpc_status {
    LB_GRPC_OK = 0,
    LB_GRPC_CANCELLED = 1,
    LB_GRPC_UNKNOWN = 2,
    LB_GRPC_DEADLINE_EXCEEDED = 4,
    LB_GRPC_PERMISSION_DENIED = 7,
    LB_GRPC_RESOURCE_EXHAUSTED = 8,
    LB_GRPC_UNIMPLEMENTED = 12,
    LB_GRPC_INTERNAL = 13,
    LB_GRPC_UNAVAILABLE = 14,
    LB_GRPC_UNAUTHENTICATED = 16,
    LB_GRPC_MOST = 16,
    LB_GRPC_NONE = 255, /* no status came; and one is 0 in a byte */
};

/* Is this request, a POST, a call? */
int lb_grpc_is_call(const struct lb_message *message, const char *bytes);

/* What a client is told in the place of a status of HTTP. */
enum lb_grpc_status lb_grpc_status_for(uint16_t status);

/* grpc-status of a head; LB_GRPC_NONE: it has none. One that is no code is UNKNOWN. */
uint8_t lb_grpc_status_in_head(const struct lb_message *message, const char *bytes);

/* The same, of lines of trailers in lower case. */
uint8_t lb_grpc_status_in_lines(const char *lines, uint32_t count);

enum { LB_GRPC_LINES = 384 };

/* Lines of a head that say this status, ended by NUL, and by which content-type; their length, under LB_GRPC_LINES. why: in words, ASCII.
 * web: enum lb_grpc_web, of the client. */
uint32_t lb_grpc_lines(char *out, enum lb_grpc_status status, const char *why, unsigned web);

/* grpc-timeout, ms, at least 1; 0: the request has none. */
uint32_t lb_grpc_timeout_ms(const struct lb_message *message, const char *bytes);

#endif
