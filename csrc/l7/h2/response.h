/* A response that came by HTTP/2, field by field, and the same head as HTTP/1.1 would say it (RFC 9113 8.3.2), so that one reader
 * (message.h) judges the responses of all backends. What only HTTP/2 has is judged here. */
#ifndef LB_H2_RESPONSE_H
#define LB_H2_RESPONSE_H

#include "../../h2/hpack_read.h"

/* The first lines of a head are written before its fields: so many bytes are left free there. */
enum { LB_H2_RESPONSE_PREFIX = 64 };

struct lb_h2_response {
    uint32_t end;    /* where the lines end; they begin at LB_H2_RESPONSE_PREFIX */
    uint16_t status; /* 0: none came */
    uint8_t regular; /* a field that is no pseudo-header has come */
    uint8_t malformed;
    uint8_t has_length; /* content-length */
};

/* Take the field whose line was read into base + response->end. The next goes to the new response->end. */
void lb_h2_response_field(struct lb_h2_response *response, char *base, const struct lb_hpack_field *field);

/* Of a call of gRPC-Web (enum lb_grpc_web): its lines, which end with the head's room, as such a client is told them: 1, or 0, it is no
 * response of gRPC and stays as it is; -1: there is no room. The lines may be moved. */
int lb_h2_response_translate(char *base, struct lb_h2_response *response, uint32_t room, unsigned web);

/* What frames the body, where nothing in the head does. */
enum lb_h2_response_body { LB_H2_RESPONSE_AS_IT_SAYS, LB_H2_RESPONSE_EMPTY, LB_H2_RESPONSE_CHUNKED };

/* The head as HTTP/1.1: where it begins in `base`; *count: its bytes. There is room for two bytes behind the lines. */
char *lb_h2_response_compose(char *base, const struct lb_h2_response *response, enum lb_h2_response_body body, uint32_t *count);

#endif
