#include "l7/gather.h"

#include "check.h"

enum { MS = 1000 };

/* The pause behind a while of so many responses a millisecond, each after took_us. */
static uint32_t paused(uint32_t per_ms, uint32_t took_us)
{
    struct lb_gather gather = {.began_us = 1};
    for (uint32_t ms = 1; ms <= 10; ms++) {
        for (uint32_t i = 0; i < per_ms; i++)
            lb_gather_note(&gather, took_us);
        (void)lb_gather_us(&gather, 1 + (uint64_t)ms * MS);
    }
    return lb_gather_us(&gather, 1 + 10 * MS);
}

static void many_responses_that_take_long_are_gathered(void)
{
    CHECK(paused(80, 2000) == 100);
    CHECK(paused(100, 800) == 50);
}

static void few_are_not_waited_for(void)
{
    CHECK(paused(0, 0) == 0);
    CHECK(paused(1, 2000) == 0);
    CHECK(paused(10, 100 * MS) == 0);
}

static void who_calls_one_after_another_does_not_wait(void)
{
    CHECK(paused(20, 50) == 0);
    CHECK(paused(100, 100) == 0);
}

static void no_pause_adds_more_than_a_sixteenth_to_what_a_response_takes(void)
{
    for (uint32_t per_ms = 1; per_ms < 500; per_ms += 7)
        for (uint32_t took_us = 10; took_us < 50 * MS; took_us += took_us / 3)
            CHECK(paused(per_ms, took_us) * 16 <= took_us);
}

static void the_pause_ends_with_the_load(void)
{
    struct lb_gather gather = {0};
    for (int i = 0; i < 1000; i++)
        lb_gather_note(&gather, 2000);
    CHECK(lb_gather_us(&gather, 10 * MS) == 100);
    CHECK(lb_gather_us(&gather, 11 * MS) == 100);
    CHECK(lb_gather_us(&gather, 13 * MS) == 0);
}

int main(void)
{
    RUN(many_responses_that_take_long_are_gathered);
    RUN(few_are_not_waited_for);
    RUN(who_calls_one_after_another_does_not_wait);
    RUN(no_pause_adds_more_than_a_sixteenth_to_what_a_response_takes);
    RUN(the_pause_ends_with_the_load);
    return 0;
}
