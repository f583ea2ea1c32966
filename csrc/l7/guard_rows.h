/* Guards as the control plane publishes them, before they are believed. */
#ifndef LB_GUARD_ROWS_H
#define LB_GUARD_ROWS_H

#include "../table/shm.h"

/* Does all that it points to lie within the routes with this head and this text? */
int lb_guard_row_ok(const struct lb_routes_head *head, const char *text, const struct lb_guard_row *guard);

#endif
