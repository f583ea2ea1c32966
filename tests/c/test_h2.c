/* What HTTP/2 connections keep count of: tables, windows, settings, budgets. */
#include <string.h>

#include "check.h"
#include "h2/budget.h"
#include "h2/hpack_table.h"
#include "h2/hpack_write.h"
#include "h2/settings.h"
#include "h2/window.h"

static struct lb_hpack_memory memory;

/* --- tables --------------------------------------------------------------------------------------------------------- */

static void insert(struct lb_hpack_table *table, uint32_t number, uint32_t value_length)
{
    char name[16], value[4096];
    int length = snprintf(name, sizeof name, "n%u", number);
    memset(value, 'a' + (int)(number % 26), sizeof value);
    CHECK(lb_hpack_table_insert(table, name, (uint32_t)length, value, value_length, 0) == 0);
}

static void check_entry(const struct lb_hpack_table *table, uint32_t index, uint32_t number)
{
    char name[16];
    int length = snprintf(name, sizeof name, "n%u", number);
    const struct lb_hpack_entry *entry = lb_hpack_table_at(table, index);
    const char *text = lb_hpack_table_text(table, entry);
    CHECK(entry->name_length == length && memcmp(text, name, (size_t)length) == 0);
    for (uint32_t i = 0; i < entry->value_length; i++)
        CHECK(text[length + (int)i] == 'a' + (int)(number % 26));
}

/* Entries of all sizes for a long time: the newest are there, in order, and the sum is right. */
static void test_a_table_forgets_the_oldest(void)
{
    struct lb_hpack_table table;
    lb_hpack_table_open(&table, &memory);
    for (uint32_t number = 0; number < 3000; number++) {
        insert(&table, number, number * 7 % 97 + (number % 53 == 0 ? 1900 : 0));
        uint32_t used = 0;
        for (uint32_t i = 0; i < table.count; i++) {
            check_entry(&table, i, number - i);
            const struct lb_hpack_entry *entry = lb_hpack_table_at(&table, i);
            used += (uint32_t)entry->name_length + entry->value_length + LB_HPACK_ENTRY_COST;
        }
        CHECK(table.count > 0 && used == table.used && used <= LB_HPACK_TABLE_BYTES);
    }
    lb_hpack_table_close(&table);
}

static void test_a_small_table_takes_a_small_block(void)
{
    struct lb_hpack_table table;
    lb_hpack_table_open(&table, &memory);
    CHECK(memory.blocks[0].used == 0);
    insert(&table, 1, 100);
    CHECK(memory.blocks[0].used == 1 && lb_hpack_block_bytes(table.block) == LB_HPACK_SMALLEST);
    insert(&table, 2, 1000);
    CHECK(memory.blocks[0].used == 0 && memory.blocks[3].used == 1);
    lb_hpack_table_close(&table);
    CHECK(memory.blocks[3].used == 0);
}

/* Without memory a reader must end its connection; a writer goes on with literals. */
static void test_without_memory(void)
{
    struct lb_hpack_memory little;
    struct lb_hpack_table first, second;
    CHECK(lb_hpack_memory_open(&little, 1) == 0);
    lb_hpack_table_open(&first, &little);
    lb_hpack_table_open(&second, &little);
    insert(&first, 1, 10);
    CHECK(lb_hpack_table_insert(&second, "a", 1, "b", 1, 0) != 0 && second.count == 0);
    struct lb_hpack_writer writer;
    uint8_t out[64];
    lb_hpack_writer_open(&writer, &little);
    const uint8_t *end = lb_hpack_write(&writer, out, "a", 1, "b", 1, LB_HPACK_REMEMBER);
    CHECK(end - out == 5 && memcmp(out, "\0\1a\1b", 5) == 0);
    lb_hpack_writer_close(&writer);
    lb_hpack_table_close(&second);
    lb_hpack_table_close(&first);
    lb_hpack_memory_close(&little);
}

/* --- windows -------------------------------------------------------------------------------------------------------- */

static void test_windows_shrink_below_zero_and_recover(void)
{
    struct lb_h2_window stream = {65535}, connection = {1 << 20};
    stream.left -= 60000;
    CHECK(lb_h2_window_shift(&stream, 65535, 100) == 0 && stream.left == 100 - 60000);
    CHECK(lb_h2_window_grant(&stream, &connection, 10) == 0);
    CHECK(lb_h2_window_shift(&stream, 100, 4 << 20) == 0);
    CHECK(lb_h2_window_grant(&stream, &connection, 1 << 24) == LB_H2_FRAME_BYTES);
    connection.left = 7;
    CHECK(lb_h2_window_grant(&stream, &connection, 1 << 24) == 7 && lb_h2_window_grant(&stream, &connection, 3) == 3);
}

static void test_windows_do_not_overflow(void)
{
    struct lb_h2_window window = {LB_H2_WINDOW_MOST - 1};
    CHECK(lb_h2_window_add(&window, 1) == 0 && lb_h2_window_add(&window, 1) == -1);
    CHECK(lb_h2_window_shift(&window, 0, 1) == -1 && window.left == LB_H2_WINDOW_MOST);
}

static void test_credit_comes_back_in_large_pieces(void)
{
    struct lb_h2_credit credit;
    lb_h2_credit_open(&credit, 1000);
    CHECK(lb_h2_credit_spend(&credit, 1001) == -1 && lb_h2_credit_spend(&credit, 1000) == 0 &&
          lb_h2_credit_spend(&credit, 1) == -1);
    CHECK(lb_h2_credit_return(&credit, 499) == 0 && lb_h2_credit_return(&credit, 2) == 501 && credit.left == 501);
    CHECK(lb_h2_credit_return(&credit, 0) == 0);
}

/* --- settings ------------------------------------------------------------------------------------------------------- */

static void test_settings_out_of_bounds(void)
{
    struct lb_h2_settings settings;
    lb_h2_settings_open(&settings);
    CHECK(lb_h2_settings_take(&settings, LB_H2_ENABLE_PUSH, 2, 0) == LB_H2_PROTOCOL_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_ENABLE_PUSH, 1, 0) == LB_H2_NO_ERROR); /* grpclib 0.4.9 */
    CHECK(lb_h2_settings_take(&settings, LB_H2_ENABLE_PUSH, 1, 1) == LB_H2_PROTOCOL_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_INITIAL_WINDOW_SIZE, UINT32_C(1) << 31, 0) == LB_H2_FLOW_CONTROL_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_MAX_FRAME_SIZE, 16383, 0) == LB_H2_PROTOCOL_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_MAX_FRAME_SIZE, 1 << 24, 0) == LB_H2_PROTOCOL_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_ENABLE_CONNECT_PROTOCOL, 1, 1) == LB_H2_NO_ERROR);
    CHECK(lb_h2_settings_take(&settings, LB_H2_ENABLE_CONNECT_PROTOCOL, 0, 1) == LB_H2_PROTOCOL_ERROR);
    CHECK(lb_h2_settings_take(&settings, 0xfe03, 1, 1) == LB_H2_NO_ERROR); /* grpcio 1.85.1 */
    CHECK(settings.window == LB_H2_DEFAULT_WINDOW && settings.frame == LB_H2_FRAME_BYTES && settings.connect);
}

/* --- budgets -------------------------------------------------------------------------------------------------------- */

static uint32_t spent_at_once(struct lb_h2_budget *budget, uint64_t now_ms)
{
    uint32_t count = 0;
    while (lb_h2_budget_spend(budget, now_ms) == 0)
        count++;
    return count;
}

static void test_a_budget_recovers_with_time_and_with_data(void)
{
    struct lb_h2_budget budget;
    lb_h2_budget_open(&budget, 5);
    CHECK(spent_at_once(&budget, 5) == LB_H2_BURST);
    CHECK(spent_at_once(&budget, 1005) == LB_H2_PER_SECOND);
    for (int i = 0; i < 1024; i++)
        lb_h2_budget_earn(&budget, 10);
    CHECK(spent_at_once(&budget, 1005) == 10);
    CHECK(spent_at_once(&budget, 1000 * 1000) == LB_H2_BURST);
}

int main(void)
{
    CHECK(lb_hpack_memory_open(&memory, 8) == 0);
    RUN(test_a_table_forgets_the_oldest);
    RUN(test_a_small_table_takes_a_small_block);
    RUN(test_without_memory);
    RUN(test_windows_shrink_below_zero_and_recover);
    RUN(test_windows_do_not_overflow);
    RUN(test_credit_comes_back_in_large_pieces);
    RUN(test_settings_out_of_bounds);
    RUN(test_a_budget_recovers_with_time_and_with_data);
    lb_hpack_memory_close(&memory);
    return 0;
}
