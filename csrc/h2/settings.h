/* What the peer of an HTTP/2 connection announced (RFC 9113 6.5.2). */
#ifndef LB_SETTINGS_H
#define LB_SETTINGS_H

#include <stdint.h>

#include "names.h"

struct lb_h2_settings {
    uint32_t table;       /* bytes of the dynamic table that we may use */
    uint32_t streams;     /* that may be open at once; UINT32_MAX: no bound was announced */
    uint32_t window;      /* bytes, of a new stream */
    uint32_t frame;       /* bytes of a payload */
    uint32_t header_list; /* bytes as RFC 9113 6.5.2 counts; UINT32_MAX: no bound was announced */
    uint8_t connect;      /* extended CONNECT may be sent (RFC 8441) */
    uint8_t said;         /* enum lb_h2_said */
};

/* What was announced although it holds anyway. pip's h2 (in httpx, httpx2 and grpclib) says both; nobody else that was seen does. */
enum lb_h2_said { LB_H2_SAID_TABLE = 1, LB_H2_SAID_FRAME = 2, LB_H2_SAID_DEFAULTS = 3 };

void lb_h2_settings_open(struct lb_h2_settings *settings);

/* Take one over. by_server: who announced it. What we do not know is passed over. Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_settings_take(struct lb_h2_settings *settings, uint32_t number,
                                                                         uint32_t value, int by_server);

#endif
