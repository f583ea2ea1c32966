/* libFuzzer's target for texts as chains of blocks. In one piece, in two and byte by byte a text has the same blocks and ends. */
#include <stdlib.h>
#include <string.h>

#include "table/blocks.h"

enum { MOST = 1 << 16 };

static const uint8_t key[16] = "a secret of fuzz";

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* In pieces of so many bytes, behind a first one; each at the end of memory of its own. */
static void read_in(struct lb_blocks *blocks, const uint8_t *bytes, size_t count, size_t first, size_t size)
{
    struct lb_blocks_reader reader;
    memset(blocks, 0, sizeof *blocks);
    lb_blocks_begin(&reader, blocks, key, 1);
    for (size_t at = 0, here = first; at < count; at += here, here = size) {
        here = here < count - at ? here : count - at;
        char *piece = malloc(here + 1);
        demand(piece != NULL);
        memcpy(piece + 1, bytes + at, here);
        lb_blocks_read_json(&reader, piece + 1, here);
        free(piece);
    }
    demand(blocks->count <= LB_BLOCKS && lb_blocks_bytes(blocks->count) <= count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct lb_blocks whole, parts;
    if (!count || count > MOST)
        return 0;
    size_t first = bytes[0] + 1u;
    read_in(&whole, bytes, count, count, count);
    read_in(&parts, bytes, count, first, count);
    demand(!memcmp(&whole, &parts, sizeof whole));
    read_in(&parts, bytes, count, 1, 1);
    demand(!memcmp(&whole, &parts, sizeof whole));
    return 0;
}
