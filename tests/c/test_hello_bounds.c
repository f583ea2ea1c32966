/* Hellos as large, and in as many records, as there is room for; and any byte at any place. */
#include <string.h>

#include "check.h"
#include "hellos.h"
#include "l4/hello.h"

/* A good hello of so many bytes, by one long extension. */
static void make_large_message(struct bytes *message, uint32_t length)
{
    static struct bytes extensions;
    struct bytes empty;
    const struct parts none = {.extensions = P("")};
    make_message(&empty, &none);
    uint32_t padding = length - (empty.count - 4) - 4;
    extensions.count = 0;
    put_number(&extensions, 21, 2);
    put_number(&extensions, padding, 2);
    memset(extensions.at + extensions.count, 0, padding);
    extensions.count += padding;
    const struct parts parts = {.extensions = {(const char *)extensions.at, extensions.count}};
    make_message(message, &parts);
    CHECK(message->count == length + 4);
}

static void the_largest(void)
{
    static struct bytes message;
    struct lb_hello hello;
    make_large_message(&message, LB_HELLO_MOST);
    flight.count = 0;
    put_records(&flight, &message, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    for (uint32_t cut = 0; cut < flight.count; cut++)
        CHECK(lb_hello_read(&hello, flight.at, cut) == LB_HELLO_MORE);
    make_large_message(&message, LB_HELLO_MOST + 1);
    flight.count = 0;
    put_records(&flight, &message, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_BAD);
}

/* As many records as there is room for, to the byte; then one byte more. */
static void the_most_fragments(void)
{
    static struct bytes message;
    struct lb_hello hello;
    for (uint32_t over = 0; over <= 1; over++) {
        uint32_t records = 2000, length = LB_HELLO_ROOM - 5 * records - 4 + over;
        make_large_message(&message, length);
        struct bytes rest = {.count = 0}, first = {.count = 0};
        put(&first, message.at, records - 1);
        put(&rest, message.at + records - 1, message.count - (records - 1));
        flight.count = 0;
        put_records(&flight, &first, 1);
        put_records(&flight, &rest, 16384);
        CHECK(flight.count == LB_HELLO_ROOM + over);
        for (uint32_t cut = 0; cut < LB_HELLO_ROOM; cut += 7)
            CHECK(lb_hello_read(&hello, flight.at, cut) == LB_HELLO_MORE);
        CHECK(lb_hello_read(&hello, flight.at, LB_HELLO_ROOM - 1) == LB_HELLO_MORE);
        CHECK(read_edged(&hello, flight.at, LB_HELLO_ROOM) == (over ? LB_HELLO_BAD : LB_HELLO_DONE));
        CHECK(read_edged(&hello, flight.at, flight.count) == (over ? LB_HELLO_BAD : LB_HELLO_DONE));
    }
}

/* Whatever byte stands wherever, in one record and in many: never a read too far, and no going back on what was said. */
static void every_byte_everywhere(void)
{
    static const uint8_t dirt[] = {0, 1, 2, 3, 4, 5, 16, 22, 43, 64, 127, 128, 255, '.', 'A'};
    static struct bytes copy;
    struct lb_hello hello;
    for (uint32_t size = 7; size < 1000; size += 300)
        for (uint32_t i = 0, count = 1; i < count; i++)
            for (size_t d = 0; d < sizeof dirt; d++) {
                make(&copy, &good, size);
                count = copy.count;
                copy.at[i] = dirt[d];
                int before = LB_HELLO_MORE;
                for (uint32_t cut = 0; cut <= count; cut++) {
                    int fate = lb_hello_read(&hello, copy.at, cut);
                    CHECK(before == LB_HELLO_MORE || fate == before);
                    before = fate;
                }
                CHECK(read_edged(&hello, copy.at, count) == before);
            }
}

int main(void)
{
    RUN(the_largest);
    RUN(the_most_fragments);
    RUN(every_byte_everywhere);
    return 0;
}
