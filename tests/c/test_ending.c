#include <stddef.h>
#include <string.h>

#include "table/ending.h"

#include "check.h"

static uint64_t figure(const struct lb_worker_row *row, size_t offset)
{
    uint64_t value;
    memcpy(&value, (const char *)row + offset, sizeof value);
    return value;
}

static void every_ending_counts_once_as_closed_or_refused_and_why(void)
{
    for (int end = 0; end < LB_ENDINGS; end++) {
        struct lb_worker_row row = {0};
        const struct lb_ending *ending = &lb_endings[end];
        lb_ending_count(&row, (enum lb_end)end);
        CHECK(row.closed + row.refused == 1);
        CHECK(row.refused == (uint64_t)lb_ending_is_refusal((enum lb_end)end));
        CHECK(figure(&row, ending->counter) == 1);
        CHECK(ending->counter != ending->whole);
        for (size_t at = 0; at + sizeof(uint64_t) <= sizeof row; at += sizeof(uint64_t))
            CHECK(at == ending->counter || at == ending->whole || figure(&row, at) == 0);
    }
}

static void every_ending_of_an_exchange_counts_once(void)
{
    for (int end = 0; end < LB_ENDINGS; end++) {
        struct lb_worker_row row = {.requests_active = 1};
        lb_ending_count_request(&row, (enum lb_end)end);
        CHECK(row.requests_active == 0);
        CHECK(figure(&row, lb_endings[end].request) == 1);
        CHECK(row.requests_done + row.requests_refused + row.requests_client_aborts + row.requests_failed +
                  row.requests_stopped ==
              1);
    }
}

static void what_is_recorded_is_recorded_as_what_it_is(void)
{
    for (int end = 0; end < LB_ENDINGS; end++) {
        uint8_t record = lb_endings[end].record;
        CHECK(record == UINT8_MAX || lb_endings[record].record == record);
    }
}

int main(void)
{
    RUN(every_ending_counts_once_as_closed_or_refused_and_why);
    RUN(every_ending_of_an_exchange_counts_once);
    RUN(what_is_recorded_is_recorded_as_what_it_is);
    return 0;
}
