/* Signs that a backend is stopping. */
#ifndef LB_STOPPING_H
#define LB_STOPPING_H

#include "l7.h"

/* A response's head has come; its backend closes the connection by it, or keeps it. */
void lb_http_note_habit(struct lb_l7 *l7, const struct lb_exchange *exchange, uint16_t status, int says_close);

/* Milliseconds until an exchange on a fresh connection has brought nothing for too long: 0: it has; UINT32_MAX: that says nothing. */
uint32_t lb_http_quiet_left_ms(struct lb_l7 *l7, const struct lb_exchange *exchange);
void lb_http_look_whether_quiet(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Its connection has ended, and had brought nothing. */
void lb_http_note_lost(struct lb_l7 *l7, const struct lb_exchange *exchange);

#endif
