#include "upload.h"

#include <poll.h>
#include <string.h>

#include "../../core/io.h"
#include "../body.h"
#include "../bad_request.h"
#include "../belongs.h"
#include "../input.h"

/* The body of a request that waits for a backend. While none has a byte of the request, what comes of the body is read as far as the head
 * buffer has room. So the end of a client that leaves in the middle is seen, over TLS, too, and nothing of its request is sent. */

enum { MOST_PEEKED = 1 << 30 };

/* So many bytes of a chunked body lie at `bytes`: framed anew, they go where the request ends. */
static enum lb_reading take_chunks(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    struct lb_body *body = &exchange->request;
    struct lb_chunk_piece piece;
    char *to = lb_input_at(l7, &exchange->in) + exchange->in.next;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, count, &piece);
    if (chunking == LB_CHUNKS_BAD)
        return LB_READ_BAD;
    body->whole = chunking == LB_CHUNKS_DONE;
    body->left += piece.used;
    exchange->bytes_in += piece.used;
    memmove(to, piece.out, piece.out_count);
    memmove(to + piece.out_count, bytes + piece.used, count - piece.used);
    exchange->in.next += piece.out_count;
    exchange->in.end = exchange->in.next + count - piece.used;
    return lb_body_is_too_large(l7, exchange) ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

static void take_plain(struct lb_exchange *exchange, uint32_t count)
{
    uint32_t used = count < exchange->request.left ? count : (uint32_t)exchange->request.left;
    lb_body_took(&exchange->request, used);
    exchange->bytes_in += used;
    exchange->in.next += used;
    exchange->in.end += count;
}

static struct lb_verdict took(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    lb_add(&l7->ctx->row->bytes_in, count);
    exchange->expects = 0; /* it waits for no 100 */
    if (exchange->request.framing == LB_BODY_CHUNKED) {
        enum lb_reading reading = take_chunks(l7, exchange, bytes, count);
        if (reading != LB_READ_DONE)
            return lb_http_bad_request(l7, exchange, reading);
    } else {
        take_plain(exchange, count);
    }
    exchange->replayable = exchange->request.whole && lb_method_is_idempotent((enum lb_method)exchange->method);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* Its FIN is in the socket, and may follow its request there (half_close): is what lies before it less than the rest? Of what must be
 * decoded first this is not known. */
static int is_cut_short(const struct lb_exchange *exchange)
{
    uint64_t left = exchange->request.left < MOST_PEEKED ? exchange->request.left : MOST_PEEKED;
    if (!exchange->stream[LB_CLIENT].side->hung_up || exchange->stream[LB_CLIENT].side->tls ||
        exchange->request.framing != LB_BODY_LENGTH)
        return 0;
    ssize_t there = lb_waiting(exchange->stream[LB_CLIENT].side->fd, left);
    return there >= 0 && (uint64_t)there < left;
}

/* Its end may lie in the socket since the poller was asked, as on a busy machine: bits of poll are those of epoll. */
static void look_again(struct lb_side *side)
{
    struct pollfd asked = {.fd = side->fd, .events = POLLIN | POLLRDHUP};
    if (!side->hung_up && poll(&asked, 1, 0) > 0)
        lb_side_note(side, (uint32_t)asked.revents);
}

struct lb_verdict lb_h1_more(struct lb_l7 *l7, struct lb_exchange *exchange, int surely)
{
    uint32_t gap = exchange->request.framing == LB_BODY_CHUNKED ? LB_CHUNK_ROOM : 0, at = exchange->in.end + gap;
    struct lb_side *side = exchange->stream[LB_CLIENT].side;
    if (surely)
        look_again(side);
    uint32_t room = lb_heads_room(exchange->in.buffer);
    if (side->hung_up && (!lb_http_listener(l7, exchange)->half_close || is_cut_short(exchange)))
        return lb_verdict_end(LB_ENDED_CLIENT);
    if (!side->readable || at >= room)
        return lb_verdict(LB_NEXT_WAIT);
    char *bytes = lb_input_at(l7, &exchange->in) + at;
    ssize_t got = lb_side_recv(side, bytes, room - at);
    if (got < 0 && errno == EBUSY)
        return lb_verdict(LB_NEXT_LATER);
    if (got < 0 && errno == EAGAIN) {
        side->readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (got <= 0)
        return lb_verdict_end(LB_ENDED_CLIENT);
    lb_side_got(side, (size_t)got, room - at);
    return took(l7, exchange, bytes, (uint32_t)got);
}
