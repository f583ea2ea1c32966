/* Paths as they are compared: RFC 3986 6.2.2 (escapes of unreserved characters decoded, dot segments removed). */
#ifndef LB_PATH_H
#define LB_PATH_H

#include <stdint.h>

/* How a path may be read. Servers differ in what they make of "%2F", "\" and "//": a route must mean the same either way. */
enum lb_path_reading {
    LB_PATH_AS_WRITTEN, /* they are ordinary */
    LB_PATH_SLASHED,    /* they are one slash */
};

/* The normal form, NUL-ended, in `out` of at least length + 2 bytes: its length. -1: a broken escape, or an encoded NUL. */
__attribute__((warn_unused_result)) int64_t lb_path_normal(const char *path, uint32_t length, enum lb_path_reading reading,
                                                           char *out);

/* Is it normal already, in both readings? True of most. */
int lb_path_is_plain(const char *path, uint32_t length);

#endif
