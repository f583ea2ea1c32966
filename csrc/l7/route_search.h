/* A request, or a connection of TLS, on its way through the index of routes; and whether the conditions of a route hold of it. */
#ifndef LB_ROUTE_SEARCH_H
#define LB_ROUTE_SEARCH_H

#include "json_condition.h"
#include "route_index.h"

struct search {
    const struct lb_routes *routes;
    const struct lb_message *message; /* NULL: a TLS client, */
    const struct lb_hello *hello;     /* which said this */
    const char *bytes;
    const uint8_t *ip; /* the client's; IPv4 mapped into IPv6 */
    const char *host;  /* in lower case, without port and final dot */
    uint32_t host_length;
    const char *method;
    uint32_t method_length;
    int decoded;      /* the path is compared with decoded ones */
    const char *path; /* normal, NUL-ended */
    uint32_t path_length;
    const char *written;    /* as it is written, likewise */
    unsigned query_reading; /* enum lb_query_reading */
    int repeated;           /* a parameter stands there more than once, and it matters which of them counts */
    uint32_t listener;
    const struct lb_json_said *said; /* by its body; NULL: it was not looked at */
    uint32_t best;                   /* the first route that matched so far */
    uint32_t undecided;              /* the first that may match, by what more of the body says */
    int by_body;                     /* such a one came before the best */
    uint32_t mapped;                 /* where the best has its pool from a map: the host there */
    int no_json;                     /* one would, but its head does not speak of JSON */
    uint32_t failed;                 /* the condition that failed last: of all that must hold, the one that did not */
    uint32_t passed;                 /* the first route that matches but for its alternatives */
    struct lb_way way;               /* how those came out */
    uint8_t held;                    /* of the best: its alternative that held */
    struct lb_way looked;            /* ... of the route that is being looked at: held, or count and failed */
};

/* Do all of these conditions hold? */
enum lb_holds lb_route_conditions_hold(struct search *search, uint32_t first, uint32_t count);

/* Does the path contain what this expression means? One that names an escape means what is written. at, length: of its text. */
int lb_route_expression_holds(const struct search *search, const regex_t *expression, uint32_t at, uint32_t length);

/* Is the method among these names, apart by spaces? */
int lb_route_names_method(const char *methods, uint32_t methods_length, const char *method, uint32_t length);

/* Is this of the path, so that it has to hold in each reading? */
static inline int is_of_path(const struct lb_condition_row *condition)
{
    return condition->kind == LB_CONDITION_PATH || condition->kind == LB_CONDITION_PATH_PREFIX ||
           condition->kind == LB_CONDITION_PATH_SUFFIX || condition->kind == LB_CONDITION_PATH_REGEX;
}

#endif
