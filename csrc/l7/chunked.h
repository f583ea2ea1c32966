/* The chunked coding (RFC 9112 7.1), read as it comes and passed on as it is: only its end is looked for, and its faults. */
#ifndef LB_CHUNKED_H
#define LB_CHUNKED_H

#include <stdint.h>

enum { LB_EXTENSION_BYTES = 1024, LB_TRAILER_BYTES = 8192 }; /* bounds of a chunk's extension and of all trailers */

struct lb_chunked {
    uint64_t left;   /* bytes of this chunk's data still to come */
    uint64_t name;   /* hash of the trailer's name so far */
    uint16_t trailer; /* bytes of the trailer section so far */
    uint16_t line;    /* bytes of this size line or extension */
    uint8_t state;    /* zero before the first byte */
};

enum lb_chunking { LB_CHUNKS_MORE, LB_CHUNKS_DONE, LB_CHUNKS_BAD };

/* Read on. *used: bytes that belong to the body; all of them unless it is done. Where data is not NULL, the chunks' contents are
 * gathered there (it may be `bytes` itself), and *data_count says how many. */
__attribute__((warn_unused_result)) enum lb_chunking lb_chunked_read(struct lb_chunked *chunked, const char *bytes,
                                                                     uint32_t count, uint32_t *used, char *data,
                                                                     uint32_t *data_count);

#endif
