/* What routes make of a request's body. */
#ifndef LB_ROUTE_JSON_H
#define LB_ROUTE_JSON_H

#include "../table/shm.h"
#include "json_condition.h"

struct lb_routes;

/* enum lb_json_why: why the body led to that route (UINT32_MAX: to none), or past those that ask it. no_json: a head alone led past one. */
uint8_t lb_routes_json_why(const struct lb_routes *routes, uint32_t route, const struct lb_json_said *said, int no_json);

/* The model that a route names and the body says: its row and one; 0: none that has figures. */
uint8_t lb_routes_model(const struct lb_routes *routes, uint32_t route, const struct lb_json_said *said);

#endif
