/* HPACK's static table (RFC 7541, Appendix A): indices 1 to 61. */
#ifndef LB_HPACK_STATIC_H
#define LB_HPACK_STATIC_H

#include <stdint.h>

enum {
    LB_HPACK_STATIC = 61,
    LB_HPACK_STATIC_200 = 8,   /* ":status: 200" */
    LB_HPACK_STATIC_NAME = 27, /* bytes of the longest name */
};

struct lb_hpack_static {
    const char *name;
    const char *value;
    uint8_t name_length;
    uint8_t value_length;
};

/* index: 1 to LB_HPACK_STATIC. */
const struct lb_hpack_static *lb_hpack_static_at(uint32_t index);

/* The index of this field, *whole = 1; or of the first entry with its name, *whole = 0; or 0. The name is in lower case. */
uint32_t lb_hpack_static_find(const char *name, uint32_t name_length, const char *value, uint32_t value_length, int *whole);

#endif
