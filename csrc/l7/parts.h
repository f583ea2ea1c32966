/* What the files of an HTTP client say to each other: http.c its life, h1_client.c requests, attempt.c backends, bound.c those that cookies
 * name, transfer.c both directions of an exchange, h1_server.c responses, interim.c and upgrade.c those of 1xx, upload.c the body of a request
 * that waits for a backend, deadline.c how long we wait for whom, sendq.c bytes that somebody does not take yet, unsent.c bodies that
 * 417 kept back, min_rate.c how quickly a client sends or takes a body, request_log.c what is remembered of exchanges; l7.c is all clients. */
#ifndef LB_PARTS_H
#define LB_PARTS_H

#include "../l4/relay.h"
#include "http.h"

/* What is to be done next with a client. Consumed by the loop in http.c. */
enum lb_next {
    LB_NEXT_WAIT, /* for an event */
    LB_NEXT_AGAIN, /* it moved: look again */
    LB_NEXT_LATER, /* its share of the turn is used up */
    LB_NEXT_STARVED, /* a buffer is needed and none is free */
    LB_NEXT_OVER, /* it is gone */
};

/* Why a client's connection ended. */
enum lb_http_end {
    LB_END_DONE,
    LB_END_CLIENT_LEFT, /* in the middle */
    LB_END_BACKEND, /* the response broke off */
    LB_END_IDLE,
    LB_END_SLOW,
    LB_END_CUT,
    LB_END_STOPPED,
    LB_END_RESOURCE,
    LB_END_TUNNEL, /* it goes on as a session */
};

/* --- http.c --- */
void lb_http_move(struct lb_l7 *l7, struct lb_http *client, enum lb_http_state to);
enum lb_next lb_http_end(struct lb_l7 *l7, struct lb_http *client, enum lb_http_end why);
void lb_http_run(struct lb_l7 *l7, struct lb_http *client);
/* All is said: what it still sends is thrown away. */
void lb_http_linger(struct lb_l7 *l7, struct lb_http *client);

static inline struct lb_listener_row *lb_http_listener(const struct lb_l7 *l7, const struct lb_http *client)
{
    return &l7->ctx->shm.listeners[client->listener];
}

static inline struct lb_pool_row *lb_http_pool(const struct lb_l7 *l7, const struct lb_http *client)
{
    return &l7->ctx->shm.pools[client->pool];
}

static inline uint32_t lb_http_index(const struct lb_l7 *l7, const struct lb_http *client)
{
    return (uint32_t)((size_t)((const char *)client - l7->clients.memory) / sizeof *client);
}

/* Did the client speak TLS, with us or with the proxy whose PROXY header says so? */
static inline int lb_http_spoke_tls(const struct lb_l7 *l7, const struct lb_http *client)
{
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&l7->ctx->proxy_info, client->proxy_info);
    return client->client.tls || (proxy_info && proxy_info->tls);
}

/* The balancer or the listener drains. */
static inline int lb_http_must_close(const struct lb_l7 *l7, const struct lb_http *client)
{
    return l7->draining || lb_http_listener(l7, client)->state != LB_ROW_LIVE;
}

/* --- l7.c --- */
const char *lb_http_date(struct lb_l7 *l7);
uint64_t lb_http_random(struct lb_l7 *l7);

/* --- h1_client.c --- */
/* Has a request begun to come? An empty line before one is forgiven (RFC 9112 2.2), and by itself asks for nothing. */
int lb_http_has_begun(const struct lb_l7 *l7, const struct lb_http *client);
enum lb_next lb_http_take_request(struct lb_l7 *l7, struct lb_http *client);
/* The request under way, read again from the buffer into l7->message. */
void lb_http_reread(struct lb_l7 *l7, struct lb_http *client);
/* Its bytes are not needed any more. */
void lb_http_consume(struct lb_l7 *l7, struct lb_http *client);
char *lb_http_in(const struct lb_l7 *l7, const struct lb_http *client);
/* The balancer answers by itself; the exchange ends with it. */
enum lb_next lb_http_respond(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why);

/* A request that breaks the rules, or a limit. */
enum lb_next lb_http_refuse(struct lb_l7 *l7, struct lb_http *client, enum lb_reading reading);

/* --- health.c --- */
/* Does the request under way, in l7->message, ask whether the balancer is ready (health_path of the listener)? */
int lb_http_asks_health(const struct lb_l7 *l7, const struct lb_http *client, const char *bytes);
enum lb_next lb_http_respond_health(struct lb_l7 *l7, struct lb_http *client);

/* --- upload.c --- */
/* A request that waits for a backend: read more of its body, or see that its client has left. LB_NEXT_WAIT: no more can be read now. */
enum lb_next lb_http_take_more(struct lb_l7 *l7, struct lb_http *client);
/* A backend is at hand: is the client still there? LB_NEXT_WAIT: yes. */
enum lb_next lb_http_is_there(struct lb_l7 *l7, struct lb_http *client);

/* --- unsent.c --- */
/* The request waits for 100 before it sends its body: remember what it looks like. message: it is read from bytes. */
void lb_http_note_expectation(struct lb_http *client, const struct lb_message *message, const char *bytes);
/* 417 comes instead. May the request be repeated on its connection? */
int lb_http_may_repeat(const struct lb_http *client);
/* 417 was passed on. What came next? */
enum lb_unsent {
    LB_UNSENT_OPEN, /* too little to tell */
    LB_UNSENT_SETTLED, /* another request, or the whole body, which was thrown away */
    LB_UNSENT_BODY, /* more of a body than is worth waiting for */
};
enum lb_unsent lb_http_unsent(struct lb_l7 *l7, struct lb_http *client);

/* --- attempt.c --- */
enum lb_next lb_http_attempt(struct lb_l7 *l7, struct lb_http *client);
enum lb_next lb_http_connect_failed(struct lb_l7 *l7, struct lb_http *client, int error);
enum lb_next lb_http_connected(struct lb_l7 *l7, struct lb_http *client);
void lb_http_leave_backend(struct lb_l7 *l7, struct lb_http *client, enum lb_conn_end how);
/* A fresh connection ended before a byte of a response: send the request once more to another backend. status, why: what to answer when
 * there is none, or the budget is spent. */
enum lb_next lb_http_attempt_another(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why);
/* What came of the pick of this exchange's backend; the first word counts. */
void lb_http_decided(struct lb_l7 *l7, const struct lb_http *client, enum lb_fate fate);
void lb_http_leave_queue(struct lb_l7 *l7, struct lb_http *client);
void lb_http_serve_queues(struct lb_l7 *l7);
/* --- bound.c --- */
/* The backend that the client's cookie binds it to, charged with this exchange. LB_NONE: there is none, or it is full, and
 * client->waits_for names it. l7->message is the request. */
uint32_t lb_http_bound(struct lb_l7 *l7, struct lb_http *client);
/* Is the backend that it waits for still to be had, and full? */
int lb_http_still_waits(const struct lb_l7 *l7, const struct lb_http *client);
/* Set-Cookie for the backend of this exchange into text. */
void lb_http_sticky_cookie(struct lb_l7 *l7, struct lb_http *client, char text[LB_COOKIE_BYTES]);

static inline struct lb_conn *lb_http_conn(const struct lb_l7 *l7, const struct lb_http *client)
{
    return lb_conn_at(&l7->conns, client->conn);
}

/* Something happened: time counts from now. */
static inline void lb_http_moved(struct lb_l7 *l7, struct lb_http *client)
{
    client->since_ms = (uint32_t)lb_now_ms(l7->ctx);
}

/* So did the request: it moved on, by its content. */
static inline void lb_http_asked(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_moved(l7, client);
    client->asked_ms = client->since_ms;
}

/* --- deadline.c --- */
/* Whom an exchange waits for. */
enum lb_awaits {
    LB_AWAITS_SENDER, /* the client, for more of the request's body */
    LB_AWAITS_TAKER, /* the client, to take what there is of the response */
    LB_AWAITS_UPLOAD, /* the backend, to take what there is of the request */
    LB_AWAITS_HEAD, /* the backend, for the response's head, or for its 100 */
    LB_AWAITS_BODY, /* the backend, for more of the response's body */
};

enum lb_awaits lb_http_awaits(const struct lb_l7 *l7, const struct lb_http *client);
/* Its timer has to fire in time. */
void lb_http_rearm(struct lb_l7 *l7, struct lb_http *client);
/* Its timer has fired. */
enum lb_next lb_http_fire(struct lb_l7 *l7, struct lb_http *client);

/* --- transfer.c --- */
enum lb_next lb_http_send_request(struct lb_l7 *l7, struct lb_http *client);
enum lb_next lb_http_transfer(struct lb_l7 *l7, struct lb_http *client);
/* The exchange is over: on to the next, or to the end. */
enum lb_next lb_http_finish(struct lb_l7 *l7, struct lb_http *client);
/* Would lb_http_finish end the connection at once, without waiting for the client's end? */
int lb_http_is_last(const struct lb_http *client);

/* --- h1_server.c --- */
enum lb_next lb_http_await_response(struct lb_l7 *l7, struct lb_http *client);
/* A response's head, or several, that begin at bytes. */
enum lb_next lb_http_read_response(struct lb_l7 *l7, struct lb_http *client, char *bytes, uint32_t count);
enum lb_next lb_http_transfer_response(struct lb_l7 *l7, struct lb_http *client);
/* The backend failed the exchange: replay it, answer for it, or break off. status: what to answer. */
enum lb_next lb_http_backend_lost(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why);

/* Its backend's exchanges are cut: one that went down gives 502 where no byte of the response is out; all else ends. */
enum lb_next lb_http_backend_cut(struct lb_l7 *l7, struct lb_http *client);
/* It breaks the rules of HTTP. */
enum lb_next lb_http_response_is_bad(struct lb_l7 *l7, struct lb_http *client);
/* What is lacking here is not the backend's fault. */
enum lb_next lb_http_no_buffer(struct lb_l7 *l7, struct lb_http *client);
/* Keep bytes of a response for later, at the start of the part buffer. They may lie in it. */
void lb_http_keep_part(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count);
void lb_http_drop_part(struct lb_l7 *l7, struct lb_http *client);

/* --- interim.c --- */
/* Pass on a 1xx, of which l7->message is the head, to a client that takes it: 0, or -1 when the client failed. */
int lb_http_pass_interim(struct lb_l7 *l7, struct lb_http *client, const char *bytes);

/* --- upgrade.c --- */
/* A 101, of which l7->message is the head. */
enum lb_next lb_http_switch_protocols(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count);
/* One waited in the part buffer; now all of the request has gone out. */
enum lb_next lb_http_switch(struct lb_l7 *l7, struct lb_http *client);

/* --- min_rate.c --- */
/* The request goes out, and its body is still to come. */
void lb_http_rate_sender(struct lb_l7 *l7, struct lb_http *client);
/* Its timer has fired: has it been slower than its listener allows? Sets the timer for when to ask again. */
int lb_http_is_slow(struct lb_l7 *l7, struct lb_http *client);
/* It has. */
enum lb_next lb_http_too_slow(struct lb_l7 *l7, struct lb_http *client);

/* It was not the client that we waited for: its time counts anew. */
static inline void lb_http_excuse(struct lb_http *client)
{
    client->rated = LB_RATE_NOBODY;
}

/* --- request_log.c --- */
/* An exchange begins: keep what its record will say, if anybody wants it. l7->message is the request. */
void lb_http_log_request(struct lb_l7 *l7, struct lb_http *client, const char *bytes);
/* Its request goes out under this id. */
void lb_http_log_id(struct lb_l7 *l7, const struct lb_http *client, const char *id, uint32_t length);
/* Its place in a trace, as it goes on to the backend: is there one? begins: with us. */
int lb_http_trace(const struct lb_l7 *l7, const struct lb_http *client, struct lb_trace *trace, int *begins);
/* It is over: counted, and recorded. Its backend has not been left yet. status: of the response; 0: none. reason: of our local response,
 * or NULL. */
void lb_http_log(struct lb_l7 *l7, struct lb_http *client, enum lb_end end, uint16_t status, const char *reason);

/* --- sendq.c --- */
/* Is a buffer free for so many bytes, if a side takes none of them? */
int lb_http_can_hold(const struct lb_l7 *l7, size_t bytes);
/* Send bytes to a side; what it does not take is held in flow (a buffer must be free). 0, or -1 when the side failed. */
int lb_http_send_parts(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                       size_t b_count);
/* The same without TLS, of bytes that the connection's end follows at once (lb_http_is_last): one segment has both. */
int lb_http_send_last(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                      size_t b_count);
/* Send on what is held: 1 nothing is left, 0 the side takes no more, -1 it failed. */
int lb_http_flush(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow);

static inline void lb_http_drop_flow(struct lb_l7 *l7, struct lb_flow *flow)
{
    if (flow->holds != LB_HOLDS_NOTHING)
        lb_relay_drop(l7->ctx, flow);
    flow->pending = 0;
}

/* Signs that a backend is stopping: stopping.c. A response's head has come; its backend closes the connection by it, or keeps it. */
void lb_http_note_habit(struct lb_l7 *l7, const struct lb_http *client, uint16_t status, int says_close);

/* Milliseconds until an exchange on a fresh connection has brought nothing for too long: 0: it has; UINT32_MAX: that says nothing. */
uint32_t lb_http_quiet_left_ms(struct lb_l7 *l7, const struct lb_http *client);
void lb_http_look_whether_quiet(struct lb_l7 *l7, struct lb_http *client);

/* Its connection has ended, and had brought nothing. */
void lb_http_note_lost(struct lb_l7 *l7, const struct lb_http *client);

#endif
