#include "chunked.h"

#include <string.h>

#include "head.h"

enum state {
    SIZE_FIRST = 0, /* the first digit of a chunk's size */
    SIZE,
    BLANK,      /* behind a size, or an extension's value */
    NAME_FIRST, /* behind the ';' of an extension */
    NAME,
    NAME_BLANK,
    VALUE_FIRST, /* behind its '=' */
    VALUE,
    QUOTED,
    QUOTED_PAIR,
    QUOTED_END,
    IGNORED,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* at the start of a trailer's line, or of the last one */
    TRAILER_NAME,
    TRAILER_BLANK,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    BAD,
};

enum { SIZE_DIGITS = 15 }; /* under 2^60: no sum of sizes overflows in anybody's lifetime */

/* Where the reading stands, and what goes on. */
struct pen {
    char *bytes;
    uint32_t at; /* behind what was read */
    char *out;   /* NULL: nothing yet */
    char *end;
    uint32_t apart; /* bytes at the end that are trailers, of a body of which only the data goes on */
};

static int is_lenient(const struct lb_chunked *chunked)
{
    return chunked->rules & LB_CHUNKS_LENIENT;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

/* What goes on is never longer than what was read for it. So the first of it is put right before what is read next, and none of it
 * ever reaches what was not read; data that came in its shortest form stays where it is. */
static void put(struct pen *pen, const char *bytes, uint32_t count)
{
    if (!pen->out)
        pen->out = pen->end = pen->bytes + pen->at - count;
    if (pen->end != bytes)
        memmove(pen->end, bytes, count);
    pen->end += count;
}

static void put_frame(const struct lb_chunked *chunked, struct pen *pen, const char *bytes, uint32_t count)
{
    if (!(chunked->rules & LB_CHUNKS_BARE))
        put(pen, bytes, count);
}

static void put_size(const struct lb_chunked *chunked, struct pen *pen)
{
    static const char digits[] = "0123456789abcdef";
    char line[SIZE_DIGITS + 2], *first = line + SIZE_DIGITS;
    uint64_t rest = chunked->left;
    first[0] = '\r';
    first[1] = '\n';
    do
        *--first = digits[rest & 15];
    while (rest >>= 4);
    put_frame(chunked, pen, first, (uint32_t)(line + sizeof line - first));
}

static void put_trailer(const struct lb_chunked *chunked, struct pen *pen, const char *bytes, uint32_t count)
{
    if (!chunked->passes)
        return;
    put(pen, bytes, count);
    if (chunked->rules & LB_CHUNKS_BARE)
        pen->apart += count;
}

/* --- sizes and extensions ------------------------------------------------------------------------------------------- */

static enum state size_digit(struct lb_chunked *chunked, char c)
{
    int digit = lb_hex(c);
    chunked->digits = (uint8_t)(chunked->digits + (chunked->digits || digit > 0));
    if (digit < 0 || chunked->digits > SIZE_DIGITS)
        return BAD;
    chunked->left = chunked->left * 16 + (uint64_t)digit;
    return SIZE;
}

/* BWS, then another extension or the end of the line. */
static enum state after_part(char c)
{
    return c == ';' ? NAME_FIRST : c == '\r' ? SIZE_LF : is_blank(c) ? BLANK : BAD;
}

/* Blanks behind a size are padding in a response; a request has them only before an extension. */
static enum state after_size(const struct lb_chunked *chunked, char c)
{
    if (!is_lenient(chunked))
        return c == '\r' && chunked->state == BLANK ? BAD : after_part(c);
    return c == ';' ? IGNORED : after_part(c);
}

static enum state in_size(struct lb_chunked *chunked, char c)
{
    enum state next = after_size(chunked, c);
    return next == BAD ? size_digit(chunked, c) : next;
}

static enum state name_first(char c)
{
    if (is_blank(c))
        return NAME_FIRST;
    return lb_is(c, LB_TCHAR) ? NAME : BAD;
}

/* Nobody reads a response's extensions but us, and we do not: they end with their line. */
static enum state ignored(char c)
{
    return c == '\r' ? SIZE_LF : lb_is(c, LB_VCHAR) ? IGNORED : BAD;
}

static enum state in_name(char c)
{
    enum state next = after_part(c);
    return c == '=' ? VALUE_FIRST : lb_is(c, LB_TCHAR) ? NAME : next == BLANK ? NAME_BLANK : next;
}

static enum state name_blank(char c)
{
    return c == '=' ? VALUE_FIRST : c == ';' ? NAME_FIRST : is_blank(c) ? NAME_BLANK : BAD;
}

static enum state value_first(char c)
{
    return is_blank(c) ? VALUE_FIRST : c == '"' ? QUOTED : lb_is(c, LB_TCHAR) ? VALUE : BAD;
}

static enum state quoted(char c)
{
    return c == '"' ? QUOTED_END : c == '\\' ? QUOTED_PAIR : lb_is(c, LB_VCHAR) ? QUOTED : BAD;
}

/* A line is whole: whatever stood in it beside the size is not passed on. Who sends much of that for little data keeps us busy. */
static enum state size_end(struct lb_chunked *chunked, struct pen *pen, char c)
{
    uint64_t needs = chunked->left < LB_CHUNK_EXCESS_BYTES ? chunked->left + 16 : LB_CHUNK_EXCESS_BYTES;
    if (c != '\n')
        return BAD;
    chunked->excess += chunked->line;
    chunked->excess = chunked->excess > needs ? chunked->excess - (uint32_t)needs : 0;
    if (chunked->excess > LB_CHUNK_EXCESS_BYTES && !is_lenient(chunked))
        return BAD;
    put_size(chunked, pen);
    return chunked->left ? DATA : TRAILER_FIRST;
}

static enum state in_line(struct lb_chunked *chunked, struct pen *pen, char c)
{
    if (++chunked->line > LB_CHUNK_LINE_BYTES)
        return BAD;
    switch ((enum state)chunked->state) {
    case SIZE_FIRST:
        chunked->left = 0;
        chunked->line = 1;
        chunked->digits = 0;
        return size_digit(chunked, c);
    case SIZE:
        return in_size(chunked, c);
    case BLANK:
        return after_size(chunked, c);
    case NAME_FIRST:
        return name_first(c);
    case NAME:
        return in_name(c);
    case NAME_BLANK:
        return name_blank(c);
    case VALUE_FIRST:
        return value_first(c);
    case VALUE:
        return lb_is(c, LB_TCHAR) ? VALUE : after_part(c);
    case QUOTED:
        return quoted(c);
    case QUOTED_PAIR:
        return lb_is(c, LB_VCHAR) ? QUOTED : BAD;
    case QUOTED_END:
        return after_part(c);
    case IGNORED:
        return ignored(c);
    default:
        return size_end(chunked, pen, c);
    }
}

/* --- trailers ------------------------------------------------------------------------------------------------------- */

/* Fields that frame or route a message, or say who sent it, must not come after it (RFC 9110 6.5.1). */
static int may_trail(enum lb_field_name name)
{
    switch (name) {
    case LB_OTHER:
    case LB_DATE:
    case LB_HTTP2_SETTINGS:
    case LB_PROXY_CONNECTION:
    case LB_TRACEPARENT:
    case LB_TRACESTATE:
        return 1;
    case LB_HOST_FIELD:
    case LB_CONTENT_LENGTH:
    case LB_TRANSFER_ENCODING:
    case LB_CONNECTION:
    case LB_KEEP_ALIVE:
    case LB_TE:
    case LB_UPGRADE:
    case LB_EXPECT:
    case LB_COOKIE:
    case LB_FORWARDED:
    case LB_X_FORWARDED_FOR:
    case LB_X_FORWARDED_PROTO:
    case LB_X_FORWARDED_HOST:
    case LB_X_REQUEST_ID:
    case LB_CLIENT_CERT:
    case LB_TRAILER:
    case LB_PICK:
    case LB_LB_COST:
    case LB_LB_PRIORITY:
    case LB_SEC_FETCH_MODE:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
    case LB_REMOVED:
        break;
    }
    return 0;
}

/* There are servers to whom '_' and '-' are the same. */
static enum lb_field_name folded_name(const struct lb_chunked *chunked)
{
    char folded[LB_TRAILER_HELD] = {0};
    for (uint32_t i = 0; i < chunked->held; i++)
        folded[i] = (char)(chunked->name[i] == '_' ? '-' : chunked->name[i]);
    return lb_field_known(folded, chunked->held);
}

/* The name is whole, or longer than any that is known. c: what follows. */
static enum state judge_name(struct lb_chunked *chunked, struct pen *pen, char c)
{
    int may = may_trail(folded_name(chunked));
    if (!may && !is_lenient(chunked))
        return BAD;
    chunked->passes = may && chunked->rules & LB_CHUNKS_TRAILERS;
    chunked->name[chunked->held++] = c;
    put_trailer(chunked, pen, chunked->name, chunked->held);
    chunked->held = 0;
    return c == ':' ? TRAILER_VALUE : TRAILER_NAME;
}

static enum state trailer_first(struct lb_chunked *chunked, struct pen *pen, char c)
{
    if (c == '\r') {
        put_frame(chunked, pen, &c, 1);
        return LAST_LF;
    }
    chunked->name[0] = c;
    chunked->held = 1;
    return lb_is(c, LB_TCHAR) ? TRAILER_NAME : BAD;
}

static enum state trailer_colon(struct lb_chunked *chunked, struct pen *pen)
{
    if (chunked->held)
        return judge_name(chunked, pen, ':');
    put_trailer(chunked, pen, ":", 1);
    return TRAILER_VALUE;
}

static enum state trailer_name(struct lb_chunked *chunked, struct pen *pen, char c)
{
    if (c == ':')
        return trailer_colon(chunked, pen);
    if (is_blank(c) && is_lenient(chunked))
        return TRAILER_BLANK;
    if (!lb_is(c, LB_TCHAR))
        return BAD;
    if (chunked->held == LB_TRAILER_HELD)
        return judge_name(chunked, pen, c);
    if (chunked->held)
        chunked->name[chunked->held++] = c;
    else
        put_trailer(chunked, pen, &c, 1);
    return TRAILER_NAME;
}

static enum state trailer_blank(struct lb_chunked *chunked, struct pen *pen, char c)
{
    return c == ':' ? trailer_colon(chunked, pen) : is_blank(c) ? TRAILER_BLANK : BAD;
}

static enum state trailer_value(const struct lb_chunked *chunked, struct pen *pen, char c)
{
    put_trailer(chunked, pen, &c, 1);
    return c == '\r' ? TRAILER_LF : lb_is(c, LB_VCHAR) ? TRAILER_VALUE : BAD;
}

static enum state in_trailers(struct lb_chunked *chunked, struct pen *pen, char c)
{
    if (++chunked->trailer > LB_TRAILER_BYTES)
        return BAD;
    switch ((enum state)chunked->state) {
    case TRAILER_FIRST:
        return trailer_first(chunked, pen, c);
    case TRAILER_NAME:
        return trailer_name(chunked, pen, c);
    case TRAILER_BLANK:
        return trailer_blank(chunked, pen, c);
    case TRAILER_VALUE:
        return trailer_value(chunked, pen, c);
    case TRAILER_LF:
        put_trailer(chunked, pen, &c, 1);
        return c == '\n' ? TRAILER_FIRST : BAD;
    default:
        put_frame(chunked, pen, &c, 1);
        return c == '\n' ? DONE : BAD;
    }
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* One byte that is not data. */
static enum state step(struct lb_chunked *chunked, struct pen *pen, char c)
{
    if (chunked->state < DATA)
        return in_line(chunked, pen, c);
    if (chunked->state >= TRAILER_FIRST)
        return in_trailers(chunked, pen, c);
    put_frame(chunked, pen, &c, 1);
    if (chunked->state == DATA_CR)
        return c == '\r' ? DATA_LF : BAD;
    return c == '\n' ? SIZE_FIRST : BAD;
}

uint64_t lb_chunked_data(const struct lb_chunked *chunked)
{
    return chunked->state == DATA ? chunked->left : 0;
}

void lb_chunked_pass(struct lb_chunked *chunked, uint64_t bytes)
{
    chunked->left -= bytes;
    if (!chunked->left)
        chunked->state = DATA_CR;
}

enum lb_chunking lb_chunked_read(struct lb_chunked *chunked, char *bytes, uint32_t count, struct lb_chunk_piece *piece)
{
    struct pen pen = {.bytes = bytes};
    uint32_t data = 0;
    while (pen.at < count && chunked->state < DONE) {
        if (chunked->state != DATA) {
            char c = bytes[pen.at++];
            chunked->state = (uint8_t)step(chunked, &pen, c);
            continue;
        }
        uint32_t here = count - pen.at < chunked->left ? count - pen.at : (uint32_t)chunked->left;
        pen.at += here;
        data += here;
        put(&pen, bytes + pen.at - here, here);
        lb_chunked_pass(chunked, here);
    }
    uint32_t written = pen.out ? (uint32_t)(pen.end - pen.out) : 0;
    *piece = (struct lb_chunk_piece){pen.out ? pen.out : bytes, written - pen.apart, pen.at, data, pen.apart};
    return chunked->state == DONE ? LB_CHUNKS_DONE : chunked->state == BAD ? LB_CHUNKS_BAD : LB_CHUNKS_MORE;
}
