#include "window.h"

static int set(struct lb_h2_window *window, int64_t left)
{
    if (left > LB_H2_WINDOW_MOST)
        return -1;
    window->left = (int32_t)left;
    return 0;
}

int lb_h2_window_add(struct lb_h2_window *window, uint32_t bytes)
{
    return set(window, (int64_t)window->left + bytes);
}

/* Cannot fall under INT32_MIN: a window is never more than one initial size below zero. */
int lb_h2_window_shift(struct lb_h2_window *window, uint32_t before, uint32_t now)
{
    return set(window, (int64_t)window->left + now - before);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

uint32_t lb_h2_window_grant(const struct lb_h2_window *stream, const struct lb_h2_window *connection, uint32_t wanted)
{
    int64_t granted = smaller(smaller(stream->left, connection->left), smaller(wanted, LB_H2_FRAME_BYTES));
    return granted > 0 ? (uint32_t)granted : 0;
}

void lb_h2_credit_open(struct lb_h2_credit *credit, uint32_t whole)
{
    *credit = (struct lb_h2_credit){.left = (int32_t)whole, .whole = whole};
}

int lb_h2_credit_spend(struct lb_h2_credit *credit, uint32_t bytes)
{
    if (credit->left < 0 || bytes > (uint32_t)credit->left)
        return -1;
    credit->left -= (int32_t)bytes;
    return 0;
}

uint32_t lb_h2_credit_return(struct lb_h2_credit *credit, uint32_t bytes)
{
    credit->owed += bytes;
    if (credit->owed < credit->whole / 2 || credit->owed == 0)
        return 0;
    uint32_t increment = credit->owed;
    credit->left += (int32_t)increment;
    credit->owed = 0;
    return increment;
}
