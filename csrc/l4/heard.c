#include "heard.h"

#include <errno.h>
#include <string.h>

static void note(struct lb_heard *heard, const struct lb_proxy_told *told, const char *bytes)
{
    heard->tls = told->tls;
    if (told->authority_length <= UINT8_MAX)
        heard->authority_length = (uint8_t)told->authority_length;
    if (told->alpn_length <= UINT8_MAX && heard->authority_length + told->alpn_length <= LB_HEARD_TEXT)
        heard->alpn_length = (uint8_t)told->alpn_length;
    memcpy(heard->text, bytes + told->authority_at, heard->authority_length);
    memcpy(heard->text + heard->authority_length, bytes + told->alpn_at, heard->alpn_length);
}

int lb_heard_keep(struct lb_slab *slab, struct lb_ends *ends, const struct lb_proxy_told *told, const char *bytes)
{
    uint32_t index = lb_slab_take(slab);
    if (index == LB_SLAB_NONE)
        return -ENOBUFS;
    struct lb_heard *heard = lb_slab_at(slab, index);
    ends->heard = index + 1;
    heard->ends = *ends;
    heard->tls = heard->authority_length = heard->alpn_length = 0;
    if (told)
        note(heard, told, bytes);
    return 0;
}

int lb_heard_keep_told(struct lb_slab *slab, struct lb_ends *ends)
{
    int told = ends->here.any.sa_family != AF_UNSPEC;
    return told && !ends->heard ? lb_heard_keep(slab, ends, NULL, NULL) : 0;
}

void lb_heard_drop(struct lb_slab *slab, uint32_t place)
{
    if (place)
        lb_slab_give(slab, place - 1);
}
