#include "backend_tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/shortage.h"
#include "../tls/handshake.h"
#include "../tls/stream.h"

/* The host of "host:port", "[v6]:port" and "[v6%zone]:port", as a certificate would have it: without a last dot. A unix socket is
 * "localhost", as in nginx. */
static void host_of(const struct lb_backend_row *row, char host[LB_ADDRESS])
{
    const char *text = (const char *)row->address;
    size_t length = strnlen(text, LB_ADDRESS - 1);
    if (row->family == AF_UNIX) {
        memcpy(host, "localhost", sizeof "localhost");
        return;
    }
    while (length && text[length] != ':')
        length--;
    if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length > 1 && text[length - 1] == '.')
        length--;
    memcpy(host, text, length);
    host[length] = 0;
    host[strcspn(host, "%")] = 0;
}

static int begin(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, struct lb_side *side, const char *alpn)
{
    const struct lb_backend_row *row = &ctx->shm.backends[backend];
    struct lb_tls_context *context = lb_tls_pool(&ctx->tls, pool);
    char host[LB_ADDRESS];
    if (!context)
        return ENOKEY; /* its rules have not come, or there was no memory for them; and in the clear is no response */
    host_of(row, host);
    side->tls = lb_tls_connect(&ctx->tls.shared, context, side->fd, host, backend, row->generation);
    if (side->tls && alpn && lb_tls_offer(side->tls, alpn) < 0)
        return ENOBUFS;
    return side->tls ? 0 : ENOBUFS;
}

static int failed(struct lb_worker_context *ctx, int error)
{
    if (lb_is_shortage(error))
        return error;
    lb_add(&ctx->row->backend_handshakes_failed, 1);
    return error;
}

int lb_backend_tls(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, struct lb_side *side, const char *alpn)
{
    if (!side->tls && !ctx->shm.pools[pool].tls)
        return 0;
    int error = side->tls ? 0 : begin(ctx, pool, backend, side, alpn);
    if (error)
        return failed(ctx, error);
    switch (lb_tls_shake(side->tls)) {
    case LB_TLS_WAIT:
        return EAGAIN;
    case LB_TLS_FAILED:
        return failed(ctx, lb_tls_failure(side->tls));
    case LB_TLS_DONE:
        break;
    }
    side->readable = 1; /* its first words may have come with the handshake's last */
    lb_add(&ctx->row->backend_handshakes, 1);
    if (lb_tls_resumed(side->tls))
        lb_add(&ctx->row->backend_handshakes_resumed, 1);
    return 0;
}
