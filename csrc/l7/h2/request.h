/* A request that came by HTTP/2, field by field, and the same request as HTTP/1.1 would say it (RFC 9113 8.3). It is written so because
 * one reader (message.h) judges the requests of all clients then, and routes, policies and backends see one form: no second reading
 * can differ from the first. What only HTTP/2 has is judged here. */
#ifndef LB_H2_REQUEST_H
#define LB_H2_REQUEST_H

#include "../../h2/hpack_read.h"
#include "../span.h"

struct lb_h2_request {
    struct lb_span method; /* values of pseudo-headers, in the buffer of the lines; empty: not there */
    struct lb_span scheme;
    struct lb_span authority;
    struct lb_span path;
    struct lb_span protocol; /* of an extended CONNECT (RFC 8441) */
    uint32_t lines;          /* where the lines of other fields begin, ... */
    uint32_t end;            /* ... and where they end */
    uint32_t list;           /* bytes as RFC 9113 6.5.2 counts */
    uint32_t fields;
    uint32_t cookies;   /* fields; HTTP/1.1 has them in one (8.2.3) */
    uint8_t regular;    /* a field that is no pseudo-header has come */
    uint8_t has_host;   /* among the lines */
    uint8_t has_length; /* content-length */
    uint8_t malformed;  /* a stream error (8.1.1) */
    uint8_t ambiguous;  /* Host and :authority differ: 400 (8.3.1) */
};

/* Take the field whose line ends where the lines end: it was read into base + request->end. The next goes to the new request->end. */
void lb_h2_request_field(struct lb_h2_request *request, char *base, const struct lb_hpack_field *field);

/* All fields have come: are those there that must be, and none that must not? Then the request is malformed or it is not. */
int lb_h2_request_is_malformed(const struct lb_h2_request *request, const char *base);

/* How many bytes it takes as HTTP/1.1 at most. */
uint32_t lb_h2_request_most(const struct lb_h2_request *request, int end_stream);

/* The request as HTTP/1.1, without end_stream and content-length as a chunked one. Its length. key: 24 characters for Sec-WebSocket-Key,
 * which RFC 8441 leaves out. */
uint32_t lb_h2_request_compose(char *out, const struct lb_h2_request *request, const char *base, int end_stream, const char *key);

/* May it stand in a head, beside pseudo-headers (RFC 9113 8.2)? */
int lb_h2_is_regular(const struct lb_hpack_field *field);

/* The fields behind a body: each of them counts as regular, and none may frame a message (RFC 9110 6.5.1). */
int lb_h2_is_trailer(const struct lb_hpack_field *field);

#endif
