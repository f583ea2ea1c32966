/* Base64 (RFC 4648 4) as it is streamed: a text may be of several pieces, each with its own padding. */
#ifndef LB_BASE64_H
#define LB_BASE64_H

#include <stdint.h>

/* The six bits of a digit; -1: it has none. last: the last two digits: "+/", or "-_" of base64url (RFC 4648 5). */
int lb_base64_value(char c, const char last[2]);

/* Where a text stands between two of its bytes. Zero before the first. */
struct lb_base64 {
    uint32_t bits; /* of the group under way, that have not gone out */
    uint8_t place; /* characters of that group; 0: the text may end here */
    uint8_t ends;  /* it has padding */
};

/* Decode in the place where it lies: how many bytes come of it; -1: it is not base64. */
__attribute__((warn_unused_result)) int64_t lb_base64_read(struct lb_base64 *base64, char *bytes, uint32_t count);

/* Characters that so many bytes take. */
uint32_t lb_base64_length(uint32_t count);

/* Encode what lies at the end of the room of lb_base64_length(count) characters at `to`; where the text ends. */
char *lb_base64_write(char *to, uint32_t count);

#endif
