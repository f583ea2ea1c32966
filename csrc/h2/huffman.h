/* HPACK's Huffman code (RFC 7541 5.2 and Appendix B). */
#ifndef LB_HUFFMAN_H
#define LB_HUFFMAN_H

#include <stdint.h>

enum {
    LB_HUFFMAN_BAD = -1,  /* the end-of-string symbol, padding of eight bits or more, or padding that is not all ones */
    LB_HUFFMAN_LONG = -2, /* more than the room */
};

/* Bytes written to `out`, or one of the above. Nothing at or behind out + room is touched. */
__attribute__((warn_unused_result)) int64_t lb_huffman_decode(char *out, uint32_t room, const uint8_t *bytes, uint32_t count);

/* How many bytes lb_huffman_encode will write. */
uint32_t lb_huffman_size(const char *text, uint32_t length);

/* The byte behind what was written. */
uint8_t *lb_huffman_encode(uint8_t *out, const char *text, uint32_t length);

#endif
