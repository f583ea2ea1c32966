/* The chunked coding (RFC 9112 7.1), read as it comes and framed anew: what goes on has the sizes in their shortest form, no
 * extension, and the trailers that may go on. Chunks keep their bounds, so that a message that somebody sent as one chunk arrives
 * as one. */
#ifndef LB_CHUNKED_H
#define LB_CHUNKED_H

#include <stdint.h>

enum {
    LB_CHUNK_LINE_BYTES = 1024,    /* of a size with its extensions */
    LB_CHUNK_EXCESS_BYTES = 16384, /* of all that is neither data nor what data needs, in a request's body */
    LB_TRAILER_BYTES = 8192,       /* of all trailers */
    LB_TRAILER_HELD = 40,          /* of a trailer's name; a longer one is none that is known */
    LB_CHUNK_ROOM = 64,            /* free bytes before a piece: what was held back of earlier ones goes there */
};

enum lb_chunk_rule {
    LB_CHUNKS_LENIENT = 1,  /* a response's: blanks where RFC 9112 has none, and trailers that must not be are left out */
    LB_CHUNKS_BARE = 2,     /* only the data goes on */
    LB_CHUNKS_TRAILERS = 4, /* trailers go on, too; where only the data does, behind it, by themselves */
};

struct lb_chunked {
    uint64_t left;    /* bytes of this chunk's data still to come */
    uint32_t excess;  /* bytes that were neither data nor what data needs */
    uint16_t trailer; /* bytes of the trailer section so far */
    uint16_t line;    /* bytes of this size line so far */
    uint8_t state;    /* zero before the first byte */
    uint8_t rules;    /* enum lb_chunk_rule; set before the first byte */
    uint8_t digits;   /* of the size, without zeros before it */
    uint8_t held;     /* bytes of the name below */
    uint8_t passes;   /* this trailer goes on */
    char name[LB_TRAILER_HELD + 1];
};

/* A piece of the body as it came, and what goes on of it. */
struct lb_chunk_piece {
    char *out; /* at most LB_CHUNK_ROOM before the piece's first byte; the piece's own bytes are overwritten */
    uint32_t out_count;
    uint32_t used;     /* bytes that belong to the body: all of them unless it is done */
    uint32_t data;     /* bytes of these that are content */
    uint32_t trailers; /* LB_CHUNKS_BARE: bytes behind out + out_count, lines of trailers */
};

enum lb_chunking { LB_CHUNKS_MORE, LB_CHUNKS_DONE, LB_CHUNKS_BAD };

/* Read on. Of a body's first piece nothing is written before its first byte. */
__attribute__((warn_unused_result)) enum lb_chunking lb_chunked_read(struct lb_chunked *chunked, char *bytes, uint32_t count,
                                                                     struct lb_chunk_piece *piece);

/* How much data comes next, before anything else; 0: something else does. It may go on without being read, and is passed over
 * then. */
uint64_t lb_chunked_data(const struct lb_chunked *chunked);
void lb_chunked_pass(struct lb_chunked *chunked, uint64_t bytes);

#endif
