#include "plain_http.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/io.h"
#include "preread_end.h"

/* A close with unread bytes would be a reset, which might take our words with it (RFC 9112 9.6). */
void lb_plain_http_throw_away(struct lb_prereads *prereads, struct lb_preread *preread)
{
    enum { MOST_READS = 64 };
    ssize_t got = 1;
    for (int i = 0; i < MOST_READS && got > 0; i++)
        got = lb_recv(preread->accepted.fd, prereads->ctx->scratch, LB_SCRATCH_BYTES);
    if (got >= 0 || errno != EAGAIN)
        lb_preread_refuse(prereads, preread, LB_ENDED_HANDSHAKE);
}

/* As nginx does: who types http:// for https:// reads what is wrong. */
void lb_plain_http_tell(struct lb_prereads *prereads, struct lb_preread *preread, const char *bytes, uint32_t count)
{
    enum { LINGER_MS = 2000 };
    static const char head[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 75\r\n"
                               "Connection: close\r\n\r\n";
    static const char body[] = "400 Bad Request: this is an HTTPS port, and the request came as plain HTTP\n";
    _Static_assert(sizeof body - 1 == 75, "Content-Length");
    int head_only = count >= 5 && memcmp(bytes, "HEAD ", 5) == 0, fd = preread->accepted.fd;
    struct iovec parts[2] = {{(void *)(uintptr_t)head, sizeof head - 1},
                             {(void *)(uintptr_t)body, head_only ? 0 : sizeof body - 1}};
    lb_refusal_note(prereads->ctx, &preread->accepted, lb_first_words_refused(LB_WORDS_HTTP));
    (void)lb_send_parts(fd, parts, 2); /* a fresh socket has room for it */
    (void)shutdown(fd, SHUT_WR);
    preread->stage = LB_PREREAD_TOLD;
    lb_timer_set(&prereads->wheel, &preread->timer, lb_now_ms(prereads->ctx) + LINGER_MS);
    lb_plain_http_throw_away(prereads, preread);
}
