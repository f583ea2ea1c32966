/* Memory that ends where an unmapped page begins: one byte too far is a fault. */
#ifndef EDGE_H
#define EDGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

struct edge {
    uint8_t *pages;
    size_t bytes;
};

/* Room for so many bytes. */
static inline uint8_t *at_the_edge(struct edge *edge, size_t count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    edge->bytes = (count / page + 2) * page;
    edge->pages = mmap(NULL, edge->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(edge->pages != MAP_FAILED);
    CHECK(mprotect(edge->pages + edge->bytes - page, page, PROT_NONE) == 0);
    return edge->pages + edge->bytes - page - count;
}

/* A copy of these bytes. */
static inline uint8_t *copied_to_the_edge(struct edge *edge, const void *bytes, size_t count)
{
    return memcpy(at_the_edge(edge, count), bytes, count);
}

static inline void leave_the_edge(struct edge *edge)
{
    munmap(edge->pages, edge->bytes);
}

#endif
