/* Parameters of a query, as forms write them (WHATWG URL, application/x-www-form-urlencoded): name=value, apart by "&", escapes decoded. */
#ifndef LB_QUERY_H
#define LB_QUERY_H

#include <stdint.h>

/* How a query may be read beside that: bits. Servers differ: a route must mean the same whichever way they read. */
enum lb_query_reading {
    LB_QUERY_AS_FORMS = 0,
    LB_QUERY_PLUS = 1,      /* "+" is no space (RFC 3986) */
    LB_QUERY_SEMICOLON = 2, /* ";" is as "&" (HTML 4.01 B.2.2) */
    LB_QUERY_LAST = 4,      /* of several parameters of a name the last one counts, not the first */
};

/* What is asked for. */
struct lb_parameter {
    const char *name;
    uint32_t name_length;
    uint32_t value_length;
    const char *value; /* NULL: any */
};

/* Does the query, which may begin with "?", say so? Sets *repeated if there are several of that name and their values matter. */
int lb_query_says(const char *query, uint32_t length, const struct lb_parameter *wanted, unsigned reading, int *repeated);

/* Readings that may differ from the usual one: bits. LB_QUERY_LAST is not among them: lb_query_says tells. */
unsigned lb_query_readings(const char *query, uint32_t length);

#endif
