/* Which certificate belongs to a server name: exact names before wildcards, which stand for one label (RFC 6125 6.4.3). */
#ifndef LB_TLS_NAMES_H
#define LB_TLS_NAMES_H

#include <stdint.h>

struct lb_tls_name {
    const char *name; /* lower case; of a wildcard without its star: ".example.com" */
    uint32_t owner;
};

struct lb_tls_names {
    struct lb_tls_name *at; /* sorted by name; of equal ones the first that was added is found */
    uint32_t count;
    uint32_t room;
};

/* 0, or -ENOMEM. The text stays the caller's and must outlive the names. */
__attribute__((warn_unused_result)) int lb_tls_names_add(struct lb_tls_names *names, const char *name, uint32_t owner);
void lb_tls_names_sort(struct lb_tls_names *names);
void lb_tls_names_free(struct lb_tls_names *names);

/* The owner of a name, whatever its case, or -1. */
int64_t lb_tls_names_find(const struct lb_tls_names *names, const char *name);

#endif
