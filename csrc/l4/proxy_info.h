/* What a PROXY header said of a client, kept for as long as the client lasts. Few clients have one, so it is not part of theirs: it
 * has a place in the ctx's slab, which lb_ends names; places count from 1. */
#ifndef LB_PROXY_INFO_H
#define LB_PROXY_INFO_H

#include "../core/net.h"
#include "../core/slab.h"
#include "proxy_protocol.h"

enum { LB_PROXY_INFO_TEXT = 256 };

struct lb_proxy_info {
    struct lb_ends ends;
    uint8_t tls;              /* the client spoke TLS */
    uint8_t authority_length; /* 0: none */
    uint8_t alpn_length;
    uint8_t pad;
    char text[LB_PROXY_INFO_TEXT]; /* the authority, then the ALPN protocol */
};

/* Keep these ends, and what the header that begins at bytes said beside them (told NULL: nothing). Names that TLS could not have
 * carried, or that do not fit together, are forgotten. 0 with ends->proxy_info set, or -ENOBUFS. */
__attribute__((warn_unused_result)) int lb_proxy_info_keep(struct lb_slab *slab, struct lb_ends *ends,
                                                           const struct lb_proxy_told *told, const char *bytes);

/* Addresses that came by a header are known to nobody else: they have a place from now on, if they had none. 0 or -ENOBUFS. */
__attribute__((warn_unused_result)) int lb_proxy_info_keep_told(struct lb_slab *slab, struct lb_ends *ends);

/* The place is not needed any more. */
void lb_proxy_info_drop(struct lb_slab *slab, uint32_t place);

/* NULL: nothing was said. */
static inline const struct lb_proxy_info *lb_proxy_info_at(const struct lb_slab *slab, uint32_t place)
{
    return place ? lb_slab_at(slab, place - 1) : NULL;
}

#endif
