/* A request's head as HTTP/2 says it: what goes to a backend of HTTP/1.1 (h1/encode.h), in other words, so that both get the same. */
#ifndef LB_H2_SERVER_REQUEST_H
#define LB_H2_SERVER_REQUEST_H

#include "../../h2/hpack_write.h"

/* The head as HTTP/1.1, of `count` bytes; its names are made lower case. tls: the backend speaks it. trailers: TE says that they are
 * taken. grpc_web: enum lb_grpc_web: it is said as gRPC from here on. */
struct lb_h2_request_out {
    char *head;
    uint32_t count;
    int tls;
    int trailers;
    unsigned grpc_web;
    const char *protocol; /* that is asked for by CONNECT (RFC 8441); NULL: none is */
    uint32_t protocol_length;
};

/* Bytes that its fields take at most. */
uint32_t lb_h2_request_bytes(const struct lb_h2_request_out *request);

/* Its fields into `out`; where they end. */
uint8_t *lb_h2_encode_request(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_h2_request_out *request);

#endif
