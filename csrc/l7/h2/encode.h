/* Heads and trailers of responses as HTTP/2 says them: names in lower case, and nothing that is about a connection of HTTP/1 (RFC 9113 8.2). */
#ifndef LB_H2_ENCODE_H
#define LB_H2_ENCODE_H

#include "../../h2/hpack_write.h"
#include "../edited.h"
#include "../message.h"

/* What becomes of a response's head. */
struct lb_h2_edits {
    const char *date;                    /* now, for a response that says none; NULL: none is said */
    const char *cookie;                  /* a Set-Cookie value to add, or NULL */
    uint16_t status;                     /* instead of the message's; 0: that */
    uint8_t local;                       /* the balancer's own: nobody passed it on */
    uint8_t http2;                       /* it came by HTTP/2 */
    const struct lb_edited_head *edited; /* what else is done to it; NULL: nothing */
    const char *backend;                 /* its address */
};

/* Bytes that the fields take at most. */
uint32_t lb_h2_response_bytes(const struct lb_message *message, const struct lb_h2_edits *edits);

/* Its fields into `out`; where they end. room: as many bytes as the head has and LB_EDITS_BYTES twice, for names in lower case and for lines. */
uint8_t *lb_h2_encode_response(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_message *message, const char *bytes,
                               const struct lb_h2_edits *edits, char *room);

/* Lines of trailers, "name: value" and CRLF each, which are at most so many bytes with lb_h2_trailers_bytes. */
uint32_t lb_h2_trailers_bytes(uint32_t count);
uint8_t *lb_h2_encode_trailers(uint8_t *out, struct lb_hpack_writer *writer, const char *lines, uint32_t count, char *room);

#endif
