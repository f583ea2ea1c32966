/* Text that is composed for the heads of one exchange (edits.h): words, and variables of its request. */
#ifndef LB_COMPOSER_H
#define LB_COMPOSER_H

#include "l7.h"
#include "route_index.h"

enum { LB_GROUPS = 10 }; /* of an expression: all of it, and nine */

/* What is composed for one exchange. */
struct lb_composer {
    struct lb_l7 *l7;
    const struct lb_exchange *exchange;
    const char *bytes; /* of its request; NULL: it has none */
    const struct lb_routed_to *to;
    const struct lb_editor_row *editors[LB_EDITORS]; /* NULL: none */
    uint64_t id[2];                                  /* drawn for it; 0: not yet */
    char *text;                                      /* what is composed, */
    uint32_t length;                                 /* so far, */
    uint32_t most;                                   /* and at most */
    uint32_t backends;                               /* times that the backend's address stands in this head */
    int full;
    enum lb_edited_kind kind; /* of this head */
    int matched;              /* the groups are known: */
    regmatch_t groups[LB_GROUPS];
};

/* More of it, if there is room. */
void lb_compose(struct lb_composer *composer, const char *bytes, size_t count);

/* The request's path in its normal form, as routes compare it. */
const char *lb_composer_path(struct lb_composer *composer, uint32_t *length);

/* What a variable stands for: enum lb_piece. */
void lb_compose_variable(struct lb_composer *composer, uint32_t kind);

#endif
