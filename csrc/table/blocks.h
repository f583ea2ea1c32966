/* A text as a chain of hashes: equal beginnings have equal first hashes, and nothing of the text can be read from them. */
#ifndef LB_BLOCKS_H
#define LB_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/* A text's blocks, and the places where its parts end. Bytes behind the last whole block, and behind the last of LB_BLOCKS, are in none. */
enum { LB_BLOCKS = 192, LB_ENDS = 64 };

struct lb_blocks {
    uint64_t hash[LB_BLOCKS]; /* of all from the text's first byte to the block's end */
    uint64_t end[LB_ENDS];    /* likewise to the end of a part: of part n at n % LB_ENDS */
    uint32_t count;
    uint32_t ends;  /* parts that have ended, the last one with the text; 0: it has none, as it is a whole key */
    uint32_t cut;   /* it goes on behind what was read */
    uint32_t words; /* its parts are all of its words of 16 bytes */
};

/* A text under way. What is begun with the same salts, keyed by a secret, is comparable: in one pool of one segment. */
struct lb_blocks_reader {
    struct lb_blocks *blocks;
    uint64_t secret[2];
    uint64_t state;
    uint32_t left;    /* bytes of the block under way that are still to come */
    uint32_t waiting; /* bytes of the next word that have come */
    uint8_t word[16];
    /* of a JSON value */
    uint32_t depth;  /* arrays and objects that are open */
    uint8_t quoted;  /* in a string */
    uint8_t escaped; /* behind a backslash */
    uint8_t kind;    /* '[': its elements are parts */
    uint8_t begun;   /* which is known */
};

/* Begin. salt: what keeps this text apart from equal ones, such as its pool. */
void lb_blocks_begin(struct lb_blocks_reader *reader, struct lb_blocks *blocks, const uint8_t key[16], uint64_t salt);

/* Take the next bytes, cut anywhere. */
void lb_blocks_read(struct lb_blocks_reader *reader, const void *bytes, size_t count);

/* A part ends here, such as a message of a conversation. */
void lb_blocks_end(struct lb_blocks_reader *reader);

/* The next bytes of a JSON value that is well formed, cut anywhere: each element of an array is a part, if the first is an object. Of
 * everything else, such as a string or an array of tokens, each word is. */
void lb_blocks_read_json(struct lb_blocks_reader *reader, const char *bytes, size_t count);

/* Where the text ended, as is remembered beside its blocks: by its last part, and of one without parts by its last whole block. */
uint64_t lb_blocks_last(const struct lb_blocks *blocks);
uint64_t lb_blocks_last_at(uint64_t hash);

/* One block that stands for a whole key. */
void lb_blocks_of_key(struct lb_blocks *blocks, const uint8_t key[16], uint64_t salt, uint64_t hash);

/* Bytes of a text's first blocks: blocks.c says how fine they are. */
uint32_t lb_blocks_bytes(uint32_t count);

#endif
