/* W3C Trace Context: the field traceparent, read and written (https://www.w3.org/TR/trace-context/). */
#ifndef LB_TRACE_H
#define LB_TRACE_H

#include <stddef.h>
#include <stdint.h>

enum { LB_TRACE_BYTES = 55, LB_TRACE_SAMPLED = 1 };

struct lb_trace {
    uint64_t id[2]; /* never 0 in both */
    uint64_t span;  /* never 0 */
    uint8_t flags;
};

/* Read a value: is it valid? Of a later version than ours, what is known of it. */
int lb_trace_read(struct lb_trace *trace, const char *value, size_t length);

/* Write one of LB_TRACE_BYTES; where it ends. */
char *lb_trace_write(char *to, const struct lb_trace *trace);

#endif
