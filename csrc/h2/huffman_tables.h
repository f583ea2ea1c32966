/* The tables that huffman.c works with. */
#ifndef LB_HUFFMAN_TABLES_H
#define LB_HUFFMAN_TABLES_H

#include <stdint.h>

enum { LB_HUFFMAN_CLASSES = 17 };

/* What eight bits begin with: a symbol of `length` bits, or, with length 0, a longer one. */
struct lb_huffman_short {
    uint8_t symbol;
    uint8_t length;
};

/* Codes of one length over eight bits. Bounds are codes of 32 bits, filled up with zeros and with ones. */
struct lb_huffman_class {
    uint8_t length;
    uint8_t order; /* where its first symbol stands in lb_huffman_order */
    uint32_t first;
    uint32_t last;
};

extern const uint8_t lb_huffman_lengths[256];                                /* bits, by symbol */
extern const uint32_t lb_huffman_codes[256];                                 /* by symbol, in the low bits */
extern const uint8_t lb_huffman_order[256];                                  /* the symbols, by length and value */
extern const struct lb_huffman_short lb_huffman_short[256];                  /* by the next eight bits */
extern const struct lb_huffman_class lb_huffman_classes[LB_HUFFMAN_CLASSES]; /* the shortest first */

#endif
