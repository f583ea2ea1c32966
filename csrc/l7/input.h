/* What a client sent and is not done with: a head buffer (heads.h), held only while there is something in it. It goes from the connection
 * to an exchange when that begins, and back with what follows the exchange. So a request that may be sent again is the exchange's. */
#ifndef LB_INPUT_H
#define LB_INPUT_H

#include "heads.h"

struct lb_l7;

struct lb_input {
    uint32_t buffer; /* LB_SLAB_NONE: none */
    uint32_t start;  /* the request under way, or the next */
    uint32_t next;   /* what follows the bytes of it that were read so far */
    uint32_t end;
    uint32_t seen; /* bytes of an incomplete head that have been looked at */
};

/* The buffer's first byte. */
char *lb_input_at(const struct lb_l7 *l7, const struct lb_input *in);

/* Has a request begun to come? An empty line before one is forgiven (RFC 9112 2.2), and by itself asks for nothing. */
int lb_input_has_begun(const struct lb_l7 *l7, const struct lb_input *in);

/* Its bytes are not needed any more. */
void lb_input_consume(struct lb_l7 *l7, struct lb_input *in);

/* Make room behind what is there; without a buffer, take one. */
void lb_input_pack(struct lb_l7 *l7, struct lb_input *in);

/* All of it has come: what is there is kept in a buffer no larger than it must be. */
void lb_input_fit(struct lb_l7 *l7, struct lb_input *in);

/* Give the buffer back, whatever is in it. */
void lb_input_drop(struct lb_l7 *l7, struct lb_input *in);

#endif
