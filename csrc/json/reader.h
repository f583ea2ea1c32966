/* JSON (RFC 8259) as it comes, in pieces cut anywhere: checked strictly, kept nowhere. What is looked for are the values at a few paths; they
 * are told one by one. Pure: nothing is allocated, no clock, no socket. A byte is looked at once.
 *
 * Strict means: UTF-8 (RFC 3629) without a byte order mark, no control character in a string, no NaN, no comment, no comma too many, one
 * value and nothing behind it. Python 3.12's json, which is the oracle of the tests, takes the same texts but NaN and Infinity.
 *
 * A name that comes twice is taken by parsers in different ways: the first, the last (Python, JavaScript, Go) or neither. That a path's name
 * has come again is told (LB_JSON_TWICE) before its value, so that nobody decides by a value that others do not see. */
#ifndef LB_JSON_READER_H
#define LB_JSON_READER_H

#include "word.h"

enum {
    LB_JSON_LEVELS = 4,  /* names in a path */
    LB_JSON_PATHS = 16,  /* looked for at once: bits of a mask */
    LB_JSON_DEPTH = 128, /* objects and arrays in each other */
};

/* A place in nested objects: {"metadata": {"tier": ...}} has "metadata", "tier". */
struct lb_json_path {
    const char *names[LB_JSON_LEVELS]; /* UTF-8, of at most LB_JSON_WORD bytes */
    uint32_t lengths[LB_JSON_LEVELS];
    uint32_t levels;
    uint32_t streams; /* its value's text is told as it is written, too */
};

enum lb_json_kind {
    LB_JSON_STRING,
    LB_JSON_NUMBER,
    LB_JSON_TRUE,
    LB_JSON_FALSE,
    LB_JSON_NULL,
    LB_JSON_OBJECT,
    LB_JSON_ARRAY,
};

enum lb_json_event {
    LB_JSON_MORE,     /* this piece is read */
    LB_JSON_VALUE,    /* a value that is looked for has ended: which, kind; of a string or number, word */
    LB_JSON_TEXT,     /* raw, raw_length: the next part of the text of a value that streams, as it is written */
    LB_JSON_TWICE,    /* a name of these paths (which) has come before in its object, or in another at the same path */
    LB_JSON_BAD,      /* it is no JSON; nothing more is read */
    LB_JSON_TOO_DEEP, /* likewise: LB_JSON_DEPTH */
};

/* One text under way. Set up by lb_json_begin; what is told is valid until the next call. */
struct lb_json {
    const struct lb_json_path *paths;
    const char *rest;                     /* of a literal: what is still to come */
    const char *raw;                      /* LB_JSON_TEXT: in the piece */
    uint64_t raw_length;                  /* bytes */
    uint64_t objects[LB_JSON_DEPTH / 64]; /* a bit each container: is it an object? */
    uint16_t live[LB_JSON_LEVELS + 1];    /* by depth: the paths that lead to this object */
    uint16_t ends[LB_JSON_LEVELS + 1];    /* likewise: the paths whose value is the container that was opened there */
    uint16_t seen[LB_JSON_LEVELS + 1];    /* likewise: the paths whose name at that level has come */
    uint16_t all;                         /* of the paths */
    uint16_t which;                       /* LB_JSON_VALUE, LB_JSON_TWICE: a bit a path */
    uint16_t hit;                         /* the paths whose value is what comes next */
    uint16_t inner;                       /* the paths that go on in what comes next */
    uint16_t streamed;                    /* LB_JSON_TEXT: likewise; within such a value no other streams */
    uint16_t code;                        /* of an escape, so far */
    uint8_t stream_depth;
    uint8_t depth;
    uint8_t place;   /* enum lb_json_place */
    uint8_t kind;    /* enum lb_json_kind */
    uint8_t named;   /* the string is a name */
    uint8_t pending; /* enum lb_json_event: what is told after the text before it */
    uint8_t need;    /* bytes of a character still to come, or digits of an escape */
    uint8_t least;   /* what the next of them may be */
    uint8_t most;
    struct lb_json_word word; /* a name, a string or a number */
};

/* Look for the values at these paths, at most LB_JSON_PATHS, which stay where they are. */
void lb_json_begin(struct lb_json *json, const struct lb_json_path *paths, uint32_t count);

/* Read on from *at, which moves, until there is something to tell. */
__attribute__((warn_unused_result)) enum lb_json_event lb_json_read(struct lb_json *json, const char **at, const char *end);

/* Nothing more comes: is what was read a whole text? */
__attribute__((warn_unused_result)) int lb_json_is_whole(const struct lb_json *json);

/* Is the word that was told this one? */
int lb_json_says(const struct lb_json *json, const char *text, uint32_t length);

#endif
