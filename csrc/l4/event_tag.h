/* What epoll hands back with an event: the kind of object it is for, the object's place, and the generation of the place's tenant. */
#ifndef LB_EVENT_TAG_H
#define LB_EVENT_TAG_H

#include <stdint.h>

#include "side.h"

/* generation << 32 | index << 5 | kind. A place is an index into a slab that has a place for each session at most (lb.h:
 * LB_MOST_SESSIONS), or a listener's row, or 0. Generations of places are 32 bits wide, all of which are compared. */
enum { LB_TAG_KIND_BITS = 5, LB_TAG_INDEX_BITS = 27, LB_TAG_KINDS = 1 << LB_TAG_KIND_BITS };

_Static_assert(LB_TAG_KIND_BITS + LB_TAG_INDEX_BITS == 32, "kind and index share the half that the generation leaves");

enum lb_tag {
    LB_TAG_CLIENT = LB_CLIENT, /* of a session */
    LB_TAG_BACKEND = LB_BACKEND,
    LB_TAG_LISTENER = 2,
    LB_TAG_CHANNEL = 3,
    LB_TAG_HTTP = 4,         /* a client that speaks HTTP */
    LB_TAG_CONNECTION = 5,   /* a connection to a backend that exchanges take turns on */
    LB_TAG_UDP = 6,          /* a udp session's backend */
    LB_TAG_PREREAD = 7,      /* a connection whose first words are waited for */
    LB_TAG_ADOPTION = 8,     /* the socket where a control plane takes up this worker */
    LB_TAG_OFFLOAD = 9,      /* what the kernel's program says */
    LB_TAG_PREDECESSOR = 10, /* the worker before sends its udp sessions */
    LB_TAG_SUCCESSOR = 11,   /* the worker after this one takes them */
    LB_TAG_HTTP2 = 12,       /* a client that speaks HTTP/2 */
    LB_TAG_H2_SERVER = 13,   /* a connection to a backend that speaks HTTP/2 */
    LB_TAG_LAST = LB_TAG_H2_SERVER,
};

_Static_assert((int)LB_TAG_LAST < (int)LB_TAG_KINDS, "every kind fits into its bits");

static inline uint64_t lb_tag_of(enum lb_tag kind, uint32_t index, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint64_t)index << LB_TAG_KIND_BITS | (uint64_t)kind;
}

static inline enum lb_tag lb_tag_kind(uint64_t tag)
{
    return (enum lb_tag)(tag & (LB_TAG_KINDS - 1));
}

static inline uint32_t lb_tag_index(uint64_t tag)
{
    return (uint32_t)tag >> LB_TAG_KIND_BITS;
}

static inline uint32_t lb_tag_generation(uint64_t tag)
{
    return (uint32_t)(tag >> 32);
}

#endif
