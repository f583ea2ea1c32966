#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "edge.h"
#include "table/blocks.h"

static const uint8_t key[16] = "a secret of test";

static void fill(char *text, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++)
        text[i] = (char)('a' + (seed = seed * 1103515245 + 12345) / 65536 % 26);
}

static int same(const struct lb_blocks *one, const struct lb_blocks *other)
{
    return one->count == other->count && one->ends == other->ends &&
           !memcmp(one->hash, other->hash, one->count * sizeof *one->hash) && !memcmp(one->end, other->end, sizeof one->end);
}

static void blocks_are_the_same_wherever_a_text_is_cut(void)
{
    static char text[6000];
    fill(text, sizeof text, 1);
    struct lb_blocks whole = {0}, parts = {0};
    struct lb_blocks_reader reader;
    lb_blocks_begin(&reader, &whole, key, 7);
    lb_blocks_read(&reader, text, sizeof text);
    lb_blocks_end(&reader);
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        lb_blocks_begin(&reader, &parts, key, 7);
        lb_blocks_read(&reader, text, cut);
        lb_blocks_read(&reader, text + cut, sizeof text - cut);
        lb_blocks_end(&reader);
        CHECK(same(&whole, &parts));
    }
    lb_blocks_begin(&reader, &parts, key, 7);
    for (size_t i = 0; i < sizeof text; i++)
        lb_blocks_read(&reader, text + i, 1);
    lb_blocks_end(&reader);
    CHECK(same(&whole, &parts));
    lb_blocks_begin(&reader, &parts, key, 8);
    lb_blocks_read(&reader, text, sizeof text);
    CHECK(parts.hash[0] != whole.hash[0]); /* another salt */
}

static void equal_beginnings_have_equal_blocks_and_no_more(void)
{
    static char one[40000], other[40000];
    fill(one, sizeof one, 2);
    for (size_t differs = 0; differs < sizeof one; differs += 997) {
        struct lb_blocks_reader reader;
        struct lb_blocks first = {0}, second = {0};
        memcpy(other, one, sizeof one);
        other[differs] ^= 1;
        lb_blocks_begin(&reader, &first, key, 0);
        lb_blocks_read(&reader, one, sizeof one);
        lb_blocks_begin(&reader, &second, key, 0);
        lb_blocks_read(&reader, other, sizeof other);
        CHECK(first.count == second.count);
        uint32_t equal = 0;
        while (equal < first.count && first.hash[equal] == second.hash[equal])
            equal++;
        CHECK(lb_blocks_bytes(equal) <= differs && (equal == first.count || lb_blocks_bytes(equal + 1) > differs));
        for (uint32_t i = equal; i < first.count; i++)
            CHECK(first.hash[i] != second.hash[i]);
    }
}

static void a_text_without_end_has_a_bounded_number_of_blocks(void)
{
    size_t count = 1 << 20;
    char *text = malloc(count);
    CHECK(text);
    fill(text, count, 3);
    struct lb_blocks blocks = {0};
    struct lb_blocks_reader reader;
    lb_blocks_begin(&reader, &blocks, key, 0);
    lb_blocks_read(&reader, text, count);
    CHECK(blocks.count == LB_BLOCKS && lb_blocks_bytes(LB_BLOCKS) == 239616);
    free(text);
}

static uint32_t parts_of(const char *json)
{
    struct edge edge;
    const char *copy = (const char *)copied_to_the_edge(&edge, json, strlen(json));
    struct lb_blocks blocks = {0};
    struct lb_blocks_reader reader;
    lb_blocks_begin(&reader, &blocks, key, 0);
    lb_blocks_read_json(&reader, copy, strlen(json));
    leave_the_edge(&edge);
    return blocks.words ? 0 : blocks.ends;
}

static void parts_are_the_elements_of_an_array(void)
{
    CHECK(parts_of("[{}]") == 1);
    CHECK(parts_of("[ \n{\"a\": [1, 2, {\"b\": 3}]}, \"x,y]\", [[]], null]") == 4);
    CHECK(parts_of("[{}, \"a\\\"],[\", \"\\\\\", \"\\\\\\\"]\"]") == 4);
    CHECK(parts_of("[{\"a\":1},\"a long string without any quote in more than sixteen bytes, [and] brackets\",2]") == 3);
    CHECK(parts_of("\"[1,2]\"") == 0);
    CHECK(parts_of("{\"a\": [1, 2]}") == 0);
    CHECK(parts_of("[{\"cut off in a stri") == 0); /* texts may be cut: nothing is read behind them */
    CHECK(parts_of("[{\"cut off\\") == 0);
    CHECK(parts_of("[{},[2,") == 1);
    CHECK(parts_of("[1, 2, 3]") == 0 && parts_of("[\"a\", {}]") == 0 && parts_of("[]") == 0 && parts_of("[ ") == 0); /* tokens */
}

static void parts_are_the_same_wherever_a_value_is_cut(void)
{
    static const char json[] =
        "[{\"role\": \"user\", \"content\": \"a \\\"quote\\\", a [bracket], a \\\\\"}, \"and [more], of it\", [[1, 2], \"x\"]]";
    struct lb_blocks whole = {0}, parts = {0};
    struct lb_blocks_reader reader;
    lb_blocks_begin(&reader, &whole, key, 0);
    lb_blocks_read_json(&reader, json, sizeof json - 1);
    CHECK(whole.ends == 3);
    for (size_t cut = 0; cut < sizeof json; cut++) {
        memset(&parts, 0, sizeof parts);
        lb_blocks_begin(&reader, &parts, key, 0);
        lb_blocks_read_json(&reader, json, cut);
        lb_blocks_read_json(&reader, json + cut, sizeof json - 1 - cut);
        CHECK(same(&whole, &parts));
    }
    memset(&parts, 0, sizeof parts);
    lb_blocks_begin(&reader, &parts, key, 0);
    for (size_t at = 0; at < sizeof json - 1; at++)
        lb_blocks_read_json(&reader, json + at, 1);
    CHECK(same(&whole, &parts));
}

int main(void)
{
    RUN(blocks_are_the_same_wherever_a_text_is_cut);
    RUN(equal_beginnings_have_equal_blocks_and_no_more);
    RUN(a_text_without_end_has_a_bounded_number_of_blocks);
    RUN(parts_are_the_elements_of_an_array);
    RUN(parts_are_the_same_wherever_a_value_is_cut);
    return 0;
}
