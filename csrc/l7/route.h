/* Routes: which pool a request goes to. Written by the control plane into the segment, compiled by each worker into an index of
 * its own whenever they change; a request then costs a few look-ups by host and by path segment, however many routes there are. */
#ifndef LB_ROUTE_H
#define LB_ROUTE_H

#include "../l4/hello.h"
#include "../table/shm.h"
#include "json_said.h"
#include "message.h"

struct lb_routes; /* compiled; owned by the worker */

/* Compile what is published: 0, -ENOMEM, or -EINVAL if it is damaged; *routes is replaced only on success (NULL at first), and stays
 * behind the new ones while anybody holds on to one of it. *version: what was compiled; the segment's head->routes. */
__attribute__((warn_unused_result)) int lb_routes_compile(struct lb_routes **routes, const struct lb_shm *shm, uint32_t *version);
/* With all that stayed behind it. */
void lb_routes_free(struct lb_routes *routes);

/* Hold on to this one of the newest routes, whatever replaces it: how it is found again. */
uint16_t lb_routes_hold(struct lb_routes *routes);
const struct lb_route_row *lb_routes_held(const struct lb_routes *routes, uint16_t era, uint32_t route);
const char *lb_routes_text(const struct lb_routes *routes, uint16_t era);
void lb_routes_leave(struct lb_routes *routes, uint16_t era);

enum lb_routed {
    LB_ROUTED,
    LB_ROUTED_NOWHERE,   /* no route matches */
    LB_ROUTED_AMBIGUOUS, /* the path is broken, or its pool depends on how one reads the request: refuse */
    LB_ROUTED_BY_BODY,   /* what more of its body says decides */
};

/* Where a request goes. */
struct lb_routed_to {
    uint32_t pool;
    uint16_t cost;           /* what it costs there; 0: its route does not say */
    uint16_t route;          /* its route's number, and 1; 0: none */
    uint32_t retry_on;       /* enum lb_retry_on, bits, with those that say of what it speaks */
    uint32_t held;           /* its row and 1, where it says more than that; else 0 */
    uint16_t mirror;         /* row and 1 of the pool that gets copies; 0: none does */
    uint16_t mirror_percent; /* of so many requests */
    uint32_t guard;          /* of the route (struct lb_guard_row), from 1; 0: it has none */
    uint32_t row;            /* of its route, and 1; 0: none */
    uint8_t json;            /* enum lb_json_why */
    uint8_t model;           /* that its route names: row and one; 0: none */
    struct lb_way way;       /* how the alternatives of routes came out, also where no route matches */
};

/* Is there anything to tell of it? */
static inline int lb_way_tells(const struct lb_way *way)
{
    return way->passed | way->held;
}

/* Who asks. */
struct lb_routed_client {
    const uint8_t *ip; /* 16 bytes, IPv4 mapped into IPv6 */
    uint32_t listener; /* row */
};

/* Of the first route that matches; *to stays as it is when none does. said: what its body has said to the keys that lb_routes_json tells;
 * NULL: it was not looked at. */
__attribute__((warn_unused_result)) enum lb_routed lb_routes_match(struct lb_routes *routes,
                                                                   const struct lb_routed_client *client,
                                                                   const struct lb_message *message, const char *bytes,
                                                                   const struct lb_json_said *said, struct lb_routed_to *to);

/* What routes look for in bodies: *count paths, which go with the routes. */
const struct lb_json_path *lb_routes_json(const struct lb_routes *routes, uint32_t *count);

/* Likewise, by a TLS client's server name and protocols: routes that ask for more than these never match. */
void lb_routes_match_name(struct lb_routes *routes, uint32_t listener, const struct lb_hello *hello, const uint8_t ip[16],
                          struct lb_routed_to *to);

/* Where a look through cookies stands; zero at first. */
struct lb_cookie_look {
    uint32_t field;
    uint32_t at; /* in the message; 0: the field's start */
};

/* The value of the next cookie of a name: at UINT32_MAX when there is none. */
struct lb_span lb_cookie_next(const struct lb_message *message, const char *bytes, const char *name, uint32_t length,
                              struct lb_cookie_look *look);

/* The value of a cookie (RFC 6265 5.4) by its name; length 0 with at UINT32_MAX when there is none. */
struct lb_span lb_cookie_find(const struct lb_message *message, const char *bytes, const char *name, uint32_t length);

/* The first field of that name, in lower case; NULL if there is none. */
const struct lb_field *lb_field_find(const struct lb_message *message, const char *bytes, const char *name, uint32_t length);

/* Can this expression be compiled (regcomp(3), REG_EXTENDED)? 0, or -EINVAL with the reason in words. */
int lb_route_expression_check(const char *expression, char *reason, size_t size);

#endif
