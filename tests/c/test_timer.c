#include "core/timer.h"

#include "check.h"

enum { TIMERS = 3000 };

static struct lb_wheel wheel;
static uint64_t now_ms;
static uint64_t deadline_ms[TIMERS];
static struct lb_timer timers[TIMERS];
static int fired[TIMERS];

static void note(void *context, struct lb_timer *timer)
{
    long at = timer - timers;
    (void)context;
    fired[at]++;
    CHECK(now_ms >= deadline_ms[at]);
    CHECK(now_ms < deadline_ms[at] + 2 * LB_TIMER_TICK_MS + 40);
}

static void start(uint64_t at_ms)
{
    now_ms = at_ms;
    lb_wheel_open(&wheel, now_ms);
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = (struct lb_timer){0};
        fired[i] = 0;
    }
}

/* As the loop does: sleep as long as the wheel says, then turn it. */
static void run_until(uint64_t end_ms)
{
    while (now_ms < end_ms) {
        int wait = lb_wheel_wait(&wheel, now_ms);
        uint64_t next = wait < 0 ? end_ms : now_ms + (uint64_t)wait + 1;
        now_ms = next < end_ms ? next : end_ms;
        lb_wheel_turn(&wheel, now_ms, note, NULL);
    }
}

static void fires_once_at_its_deadline(void)
{
    start(123456789);
    srand(1);
    for (int i = 0; i < TIMERS; i++) {
        deadline_ms[i] = now_ms + (uint64_t)(rand() % 60000);
        lb_timer_set(&wheel, &timers[i], deadline_ms[i]);
    }
    run_until(now_ms + 70000);
    for (int i = 0; i < TIMERS; i++)
        CHECK(fired[i] == 1);
    CHECK(lb_wheel_wait(&wheel, now_ms) == -1);
}

static void waits_over_many_rounds(void)
{
    start(0);
    deadline_ms[0] = 3600 * 1000;
    lb_timer_set(&wheel, &timers[0], deadline_ms[0]);
    run_until(3600 * 1000 - 100);
    CHECK(!fired[0]);
    run_until(3600 * 1000 + 100);
    CHECK(fired[0] == 1);
}

static void cancelled_and_moved(void)
{
    start(5000);
    for (int i = 0; i < 3; i++) {
        deadline_ms[i] = now_ms + 100;
        lb_timer_set(&wheel, &timers[i], deadline_ms[i]);
    }
    lb_timer_cancel(&timers[0]);
    lb_timer_cancel(&timers[0]);
    deadline_ms[1] = now_ms + 50000;
    lb_timer_set(&wheel, &timers[1], deadline_ms[1]);
    run_until(now_ms + 1000);
    CHECK(!fired[0] && !fired[1] && fired[2] == 1);
    run_until(now_ms + 60000);
    CHECK(!fired[0] && fired[1] == 1);
}

/* One that fires before is left alone: its owner looks again then. */
static void set_within(void)
{
    start(5000);
    deadline_ms[0] = now_ms + 100;
    lb_timer_set_within(&wheel, &timers[0], now_ms + 100);
    lb_timer_set_within(&wheel, &timers[0], now_ms + 50000);
    deadline_ms[1] = now_ms + 200;
    lb_timer_set_within(&wheel, &timers[1], now_ms + 50000);
    lb_timer_set_within(&wheel, &timers[1], now_ms + 200);
    run_until(now_ms + 1000);
    CHECK(fired[0] == 1 && fired[1] == 1);
}

static void set_again(void *context, struct lb_timer *timer)
{
    if (fired[timer - timers]++ < 100)
        lb_timer_set(context, timer, now_ms);
}

static void set_again_while_firing(void)
{
    start(1000);
    lb_timer_set(&wheel, &timers[0], now_ms);
    for (int i = 0; i < 300; i++) {
        now_ms += LB_TIMER_TICK_MS;
        lb_wheel_turn(&wheel, now_ms, set_again, &wheel);
    }
    CHECK(fired[0] == 101);
}

static void cancel_neighbours(void *context, struct lb_timer *timer)
{
    (void)context;
    fired[timer - timers]++;
    for (int i = 0; i < 4; i++)
        lb_timer_cancel(&timers[i]);
}

static void neighbours_cancelled_while_firing(void)
{
    start(1000);
    for (int i = 0; i < 4; i++)
        lb_timer_set(&wheel, &timers[i], now_ms + 20);
    now_ms += 100;
    lb_wheel_turn(&wheel, now_ms, cancel_neighbours, NULL);
    CHECK(fired[0] + fired[1] + fired[2] + fired[3] == 1);
}

static void a_long_sleep_fires_everything(void)
{
    start(1000);
    for (int i = 0; i < TIMERS; i++) {
        deadline_ms[i] = now_ms + (uint64_t)i;
        lb_timer_set(&wheel, &timers[i], deadline_ms[i]);
    }
    now_ms += 10000000;
    for (int i = 0; i < TIMERS; i++)
        deadline_ms[i] = now_ms; /* late, but at once */
    lb_wheel_turn(&wheel, now_ms, note, NULL);
    for (int i = 0; i < TIMERS; i++)
        CHECK(fired[i] == 1);
}

int main(void)
{
    RUN(fires_once_at_its_deadline);
    RUN(waits_over_many_rounds);
    RUN(cancelled_and_moved);
    RUN(set_within);
    RUN(set_again_while_firing);
    RUN(neighbours_cancelled_while_firing);
    RUN(a_long_sleep_fires_everything);
    return 0;
}
