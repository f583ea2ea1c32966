#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "l7/trace.h"

#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static int reads(const char *value)
{
    /* in memory of its own: a read too far is seen */
    struct lb_trace trace;
    size_t length = strlen(value);
    char *copy = malloc(length ? length : 1);
    CHECK(copy);
    memcpy(copy, value, length);
    int valid = lb_trace_read(&trace, copy, length);
    free(copy);
    return valid;
}

int main(void)
{
    struct lb_trace trace;
    char text[LB_TRACE_BYTES + 1] = "";
    CHECK(lb_trace_read(&trace, GOOD, LB_TRACE_BYTES));
    CHECK(trace.id[0] == UINT64_C(0x0af7651916cd43dd) && trace.id[1] == UINT64_C(0x8448eb211c80319c));
    CHECK(trace.span == UINT64_C(0xb7ad6b7169203331) && trace.flags == 1);
    CHECK(lb_trace_write(text, &trace) == text + LB_TRACE_BYTES && strcmp(text, GOOD) == 0);
    CHECK(reads("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
    CHECK(reads("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    CHECK(reads("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later"));
    CHECK(!reads("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what"));
    CHECK(!reads("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    CHECK(!reads(GOOD "-more"));
    CHECK(!reads("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"));
    CHECK(!reads("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
    CHECK(!reads("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
    CHECK(!reads("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    CHECK(!reads("0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    char part[] = GOOD;
    for (size_t length = 0; length < LB_TRACE_BYTES; length++) {
        part[length] = 0;
        CHECK(!reads(part));
        part[length] = GOOD[length];
    }
    return 0;
}
