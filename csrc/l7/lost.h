/* A backend that failed an exchange, or whose exchanges are cut. */
#ifndef LB_LOST_H
#define LB_LOST_H

#include "l7.h"
#include "verdict.h"

/* The backend failed the exchange: replay it, respond for it, or break off. status: what to respond. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_backend_lost(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                           uint16_t status, const char *why);

/* Its backend's exchanges are cut: one that went down gives 502 where no byte of the response is out; all else ends. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_backend_cut(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
