#include "proxy_send.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/io.h"
#include "../core/shortage.h"
#include "../tls/handshake.h"
#include "hello.h"
#include "proxy_protocol.h"

enum { HEADER_ROOM = 1024, NAME_ROOM = 256 };

typedef int (*name_fn)(int fd, struct sockaddr *name, socklen_t *length);

/* An end as it was told, or as the socket knows it. */
static void know(struct sockaddr_storage *end, const union lb_address *told, name_fn ask, int fd)
{
    socklen_t length = sizeof *end;
    memset(end, 0, sizeof *end);
    if (told->any.sa_family != AF_UNSPEC)
        memcpy(end, told, sizeof *told);
    else
        (void)ask(fd, (struct sockaddr *)end, &length);
}

static void log_proxy_info(struct lb_proxy_extra *extra, const struct lb_proxy_info *proxy_info)
{
    extra->authority = proxy_info->text;
    extra->authority_length = proxy_info->authority_length;
    extra->alpn = proxy_info->text + proxy_info->authority_length;
    extra->alpn_length = proxy_info->alpn_length;
    extra->tls = proxy_info->tls;
    extra->verify = 1; /* of a certificate nothing was kept: none is vouched for */
}

/* The client's own words count before what was said of it. */
static void log_hello(struct lb_proxy_extra *extra, const struct lb_hello *hello)
{
    if (hello->name_length) {
        extra->authority = hello->name;
        extra->authority_length = hello->name_length;
    }
    if (hello->protocol_count)
        extra->alpn_length = 0;
    if (hello->protocol_count == 1) { /* of several the backend chooses: none is agreed on yet */
        extra->alpn = hello->alpn + 1;
        extra->alpn_length = hello->alpn_length - 1;
    }
}

/* What was agreed on where TLS ends here. A certificate is vouched for by its name, or not at all; common_name: room for it. */
static void log_tls(struct lb_proxy_extra *extra, const struct lb_tls *tls, char common_name[NAME_ROOM])
{
    const char *name = lb_tls_name(tls);
    if (name) {
        extra->authority = name;
        extra->authority_length = (uint32_t)strlen(name);
    }
    extra->alpn_length = lb_tls_alpn(tls, &extra->alpn);
    extra->tls = 1;
    extra->tls_version = lb_tls_version(tls);
    int length = lb_tls_common_name(tls, common_name, NAME_ROOM);
    extra->verify = !length || strlen(common_name) != (size_t)length; /* it may hold NULs */
    extra->common_name = extra->verify ? NULL : common_name;
}

/* What the client's hello, which still waits in its socket, says beside the addresses. */
static int read_hello(struct lb_worker_context *ctx, const struct lb_proxy_header *who, struct lb_hello *hello)
{
    if (ctx->shm.listeners[who->listener].mode != LB_MODE_TLS)
        return 0;
    ssize_t got = lb_peek(who->client->fd, ctx->scratch, LB_SCRATCH_BYTES);
    return got > 0 && lb_hello_read(hello, (const uint8_t *)ctx->scratch, (uint32_t)got) == LB_HELLO_DONE;
}

static uint32_t write_v2(struct lb_worker_context *ctx, const struct lb_proxy_header *who, uint8_t *out,
                         const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
    char common_name[NAME_ROOM];
    struct lb_hello hello;
    struct lb_proxy_extra extra = {0};
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&ctx->proxy_info, who->ends->proxy_info);
    if (proxy_info)
        log_proxy_info(&extra, proxy_info);
    if (who->client->tls)
        log_tls(&extra, who->client->tls, common_name);
    else if (read_hello(ctx, who, &hello))
        log_hello(&extra, &hello);
    return lb_proxy_write_v2(out, HEADER_ROOM, from, to, &extra);
}

int lb_proxy_send(struct lb_worker_context *ctx, const struct lb_proxy_header *who)
{
    struct sockaddr_storage from, to;
    char header[HEADER_ROOM];
    know(&from, &who->ends->client, getpeername, who->client->fd);
    know(&to, &who->ends->here, getsockname, who->client->fd);
    uint32_t count =
        who->version == 1 ? lb_proxy_write_v1(header, &from, &to) : write_v2(ctx, who, (uint8_t *)header, &from, &to);
    ssize_t sent = count ? lb_send(who->server, header, count) : 0;
    if (sent < 0 && errno != EAGAIN && lb_is_shortage(errno))
        return -errno;
    /* a fresh connection has room for so little; one that has not is of no use */
    return sent && sent == (ssize_t)count ? 0 : -ECONNRESET;
}
