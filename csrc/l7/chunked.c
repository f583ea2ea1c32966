#include "chunked.h"

#include <string.h>

#include "syntax.h"

enum state {
    SIZE_FIRST = 0, /* the first digit of a chunk's size */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* at the start of a trailer's line, or of the last one */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    BAD,
};

enum { SIZE_DIGITS = 15 }; /* under 2^60: no sum of sizes overflows in anybody's lifetime */

/* FNV-1a. There are servers to whom '_' and '-' are the same. */
static uint64_t hash_on(uint64_t hash, char c)
{
    return (hash ^ (uint8_t)(c == '_' ? '-' : lb_lower(c))) * UINT64_C(1099511628211);
}

static const uint64_t HASH_START = UINT64_C(14695981039346656037);

/* Fields that frame or route a message, or say who sent it, must not come after it (RFC 9110 6.5.1). */
static int may_trail(uint64_t name)
{
    static const char *const refused[] = {
        "transfer-encoding", "content-length",  "host",              "connection",       "te",        "trailer",      "keep-alive",
        "upgrade",           "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-request-id", "client-cert",
        "client-cert-chain",
    };
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
        uint64_t hash = HASH_START;
        for (const char *c = refused[i]; *c; c++)
            hash = hash_on(hash, *c);
        if (hash == name)
            return 0;
    }
    return 1;
}

static enum state size_digit(struct lb_chunked *chunked, char c)
{
    int digit = lb_hex(c);
    if (digit < 0 || ++chunked->line > SIZE_DIGITS)
        return BAD;
    chunked->left = chunked->left * 16 + (uint64_t)digit;
    return SIZE;
}

static enum state after_size(struct lb_chunked *chunked, char c)
{
    if (c == '\r')
        return SIZE_LF;
    if (c != ';')
        return size_digit(chunked, c);
    chunked->line = 0;
    return EXTENSION;
}

static enum state in_extension(struct lb_chunked *chunked, char c)
{
    if (c == '\r')
        return chunked->line ? SIZE_LF : BAD; /* ";" alone says nothing */
    return lb_is(c, LB_VCHAR) && ++chunked->line <= LB_EXTENSION_BYTES ? EXTENSION : BAD;
}

static enum state trailer_first(struct lb_chunked *chunked, char c)
{
    if (c == '\r')
        return LAST_LF;
    chunked->name = hash_on(HASH_START, c);
    return lb_is(c, LB_TCHAR) ? TRAILER_NAME : BAD;
}

static enum state trailer_name(struct lb_chunked *chunked, char c)
{
    if (c == ':')
        return may_trail(chunked->name) ? TRAILER_VALUE : BAD;
    chunked->name = hash_on(chunked->name, c);
    return lb_is(c, LB_TCHAR) ? TRAILER_NAME : BAD;
}

/* One byte that is not data. */
static enum state step(struct lb_chunked *chunked, char c)
{
    if (chunked->state >= TRAILER_FIRST && ++chunked->trailer > LB_TRAILER_BYTES)
        return BAD;
    switch ((enum state)chunked->state) {
    case SIZE_FIRST:
        chunked->left = 0;
        chunked->line = 0;
        return size_digit(chunked, c);
    case SIZE:
        return after_size(chunked, c);
    case EXTENSION:
        return in_extension(chunked, c);
    case SIZE_LF:
        return c != '\n' ? BAD : chunked->left ? DATA : TRAILER_FIRST;
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return c == '\n' ? SIZE_FIRST : BAD;
    case TRAILER_FIRST:
        return trailer_first(chunked, c);
    case TRAILER_NAME:
        return trailer_name(chunked, c);
    case TRAILER_VALUE:
        return c == '\r' ? TRAILER_LF : lb_is(c, LB_VCHAR) ? TRAILER_VALUE : BAD;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_FIRST : BAD;
    case LAST_LF:
        return c == '\n' ? DONE : BAD;
    case DATA:
    case DONE:
    case BAD:
        break;
    }
    return BAD;
}

enum lb_chunking lb_chunked_read(struct lb_chunked *chunked, const char *bytes, uint32_t count, uint32_t *used, char *data,
                                 uint32_t *data_count)
{
    uint32_t at = 0, gathered = 0;
    while (at < count && chunked->state < DONE) {
        if (chunked->state != DATA) {
            chunked->state = (uint8_t)step(chunked, bytes[at++]);
            continue;
        }
        uint32_t here = count - at < chunked->left ? count - at : (uint32_t)chunked->left;
        if (data)
            memmove(data + gathered, bytes + at, here);
        gathered += here;
        at += here;
        chunked->left -= here;
        if (!chunked->left)
            chunked->state = DATA_CR;
    }
    *used = at;
    if (data_count)
        *data_count = gathered;
    return chunked->state == DONE ? LB_CHUNKS_DONE : chunked->state == BAD ? LB_CHUNKS_BAD : LB_CHUNKS_MORE;
}
