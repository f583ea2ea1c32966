/* The body of a request that waits for a backend. */
#ifndef LB_H1_UPLOAD_H
#define LB_H1_UPLOAD_H

#include "../l7.h"
#include "../verdict.h"

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_more(struct lb_l7 *l7, struct lb_exchange *exchange, int surely);

#endif
