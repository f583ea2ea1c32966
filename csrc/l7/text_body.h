/* The text that a request's pool goes by (policy prefix), or a key of its body (maglev): read before a backend is chosen. */
#ifndef LB_TEXT_BODY_H
#define LB_TEXT_BODY_H

#include "json_body.h"
#include "l7.h"

enum { LB_TEXT_KEYS = 4 }; /* names in a pool's `hash` */

/* What a body said to its pool's policy. */
struct lb_text {
    struct lb_json_path keys[LB_TEXT_KEYS];
    struct lb_blocks blocks; /* of prefix */
    uint64_t key;            /* of maglev: hash of the first value, if it is a string or a number */
    uint8_t keyed;           /* there is one */
};

/* Does the pool of this request, which is chosen, go by its body, and has it such a body? */
int lb_http_goes_by_text(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes);

/* Read it for the policy from its beginning. */
void lb_text_begin(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body);

/* Is all there that the policy goes by? Then it is kept with the exchange. */
int lb_text_is_there(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body);

/* What was read; NULL: nothing, as the pool does not go by it, or the body had no such thing. */
const struct lb_text *lb_text_of(struct lb_l7 *l7, const struct lb_exchange *exchange);

void lb_text_drop(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
