/* 101: both connections of an exchange go on as a session. */
#ifndef LB_UPGRADE_H
#define LB_UPGRADE_H

#include "../l7.h"
#include "../verdict.h"

/* A 101, of which l7->message is the head. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_switch_protocols(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                               const char *bytes, uint32_t count);

#endif
