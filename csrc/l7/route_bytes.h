/* How long the routes are, which a head describes. */
#ifndef LB_ROUTE_BYTES_H
#define LB_ROUTE_BYTES_H

#include "../table/shm.h"

/* Bytes that these routes take, whatever their head says. */
uint64_t lb_routes_bytes(const struct lb_routes_head *head);

/* Likewise; as large as the room for more. */
uint64_t lb_routes_room(const struct lb_routes_head *head);

#endif
