/* What is remembered of an exchange, for its record and its place in a trace. */
#ifndef LB_REQUEST_LOG_H
#define LB_REQUEST_LOG_H

#include "../table/account.h"
#include "l7.h"
#include "trace.h"

/* An exchange begins: keep what its record will say, if anybody wants it. l7->message is the request. */
void lb_http_log_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes);

/* Its request goes out under this id. */
void lb_http_log_id(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *id, uint32_t length);

/* Its credentials are somebody's: at most LB_USER_BYTES. */
void lb_http_log_user(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *name, uint32_t length);

/* Its place in a trace, as it goes on to the backend: is there one? begins: with us. */
int lb_http_trace(const struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_trace *trace, int *begins);

/* It is over: counted, and recorded. Its backend has not been left yet. status: of the response; 0: none. reason: of our local response,
 * or NULL. */
void lb_http_log(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end end, uint16_t status, const char *reason);

#endif
