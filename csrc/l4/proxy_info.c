#include "proxy_info.h"

#include <errno.h>
#include <string.h>

static void note(struct lb_proxy_info *proxy_info, const struct lb_proxy_told *told, const char *bytes)
{
    proxy_info->tls = told->tls;
    if (told->authority_length <= UINT8_MAX)
        proxy_info->authority_length = (uint8_t)told->authority_length;
    if (told->alpn_length <= UINT8_MAX && proxy_info->authority_length + told->alpn_length <= LB_PROXY_INFO_TEXT)
        proxy_info->alpn_length = (uint8_t)told->alpn_length;
    memcpy(proxy_info->text, bytes + told->authority_at, proxy_info->authority_length);
    memcpy(proxy_info->text + proxy_info->authority_length, bytes + told->alpn_at, proxy_info->alpn_length);
}

int lb_proxy_info_keep(struct lb_slab *slab, struct lb_ends *ends, const struct lb_proxy_told *told, const char *bytes)
{
    uint32_t index = lb_slab_take(slab);
    if (index == LB_SLAB_NONE)
        return -ENOBUFS;
    struct lb_proxy_info *proxy_info = lb_slab_at(slab, index);
    ends->proxy_info = index + 1;
    proxy_info->ends = *ends;
    proxy_info->tls = proxy_info->authority_length = proxy_info->alpn_length = 0;
    if (told)
        note(proxy_info, told, bytes);
    return 0;
}

int lb_proxy_info_keep_told(struct lb_slab *slab, struct lb_ends *ends)
{
    int told = ends->here.any.sa_family != AF_UNSPEC;
    return told && !ends->proxy_info ? lb_proxy_info_keep(slab, ends, NULL, NULL) : 0;
}

void lb_proxy_info_drop(struct lb_slab *slab, uint32_t place)
{
    if (place)
        lb_slab_give(slab, place - 1);
}
