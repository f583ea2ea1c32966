/* Frames of an HTTP/2 client: what each means to the connection and its streams (RFC 9113 5 and 6). */
#ifndef LB_H2_CLIENT_READ_H
#define LB_H2_CLIENT_READ_H

#include "streams.h"

/* Bytes have come. Streams that there is something to do for are made ready. Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_client_read(struct lb_l7 *l7, struct lb_h2_client *client,
                                                                       const uint8_t *bytes, uint32_t count);

#endif
