#include "huffman.h"

#include <endian.h>
#include <string.h>

#include "huffman_tables.h"

enum { LONGEST = 30 }; /* bits of a code (RFC 7541, Appendix B) */

/* Bits that were read and not used yet, the next one on top. */
struct bits {
    uint64_t word;
    uint32_t count;
    const uint8_t *at;
    const uint8_t *end;
};

/* As many as there is room for; more than any code has, or all that are left. */
static void refill(struct bits *bits)
{
    if (bits->end - bits->at >= 8) {
        uint64_t word;
        memcpy(&word, bits->at, sizeof word);
        uint32_t bytes = (63 - bits->count) / 8;
        bits->word |= be64toh(word) >> bits->count;
        bits->at += bytes;
        bits->count += bytes * 8;
        bits->word &= ~(UINT64_MAX >> bits->count); /* of the byte behind them, nothing stays */
        return;
    }
    while (bits->count <= 56 && bits->at < bits->end) {
        bits->word |= (uint64_t)*bits->at++ << (56 - bits->count);
        bits->count += 8;
    }
}

/* The next symbol's length in bits and the symbol; 0 when no code begins so (the end of the string, or its padding). */
static uint32_t symbol_at(const struct bits *bits, uint8_t *symbol)
{
    const struct lb_huffman_short *entry = &lb_huffman_short[bits->word >> 56];
    if (entry->length) {
        *symbol = entry->symbol;
        return entry->length;
    }
    uint32_t code = (uint32_t)(bits->word >> 32);
    for (const struct lb_huffman_class *class = lb_huffman_classes; class < lb_huffman_classes + LB_HUFFMAN_CLASSES; class ++)
        if (code <= class->last) {
            *symbol = lb_huffman_order[class->order + ((code - class->first) >> (32 - class->length))];
            return class->length;
        }
    return 0;
}

/* Are the bits that are left the padding that RFC 7541 5.2 asks for: fewer than eight, all ones? */
static int is_padding(const struct bits *bits)
{
    return bits->count == 0 || (bits->count < 8 && bits->word >> (64 - bits->count) == (UINT64_C(1) << bits->count) - 1);
}

int64_t lb_huffman_decode(char *out, uint32_t room, const uint8_t *bytes, uint32_t count)
{
    struct bits bits = {.at = bytes, .end = bytes + count};
    uint32_t written = 0;
    for (;;) {
        uint8_t symbol = 0;
        if (bits.count < LONGEST)
            refill(&bits);
        uint32_t length = symbol_at(&bits, &symbol);
        if (length == 0 || length > bits.count)
            return is_padding(&bits) ? (int64_t)written : LB_HUFFMAN_BAD;
        if (written == room)
            return LB_HUFFMAN_LONG;
        out[written++] = (char)symbol;
        bits.word <<= length;
        bits.count -= length;
    }
}

uint32_t lb_huffman_size(const char *text, uint32_t length)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < length; i++)
        bits += lb_huffman_lengths[(uint8_t)text[i]];
    return (uint32_t)((bits + 7) / 8);
}

uint8_t *lb_huffman_encode(uint8_t *out, const char *text, uint32_t length)
{
    uint64_t word = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < length; i++) {
        uint8_t symbol = (uint8_t)text[i];
        word = word << lb_huffman_lengths[symbol] | lb_huffman_codes[symbol];
        count += lb_huffman_lengths[symbol];
        for (; count >= 8; count -= 8)
            *out++ = (uint8_t)(word >> (count - 8));
    }
    if (count)
        *out++ = (uint8_t)(word << (8 - count) | 0xff >> count);
    return out;
}
