/* Paths as they are compared: RFC 3986 6.2.2 (escapes of unreserved characters decoded, dot segments removed). */
#ifndef LB_PATH_H
#define LB_PATH_H

#include <stdint.h>

/* How a path may be read: bits. Servers differ: a route must mean the same whichever way they read. */
enum lb_path_reading {
    LB_PATH_AS_WRITTEN = 0,
    LB_PATH_SLASHED = 1, /* "%2F", "\\" and "//" are one slash */
    LB_PATH_DECODED = 2, /* every escape is its character, as in PATH_INFO (RFC 3875 4.1.5) and in ASGI's path */
    LB_PATH_BARE = 4,    /* without parameters: "/a;x=1/b" is "/a/b", as Servlet containers read it */
    LB_PATH_TWICE = 8,   /* escapes are decoded once before all this, as by a proxy or a filter in front: "%253A" is "%3A" */
};

/* The normal form, NUL-ended, in `out` of at least length + 2 bytes: its length. -1: a broken escape, or an encoded NUL. */
__attribute__((warn_unused_result)) int64_t lb_path_normal(const char *path, uint32_t length, enum lb_path_reading reading,
                                                           char *out);

/* Every escape is its character, nothing else changes and no NUL follows: the length in `out` of at least length bytes; -1 likewise. */
__attribute__((warn_unused_result)) int64_t lb_path_decode(const char *path, uint32_t length, char *out);

/* Is it normal already, in all readings? True of most. */
int lb_path_is_plain(const char *path, uint32_t length);

/* Readings that may differ from the path as it is written: all their bits. */
enum lb_path_reading lb_path_readings(const char *path, uint32_t length);

#endif
