/* A word of a text: a string without its escapes, or a number as it is written. Bounded: what is longer is only known to be so. */
#ifndef LB_JSON_WORD_H
#define LB_JSON_WORD_H

#include <stdint.h>

enum { LB_JSON_WORD = 256 }; /* bytes that are kept */

struct lb_json_word {
    uint32_t length; /* bytes; above LB_JSON_WORD: it was longer, and is not kept */
    uint16_t high;   /* the first half of a surrogate pair, while the second may follow; 0: none */
    uint8_t kept;    /* somebody wants to know it */
    uint8_t pad;
    char bytes
        [LB_JSON_WORD]; /* UTF-8. Of half a surrogate pair there are three bytes that are no UTF-8, so that it is no other word */
};

void lb_json_word_begin(struct lb_json_word *word, int kept);
void lb_json_word_end(struct lb_json_word *word);

/* These bytes, as they are written. */
void lb_json_keep(struct lb_json_word *word, const char *from, const char *to);

/* An escape said this, of UTF-16: a code point, or half of one. */
void lb_json_keep_code(struct lb_json_word *word, uint32_t code);

#endif
