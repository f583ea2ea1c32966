#include "introduce.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/io.h"
#include "hello.h"
#include "proxy_protocol.h"

enum { HEADER_ROOM = 1024 };

static void know_here(struct lb_session *session)
{
    socklen_t length = sizeof session->ends.here;
    if (session->ends.here.any.sa_family == AF_UNSPEC)
        (void)getsockname(session->side[LB_CLIENT].fd, &session->ends.here.any, &length);
}

static void store(struct sockaddr_storage *to, const union lb_address *from)
{
    memset(to, 0, sizeof *to);
    memcpy(to, from, sizeof *from);
}

/* What the client's hello, which still waits in its socket, says beside the addresses. */
static int read_hello(struct lb_plane *plane, const struct lb_session *session, struct lb_hello *hello)
{
    if (plane->shm.listeners[session->listener].mode != LB_MODE_TLS)
        return 0;
    ssize_t got = recv(session->side[LB_CLIENT].fd, plane->scratch, LB_SCRATCH_BYTES, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 && lb_hello_read(hello, (const uint8_t *)plane->scratch, (uint32_t)got) == LB_HELLO_DONE;
}

static uint32_t write_v2(struct lb_plane *plane, const struct lb_session *session, uint8_t *out,
                         const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
    struct lb_hello hello;
    struct lb_proxy_extra extra = {0};
    if (read_hello(plane, session, &hello)) {
        extra.authority = hello.name;
        extra.authority_length = hello.name_length;
        if (hello.protocol_count == 1) { /* of several the backend chooses: none is agreed on yet */
            extra.alpn = hello.alpn + 1;
            extra.alpn_length = hello.alpn_length - 1;
        }
    }
    return lb_proxy_write_v2(out, HEADER_ROOM, from, to, &extra);
}

int lb_introduce(struct lb_plane *plane, struct lb_session *session)
{
    struct sockaddr_storage from, to;
    char header[HEADER_ROOM];
    know_here(session);
    store(&from, &session->ends.client);
    store(&to, &session->ends.here);
    uint32_t count = plane->shm.pools[session->pool].send_proxy == 1
                         ? lb_proxy_write_v1(header, &from, &to)
                         : write_v2(plane, session, (uint8_t *)header, &from, &to);
    /* a fresh connection has room for so little; one that has not is of no use */
    return count && lb_send(session->side[LB_BACKEND].fd, header, count) == (ssize_t)count ? 0 : -EPIPE;
}
