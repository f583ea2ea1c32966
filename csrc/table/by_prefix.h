/* Where a text goes whose beginning some backends may have computed: pure, as all policies are. */
#ifndef LB_BY_PREFIX_H
#define LB_BY_PREFIX_H

#include "choice.h"

/* Pick for wish->blocks, of which there is at least one; LB_NONE: nobody is usable, as far as it has looked.
 *
 * - The most blocks that a usable backend has had are looked for, from the last one on.
 * - One backend alone served a text that ended there: this one continues it, and goes there, within the bounds of load. A text that is
 *   continued elsewhere has two homes, and so none: what many continue at once is spread.
 * - Otherwise, as where words are shared, or more backends than one served that text: the best of all members (of some, in a large pool)
 *   by what is under way, what they were given lately, and how much of the text they have.
 * - Now and then a text that would be continued goes to a backend that has next to nothing, and from then on stays there. */
uint32_t lb_pick_by_prefix(const struct lb_choice *choice, struct lb_cursor *cursor);

#endif
