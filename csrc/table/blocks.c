#include "blocks.h"

#include <string.h>

/* Fine where texts are short, and for a long one never coarser than a sixteenth of what lies before: a conversation that has one
 * block of its own behind the words that it shares is known again. All are multiples of a word. */
static const struct {
    uint32_t until; /* number of the block */
    uint32_t bytes;
} sizes[] = {{4, 32}, {35, 128}, {91, 512}, {LB_BLOCKS, 2048}}; /* up to 128 bytes, 4 KiB, 32 KiB, 234 KiB */

enum { WORD = 16, KINDS = sizeof sizes / sizeof *sizes };

static uint32_t bytes_of(uint32_t block)
{
    for (uint32_t i = 0; i < KINDS; i++)
        if (block < sizes[i].until)
            return sizes[i].bytes;
    return 0;
}

uint32_t lb_blocks_bytes(uint32_t count)
{
    uint32_t bytes = 0, from = 0;
    for (uint32_t i = 0; i < KINDS && from < count; i++) {
        uint32_t until = count < sizes[i].until ? count : sizes[i].until;
        bytes += (until - from) * sizes[i].bytes;
        from = until;
    }
    return bytes;
}

/* The folded product of wyhash (Wang Yi, 2019): 16 bytes for one multiplication. Whoever does not know the secret cannot aim at a slot. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static void end_block(struct lb_blocks_reader *reader)
{
    struct lb_blocks *blocks = reader->blocks;
    blocks->hash[blocks->count] = mix(reader->state ^ reader->secret[1], blocks->count ^ reader->secret[0]);
    blocks->count++;
    reader->left = bytes_of(blocks->count);
}

/* So many words, none of which lies behind the block under way. */
static void take_words(struct lb_blocks_reader *reader, const uint8_t *at, uint32_t count)
{
    const uint64_t one = reader->secret[0], other = reader->secret[1];
    struct lb_blocks *blocks = reader->blocks;
    uint64_t state = reader->state, halves[2];
    for (const uint8_t *end = at + (size_t)count * WORD; at < end; at += WORD) {
        memcpy(halves, at, sizeof halves);
        state = mix(halves[0] ^ one, halves[1] ^ state) + other;
        if (blocks->words)
            blocks->end[blocks->ends++ % LB_ENDS] = mix(state ^ one, other);
    }
    reader->state = state;
    reader->left -= count * WORD;
    if (!reader->left)
        end_block(reader);
}

void lb_blocks_begin(struct lb_blocks_reader *reader, struct lb_blocks *blocks, const uint8_t key[16], uint64_t salt)
{
    blocks->count = blocks->ends = blocks->cut = blocks->words = 0;
    *reader = (struct lb_blocks_reader){.blocks = blocks, .left = bytes_of(0)};
    memcpy(reader->secret, key, sizeof reader->secret);
    reader->state = mix(salt ^ reader->secret[0], reader->secret[1]);
}

void lb_blocks_read(struct lb_blocks_reader *reader, const void *bytes, size_t count)
{
    const uint8_t *at = bytes, *end = at + count;
    while (reader->left && at < end) {
        if (!reader->waiting && end - at >= WORD) {
            size_t there = (size_t)(end - at) / WORD, wanted = reader->left / WORD;
            uint32_t words = (uint32_t)(there < wanted ? there : wanted);
            take_words(reader, at, words);
            at += (size_t)words * WORD;
            continue;
        }
        reader->word[reader->waiting++] = *at++;
        if (reader->waiting == WORD) {
            reader->waiting = 0;
            take_words(reader, reader->word, 1);
        }
    }
}

void lb_blocks_end(struct lb_blocks_reader *reader)
{
    uint64_t halves[2] = {0};
    memcpy(halves, reader->word, reader->waiting);
    uint64_t hash = mix(halves[0] ^ reader->secret[1], halves[1] ^ reader->state);
    struct lb_blocks *blocks = reader->blocks;
    blocks->end[blocks->ends++ % LB_ENDS] = mix(hash ^ reader->secret[0], reader->waiting + UINT64_C(0xa0761d6478bd642f));
}

/* The first quote or backslash, or the end. */
static const char *string_stop(const char *at, const char *end)
{
    typedef int8_t bytes16 __attribute__((vector_size(16)));
    typedef uint64_t words2 __attribute__((vector_size(16)));
    for (; end - at >= 16; at += 16) {
        bytes16 bytes;
        memcpy(&bytes, at, 16);
        words2 stops = (words2)((bytes == '"') | (bytes == '\\'));
        if (stops[0] | stops[1])
            break;
    }
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Behind what comes next of a string. */
static const char *in_string(struct lb_blocks_reader *reader, const char *at, const char *end)
{
    if (reader->escaped) {
        reader->escaped = 0;
        return at + 1;
    }
    at = string_stop(at, end);
    if (at == end)
        return end;
    reader->escaped = *at == '\\';
    reader->quoted = reader->escaped;
    return at + 1;
}

/* From its first bytes: is it an array of objects? */
static void see_kind(struct lb_blocks_reader *reader, char c)
{
    if (!reader->kind) {
        reader->kind = (uint8_t)c;
        reader->depth = c == '[';
        reader->begun = c != '[';
        reader->blocks->words = reader->begun;
    } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
        reader->kind = c == '{' ? '[' : '-';
        reader->blocks->words = c != '{';
        reader->depth += c == '{';
        reader->begun = 1;
    }
}

/* Until it is known what it is: where it goes on. White space behind the first bracket is in no block, since what it is part of is not known
 * when it comes alone. */
static const char *begin_json(struct lb_blocks_reader *reader, const char *at, const char *end)
{
    for (; at < end && !reader->begun; at++) {
        int opens = !reader->kind;
        see_kind(reader, *at);
        if (reader->begun)
            break;
        if (opens)
            lb_blocks_read(reader, at, 1);
    }
    return at;
}

void lb_blocks_read_json(struct lb_blocks_reader *reader, const char *bytes, size_t count)
{
    const char *end = bytes + count;
    int begins = !reader->begun;
    const char *from = begin_json(reader, bytes, end), *at = from + (begins && reader->begun);
    while (at < end && reader->kind == '[') {
        if (reader->quoted) {
            at = in_string(reader, at, end);
            continue;
        }
        char c = *at;
        if (reader->depth == 1 && (c == ',' || c == ']')) {
            lb_blocks_read(reader, from, (size_t)(at - from));
            lb_blocks_end(reader);
            from = at;
        }
        reader->quoted = c == '"';
        reader->depth += c == '[' || c == '{';
        reader->depth -= c == ']' || c == '}';
        at++;
    }
    lb_blocks_read(reader, from, (size_t)(end - from));
}

uint64_t lb_blocks_last_at(uint64_t hash)
{
    return hash ^ UINT64_C(0xe7037ed1a0b428db);
}

uint64_t lb_blocks_last(const struct lb_blocks *blocks)
{
    return blocks->ends ? blocks->end[(blocks->ends - 1) % LB_ENDS] : lb_blocks_last_at(blocks->hash[blocks->count - 1]);
}

void lb_blocks_of_key(struct lb_blocks *blocks, const uint8_t key[16], uint64_t salt, uint64_t hash)
{
    uint64_t secret[2];
    memcpy(secret, key, sizeof secret);
    blocks->hash[0] = mix(hash ^ secret[0], salt ^ secret[1]);
    blocks->count = 1;
    blocks->ends = blocks->cut = blocks->words = 0;
}
