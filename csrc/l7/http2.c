#include "http2.h"

#include <string.h>

#include "belongs.h"
#include "deadline.h"
#include "drive.h"
#include "h2/client_read.h"
#include "h2/client_request.h"
#include "h2/client_send.h"
#include "h2/end.h"
#include "h2/idle.h"
#include "min_rate.h"

enum {
    STEPS = 32,       /* of one stream in a turn */
    READS = 3,        /* of one client in a turn, up to LB_H2_READ_MOST each */
    ROUNDS = 16,      /* of all that there is to do, in a turn */
    MOST_LIMITED = 8, /* requests in a row that come too fast: request.c */
};

/* --- streams ------------------------------------------------------------------------------------------------------------- */

static enum lb_next obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    while (lb_verdict_decides(said))
        said = lb_drive(l7, exchange, said);
    return (enum lb_next)said.next;
}

static void starve(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    lb_http_excuse(stream->exchange);
    lb_add(&l7->ctx->row->buffer_waits, 1);
    if (stream->queued)
        return;
    stream->queued = 1;
    stream->next = l7->h2.starved;
    l7->h2.starved = lb_slab_index(&l7->h2.streams, stream);
}

/* It may have stopped only because its share was used up. */
static int wants_another_turn(const struct lb_h2_stream *stream)
{
    return !stream->share && lb_h2_link_takes(&stream->client->link) && stream->window.left > 0 &&
           stream->client->link.window.left > 0;
}

static struct lb_verdict step(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    return stream->begun ? lb_drive_step(l7, stream->exchange) : lb_h2_client_begin(l7, stream);
}

static void run(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    struct lb_exchange *exchange = stream->exchange;
    enum lb_next next = LB_NEXT_AGAIN;
    stream->share = LB_H2_SHARE;
    for (int i = 0; next == LB_NEXT_AGAIN && i < STEPS; i++)
        next = obey(l7, exchange, step(l7, stream));
    if (next == LB_NEXT_OVER)
        return;
    if (next == LB_NEXT_STARVED) {
        starve(l7, stream);
        return;
    }
    if (next == LB_NEXT_WAIT)
        lb_http_rearm(l7, exchange);
    if (next != LB_NEXT_WAIT || wants_another_turn(stream))
        lb_h2_stream_ready(l7, stream);
}

void lb_h2_run(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    run(l7, lb_h2_stream_of(exchange));
}

void lb_h2_obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    if (obey(l7, exchange, said) == LB_NEXT_AGAIN)
        run(l7, stream);
}

static void run_list(struct lb_l7 *l7, uint32_t *list)
{
    uint32_t index = *list;
    *list = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_h2_stream *stream = lb_slab_at(&l7->h2.streams, index);
        index = stream->next;
        stream->queued = 0;
        if (stream->free) /* ended while it was listed */
            lb_slab_give(&l7->h2.streams, lb_slab_index(&l7->h2.streams, stream));
        else
            run(l7, stream);
    }
}

/* --- a connection -------------------------------------------------------------------------------------------------------- */

static void feed(struct lb_l7 *l7, struct lb_h2_client *client, const char *bytes, uint32_t count)
{
    lb_add(&l7->ctx->row->bytes_in, count);
    enum lb_h2_error error = lb_h2_client_read(l7, client, (const uint8_t *)bytes, count);
    if (error != LB_H2_NO_ERROR)
        lb_h2_client_fault(l7, client, error);
}

/* Its FIN, or a failure. A client that sends no more has left, unless the listener says otherwise. */
static void hung_up(struct lb_l7 *l7, struct lb_h2_client *client, int failed)
{
    int stays = !failed && client->streams && lb_http_client_listener(l7, &client->client)->half_close;
    if (!stays)
        lb_h2_client_end(l7, client, client->streams || failed ? LB_ENDED_CLIENT : LB_ENDED_DONE);
    else
        client->going = LB_H2_GOES;
}

/* What has come, or as much of it as one turn may take. */
static void read_some(struct lb_l7 *l7, struct lb_h2_client *client)
{
    struct lb_side *side = &client->client.side;
    for (int i = 0; i < READS && side->readable && client->state == LB_H2_OPEN && lb_h2_link_reads(&client->link); i++) {
        uint32_t most = lb_h2_link_reads(&client->link);
        ssize_t got = lb_side_recv(side, l7->ctx->scratch, most);
        if (got > 0) {
            lb_side_got(side, (size_t)got, most);
            feed(l7, client, l7->ctx->scratch, (uint32_t)got);
            continue;
        }
        if (got < 0 && errno == EBUSY)
            return;
        side->readable = 0;
        if (got == 0 || errno != EAGAIN)
            hung_up(l7, client, got < 0);
        return;
    }
}

static void throw_away(struct lb_l7 *l7, struct lb_h2_client *client)
{
    struct lb_side *side = &client->client.side;
    while (side->readable) {
        ssize_t got = lb_side_recv(side, l7->ctx->scratch, LB_SCRATCH_BYTES);
        if (got > 0) {
            client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
            continue;
        }
        if (got < 0 && errno == EBUSY)
            return;
        side->readable = 0;
        if (got == 0 || errno != EAGAIN) {
            lb_h2_client_end(l7, client, LB_ENDED_DONE);
            return;
        }
    }
}

/* All is out that was to be said: FIN follows. */
static void part(struct lb_l7 *l7, struct lb_h2_client *client)
{
    struct lb_side *side = &client->client.side;
    if (side->tls && lb_side_finish(side) < 0) {
        side->writable = 0;
        return;
    }
    if (!side->tls)
        (void)lb_side_finish(side);
    if (lb_http_client_listener(l7, &client->client)->lingering_time_ms)
        lb_h2_client_linger(l7, client);
    else
        lb_h2_client_end(l7, client, LB_ENDED_DONE);
}

static void send_held(struct lb_l7 *l7, struct lb_h2_client *client)
{
    int flushed = client->link.failed ? -1 : lb_h2_link_flush(l7->ctx, &client->link, &client->client.side);
    if (flushed < 0) {
        lb_h2_client_end(l7, client, client->link.failed ? LB_ENDED_NO_BUFFER : LB_ENDED_CLIENT);
        return;
    }
    if (client->full && client->client.side.writable && lb_h2_link_takes(&client->link)) {
        client->full = 0;
        lb_h2_streams_ready(l7, client);
    }
    if (flushed && client->state == LB_H2_PARTING)
        part(l7, client);
}

/* It is to go when nothing is under way on it. Clients of pip's h2 (httpx2 2.16.2, grpclib 0.4.9) take nothing behind a first GOAWAY, not
 * even a PING: theirs has the true last stream, and comes without a warning; they ask again for what they had sent meanwhile. */
static void begin_to_go(struct lb_l7 *l7, struct lb_h2_client *client)
{
    int brittle = client->link.peer.said == LB_H2_SAID_DEFAULTS;
    if (brittle && !client->streams)
        lb_h2_client_say_last(l7, client);
    if (!brittle && (!client->streams || client->urged))
        lb_h2_client_warn(l7, client);
}

static void see_whether_it_goes(struct lb_l7 *l7, struct lb_h2_client *client)
{
    if (client->state != LB_H2_OPEN)
        return;
    if (client->going == LB_H2_STAYS && lb_http_client_must_close(l7, &client->client))
        begin_to_go(l7, client);
    if (client->going == LB_H2_STAYS && client->client.limited >= MOST_LIMITED)
        lb_h2_client_say_last(l7, client);
    if (client->going == LB_H2_GOES && !client->streams)
        lb_h2_client_part(l7, client);
}

static void look(struct lb_l7 *l7, struct lb_h2_client *client)
{
    uint32_t open = client->client.generation;
    if (client->state == LB_H2_LINGERING) {
        throw_away(l7, client);
        return;
    }
    if (client->state == LB_H2_PARTING)
        throw_away(l7, client);
    int reads = client->client.side.readable && client->state == LB_H2_OPEN && lb_h2_link_reads(&client->link);
    if (reads)
        read_some(l7, client);
    if (client->client.generation != open || client->state == LB_H2_FREE)
        return;
    see_whether_it_goes(l7, client);
    if (reads && client->state == LB_H2_OPEN)
        lb_h2_client_touch(l7, client); /* its streams have their turn before what they say goes out, in one piece */
    else
        send_held(l7, client);
    if (client->client.generation == open && client->state != LB_H2_FREE)
        lb_h2_rearm(l7, client);
}

static void look_at_touched(struct lb_l7 *l7)
{
    uint32_t index = l7->h2.touched;
    l7->h2.touched = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, index);
        index = client->client.next;
        client->client.queued = 0;
        if (client->state == LB_H2_FREE) /* ended while it was listed */
            lb_slab_give(&l7->h2.clients, lb_h2_client_index(l7, client));
        else
            look(l7, client);
    }
}

/* --- a turn -------------------------------------------------------------------------------------------------------------- */

static void fire(void *context, struct lb_timer *timer)
{
    struct lb_l7 *l7 = context;
    struct lb_h2_client *client = (struct lb_h2_client *)(void *)timer;
    if (lb_h2_left_ms(l7, client)) {
        lb_h2_rearm(l7, client);
        return;
    }
    if (client->state != LB_H2_OPEN) {
        lb_h2_client_end(l7, client, LB_ENDED_IDLE);
        return;
    }
    if (client->going == LB_H2_WARNED || (client->link.settled && !client->link.block.stream && !client->streams)) {
        lb_h2_client_say_last(l7, client);
    } else if (client->link.block.stream || !client->link.settled) {
        lb_h2_client_fault(l7, client, LB_H2_NO_ERROR); /* a header block that does not come whole */
    }
    lb_h2_client_touch(l7, client);
}

/* The time to drain runs out: those that had streams all the while go now. */
static void urge(struct lb_l7 *l7)
{
    l7->h2.urge_ms = 0;
    for (uint32_t i = 0; i < l7->h2.clients.touched; i++) {
        struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, i);
        client->urged = 1;
        if (client->state == LB_H2_OPEN)
            lb_h2_client_touch(l7, client);
    }
}

static int is_busy(const struct lb_l7 *l7)
{
    return l7->h2.touched != LB_SLAB_NONE || l7->h2.ready != LB_SLAB_NONE ||
           (l7->h2.starved != LB_SLAB_NONE && lb_buffer_pool_ready(&l7->ctx->buffers));
}

int lb_h2_wait(const struct lb_l7 *l7)
{
    uint64_t now_ms = lb_now_ms(l7->ctx);
    int wait = is_busy(l7) ? 0 : lb_wheel_wait(&l7->h2.wheel, now_ms);
    if (!l7->h2.urge_ms)
        return wait;
    int urge = l7->h2.urge_ms > now_ms ? (int)(l7->h2.urge_ms - now_ms) : 0;
    return wait < 0 || urge < wait ? urge : wait;
}

void lb_h2_turn(struct lb_l7 *l7)
{
    uint64_t now_ms = lb_now_ms(l7->ctx);
    if (l7->h2.urge_ms && now_ms >= l7->h2.urge_ms)
        urge(l7);
    lb_wheel_turn(&l7->h2.wheel, now_ms, fire, l7);
    if (l7->h2.starved != LB_SLAB_NONE && lb_buffer_pool_ready(&l7->ctx->buffers))
        run_list(l7, &l7->h2.starved);
    for (int i = 0; i < ROUNDS && (l7->h2.touched != LB_SLAB_NONE || l7->h2.ready != LB_SLAB_NONE); i++) {
        look_at_touched(l7);
        run_list(l7, &l7->h2.ready);
    }
}

/* --- life ---------------------------------------------------------------------------------------------------------------- */

/* What clients may do: the first that is said, before anything is read (grpcio 1.85.1 waits for it). */
static void introduce(struct lb_l7 *l7, struct lb_h2_client *client)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &client->client);
    const struct lb_h2_setting_pair pairs[] = {
        {LB_H2_MAX_CONCURRENT_STREAMS, listener->max_streams},
        {LB_H2_INITIAL_WINDOW_SIZE, LB_H2_STREAM_WINDOW},
        {LB_H2_MAX_HEADER_LIST_SIZE, listener->max_header_bytes},
        {LB_H2_ENABLE_CONNECT_PROTOCOL, 1},
        {LB_H2_NO_RFC7540_PRIORITIES, 1},
    };
    lb_h2_link_settings(l7->ctx, &client->link, pairs, sizeof pairs / sizeof *pairs);
}

void lb_h2_open(struct lb_l7 *l7, const struct lb_http_client *who, const char *first, uint32_t count)
{
    uint32_t index = lb_slab_take(&l7->h2.clients);
    struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, index);
    uint32_t generation = client->client.generation;
    memset(client, 0, sizeof *client);
    client->client = *who;
    client->client.timer = (struct lb_timer){0};
    client->client.generation = generation;
    client->client.queued = 0;
    client->client.speaks = LB_SPEAKS_HTTP2;
    client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    client->state = LB_H2_OPEN;
    lb_h2_link_open(&client->link, &l7->hpack, lb_now_ms(l7->ctx), 1);
    lb_add(&l7->ctx->row->http2_connections, 1);
    introduce(l7, client);
    lb_h2_rearm(l7, client);
    lb_h2_client_touch(l7, client);
    int error =
        lb_loop_attach(&l7->ctx->loop, client->client.side.fd, lb_tag_of(LB_TAG_HTTP2, index, generation), LB_ATTACH_WATCHED);
    if (error)
        lb_h2_client_end(l7, client, LB_ENDED_NO_BUFFER);
    else if (count)
        feed(l7, client, first, count);
}

void lb_h2_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, index);
    if (client->client.generation != generation || client->state == LB_H2_FREE)
        return;
    lb_side_note(&client->client.side, events);
    if (events & EPOLLERR)
        lb_h2_client_end(l7, client, client->streams ? LB_ENDED_CLIENT : LB_ENDED_DONE);
    else
        lb_h2_client_touch(l7, client);
}

void lb_h2_drain(struct lb_l7 *l7, uint64_t limit_ms)
{
    l7->h2.urge_ms = lb_now_ms(l7->ctx) + limit_ms * 3 / 4 + 1;
    for (uint32_t i = 0; i < l7->h2.clients.touched; i++) {
        struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, i);
        if (client->state != LB_H2_FREE)
            lb_h2_client_touch(l7, client);
    }
}

void lb_h2_stop(struct lb_l7 *l7)
{
    for (uint32_t i = 0; i < l7->h2.clients.touched; i++) {
        struct lb_h2_client *client = lb_slab_at(&l7->h2.clients, i);
        if (client->state == LB_H2_FREE)
            continue;
        if (client->state == LB_H2_OPEN) {
            lb_h2_link_goaway(l7->ctx, &client->link, client->link.last_in, LB_H2_NO_ERROR);
            (void)!lb_h2_link_flush(l7->ctx, &client->link, &client->client.side);
        }
        lb_h2_client_end(l7, client, LB_ENDED_STOPPED);
    }
}
