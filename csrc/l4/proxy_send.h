/* The PROXY header that a backend's connection begins with: whose connection it carries. */
#ifndef LB_PROXY_SEND_H
#define LB_PROXY_SEND_H

#include "worker_context.h"

/* Who is introduced to whom. */
struct lb_proxy_header {
    const struct lb_side *client;
    int server; /* a fresh connection */
    uint32_t listener;
    uint32_t version;           /* of the header */
    const struct lb_ends *ends; /* of family 0: the socket is asked */
};

/* Send the header: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_proxy_send(struct lb_worker_context *ctx, const struct lb_proxy_header *who);

#endif
