#include "upload.h"

#include <poll.h>
#include <string.h>

#include "../core/io.h"
#include "body.h"
#include "bad_request.h"
#include "belongs.h"
#include "input.h"

/* The body of a request that waits for a backend. While none has a byte of the request, what comes of the body is read as far as the head
 * buffer has room. So the end of a client that leaves in the middle is seen, over TLS, too, and nothing of its request is sent. */

enum { MOST_PEEKED = 1 << 30 };

/* So many bytes of a chunked body lie at `bytes`: framed anew, they go where the request ends. */
static enum lb_reading take_chunks(struct lb_l7 *l7, struct lb_http *client, char *bytes, uint32_t count)
{
    struct lb_body *body = &client->request;
    struct lb_chunk_piece piece;
    char *to = lb_http_in(l7, client) + client->in_next;
    uint64_t most = lb_http_listener(l7, client)->max_body;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, count, &piece);
    if (chunking == LB_CHUNKS_BAD)
        return LB_READ_BAD;
    body->whole = chunking == LB_CHUNKS_DONE;
    body->left += piece.used;
    client->bytes_in += piece.used;
    memmove(to, piece.out, piece.out_count);
    memmove(to + piece.out_count, bytes + piece.used, count - piece.used);
    client->in_next += piece.out_count;
    client->in_end = client->in_next + count - piece.used;
    return most && body->left + lb_chunked_data(&body->chunked) > most ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

static void take_plain(struct lb_http *client, uint32_t count)
{
    uint32_t used = count < client->request.left ? count : (uint32_t)client->request.left;
    lb_body_took(&client->request, used);
    client->bytes_in += used;
    client->in_next += used;
    client->in_end += count;
}

static struct lb_verdict took(struct lb_l7 *l7, struct lb_http *client, char *bytes, uint32_t count)
{
    lb_add(&l7->ctx->row->bytes_in, count);
    client->expects = 0; /* it waits for no 100 */
    if (client->request.framing == LB_BODY_CHUNKED) {
        enum lb_reading reading = take_chunks(l7, client, bytes, count);
        if (reading != LB_READ_DONE)
            return lb_http_bad_request(l7, client, reading);
    } else {
        take_plain(client, count);
    }
    client->replayable = client->request.whole && lb_method_is_idempotent((enum lb_method)client->method);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* Its FIN is in the socket, and may follow its request there (half_close): is what lies before it less than the rest? Of what must be
 * decoded first this is not known. */
static int is_cut_short(const struct lb_http *client)
{
    uint64_t left = client->request.left < MOST_PEEKED ? client->request.left : MOST_PEEKED;
    if (!client->client.hung_up || client->client.tls || client->request.framing != LB_BODY_LENGTH)
        return 0;
    ssize_t there = recv(client->client.fd, NULL, left, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    return there >= 0 && (uint64_t)there < left;
}

struct lb_verdict lb_http_take_more(struct lb_l7 *l7, struct lb_http *client)
{
    uint32_t gap = client->request.framing == LB_BODY_CHUNKED ? LB_CHUNK_ROOM : 0, at = client->in_end + gap;
    if (client->request.whole)
        return lb_verdict(LB_NEXT_WAIT);
    uint32_t room = lb_heads_room(client->in);
    if (client->client.hung_up && (!lb_http_listener(l7, client)->half_close || is_cut_short(client)))
        return lb_verdict_end(LB_END_CLIENT_LEFT);
    if (!client->client.readable || at >= room)
        return lb_verdict(LB_NEXT_WAIT);
    char *bytes = lb_http_in(l7, client) + at;
    ssize_t got = lb_side_recv(&client->client, bytes, room - at);
    if (got < 0 && errno == EBUSY)
        return lb_verdict(LB_NEXT_LATER);
    if (got < 0 && errno == EAGAIN) {
        client->client.readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (got <= 0)
        return lb_verdict_end(LB_END_CLIENT_LEFT);
    lb_side_got(&client->client, (size_t)got, room - at);
    return took(l7, client, bytes, (uint32_t)got);
}

/* Its end may lie in the socket since the poller was asked, as on a busy machine: bits of poll are those of epoll. */
static void look_again(struct lb_side *side)
{
    struct pollfd asked = {.fd = side->fd, .events = POLLIN | POLLRDHUP};
    if (!side->hung_up && poll(&asked, 1, 0) > 0)
        lb_side_note(side, (uint32_t)asked.revents);
}

struct lb_verdict lb_http_is_there(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_verdict more;
    if (!client->request.whole)
        look_again(&client->client);
    do
        more = lb_http_take_more(l7, client);
    while (more.next == LB_NEXT_AGAIN);
    return more.next == LB_NEXT_LATER ? lb_verdict(LB_NEXT_WAIT) : more;
}
