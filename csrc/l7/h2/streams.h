/* Streams of HTTP/2 clients: found, opened, run, given back. */
#ifndef LB_H2_STREAMS_H
#define LB_H2_STREAMS_H

#include "client.h"
#include "../l7.h"

static inline uint32_t lb_h2_client_index(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    return lb_slab_index(&l7->h2.clients, client);
}

/* That of an exchange whose client speaks HTTP/2. */
static inline struct lb_h2_stream *lb_h2_stream_of(const struct lb_exchange *exchange)
{
    return exchange->stream[LB_CLIENT].own;
}

/* The open stream of this number, or NULL. */
struct lb_h2_stream *lb_h2_stream_find(const struct lb_h2_client *client, uint32_t id);

/* Was it open once? Only of the last 64 this is known; of others, 0. */
int lb_h2_stream_was_open(const struct lb_h2_client *client, uint32_t id);

/* Was it reset by us, so that what its client sent before it heard of that means nothing? */
int lb_h2_stream_was_cut(const struct lb_h2_client *client, uint32_t id);

/* Take note of a number that the client uses for the first time. */
void lb_h2_stream_number(struct lb_h2_client *client, uint32_t id);

/* Open it, with an exchange; NULL: there is no place. */
struct lb_h2_stream *lb_h2_stream_open(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id);

/* It is over, and so is its exchange: both are given back. */
void lb_h2_stream_give(struct lb_l7 *l7, struct lb_h2_stream *stream);

/* Say RST_STREAM, of a stream that is open or is not. */
void lb_h2_stream_reset(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id, enum lb_h2_error error);

/* Run it in this turn, behind those that are to be run already. */
void lb_h2_stream_ready(struct lb_l7 *l7, struct lb_h2_stream *stream);

/* All of a client's. */
void lb_h2_streams_ready(struct lb_l7 *l7, struct lb_h2_client *client);

/* It has sent its share: the others of its client come first from now on. */
void lb_h2_stream_served(struct lb_h2_stream *stream);

/* Look at its client in this turn. */
void lb_h2_client_touch(struct lb_l7 *l7, struct lb_h2_client *client);

#endif
