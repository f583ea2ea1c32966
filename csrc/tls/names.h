/* Which certificate belongs to a server name: exact names before wildcards, which stand for one label (RFC 6125 6.4.3). */
#ifndef LB_TLS_NAMES_H
#define LB_TLS_NAMES_H

#include <stdint.h>

struct lb_tls_name {
    const char *name; /* lower case; of a wildcard without its star: ".example.com" */
    uint32_t owner;
};

struct lb_tls_names {
    struct lb_tls_name *at; /* sorted by name, equal ones by owner */
    uint32_t count;
    uint32_t room;
};

/* 0, or -ENOMEM. The text stays the caller's and must outlive the names. */
__attribute__((warn_unused_result)) int lb_tls_names_add(struct lb_tls_names *names, const char *name, uint32_t owner);
void lb_tls_names_sort(struct lb_tls_names *names);
void lb_tls_names_free(struct lb_tls_names *names);

/* Names of a kind that stand for one that is asked for: `count` of them from `first` on, in the order of their owners. */
struct lb_tls_match {
    uint32_t first;
    uint32_t count;
};

/* Whose name is it, whatever its case? exact: of those who say just so; wild: of those who say so with a star. */
void lb_tls_names_match(const struct lb_tls_names *names, const char *name, struct lb_tls_match *exact,
                        struct lb_tls_match *wild);

#endif
