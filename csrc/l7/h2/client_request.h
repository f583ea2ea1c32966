/* Requests of an HTTP/2 client: from a header block that is whole to an exchange on its way. */
#ifndef LB_H2_CLIENT_REQUEST_H
#define LB_H2_CLIENT_REQUEST_H

#include "streams.h"
#include "../verdict.h"

/* The header block under way is a request's, and whole: its stream is open and ready from now on. Else the error that RST_STREAM is to say. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_client_request(struct lb_l7 *l7, struct lb_h2_client *client);

/* The first time that a stream runs: look at its request, and route it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h2_client_begin(struct lb_l7 *l7, struct lb_h2_stream *stream);

#endif
