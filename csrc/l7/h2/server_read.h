/* What comes from a backend by HTTP/2. */
#ifndef LB_H2_SERVER_READ_H
#define LB_H2_SERVER_READ_H

#include "servers.h"

/* Read frames; calls that have something to go on with are ready. Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_server_read(struct lb_l7 *l7, struct lb_h2_server *server,
                                                                       const uint8_t *bytes, uint32_t count);

#endif
