/* Runs of bytes of one kind, eight at a time. */
#ifndef LB_RUNS_H
#define LB_RUNS_H

#include <endian.h>
#include <string.h>

#include "syntax.h"

/* Eight bytes at a time: where may a run of a kind end? Bit 7 of each such byte, the first byte the lowest. What is marked may be of
 * the kind all the same, and is looked at; before the first mark nothing is missed. (Borrows and carries come from marked bytes
 * only, and go upwards.) */
static inline uint64_t lb_run_equals(uint64_t word, uint8_t byte)
{
    uint64_t differs = word ^ LB_EACH(byte);
    return (differs - LB_EACH(1)) & ~differs & LB_EACH(0x80);
}

static inline uint64_t lb_run_value_ends(uint64_t word)
{
    return ((word - LB_EACH(0x20)) & ~word & LB_EACH(0x80)) | lb_run_equals(word, 0x7f);
}

static inline uint64_t lb_run_target_ends(uint64_t word)
{
    return ((word | (word - LB_EACH(0x21)) | (word + LB_EACH(1))) & LB_EACH(0x80)) | lb_run_equals(word, '#');
}

/* All but letters and dashes, of which names consist. */
static inline uint64_t lb_run_token_ends(uint64_t word)
{
    uint64_t bytes = word & LB_EACH(0x7f), lower = bytes | LB_EACH(0x20);
    uint64_t letters = (lower + LB_EACH(0x80 - 'a')) & ~(lower + LB_EACH(0x7f - 'z'));
    uint64_t dashes = ~((bytes ^ LB_EACH('-')) + LB_EACH(0x7f));
    return (word | ~(letters | dashes)) & LB_EACH(0x80);
}

static inline uint64_t lb_run_ends(uint64_t word, enum lb_char kind)
{
    return kind == LB_VCHAR ? lb_run_value_ends(word) : kind == LB_TARGET ? lb_run_target_ends(word) : lb_run_token_ends(word);
}

/* Where bytes of one kind end. */
static inline uint32_t lb_run_end(const char *bytes, uint32_t at, uint32_t count, enum lb_char kind)
{
    while (count - at >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        uint64_t marks = lb_run_ends(le64toh(word), kind);
        if (!marks) {
            at += (uint32_t)sizeof word;
            continue;
        }
        at += (uint32_t)__builtin_ctzll(marks) / 8;
        if (!lb_is(bytes[at], kind))
            return at;
        at++;
    }
    while (at < count && lb_is(bytes[at], kind))
        at++;
    return at;
}

#endif
