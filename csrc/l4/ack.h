/* When to acknowledge a backend's bytes at once.
 *
 * A backend that leaves Nagle on and writes a response in parts waits for our acknowledgement of the first before it sends
 * the second; ours would wait 40 ms for data to ride on (RFC 1122 4.2.3.2, 4.2.3.4). So small responses are acknowledged at
 * once, as long as that is seen to help: every backend starts with a credit, a response that comes in one part costs one of
 * it, one that comes in more restores it. Backends that response in one write soon pay nothing. Now and then, twice as rarely
 * each time, one response goes without, as a trial: if its second part comes as soon all the same, the backend has Nagle off,
 * and the credit is gone until a part comes as late as a delayed acknowledgement. */
#ifndef LB_ACK_H
#define LB_ACK_H

#include <stdint.h>

#include "../table/shm.h"

enum { LB_ACK_CREDIT = 512, LB_ACK_FIRST_TRIAL = 2048 };

enum lb_ack { LB_ACK_NO, LB_ACK_YES, LB_ACK_TRIAL };

/* A part of a response came: what to do about it. first: it is the response's first. before: what was done about the part before.
 * pause_ms: since that one. */
enum lb_ack lb_ack_part(struct lb_backend_health *health, int first, enum lb_ack before, uint32_t pause_ms);

/* What a new backend starts with. */
void lb_ack_begin(struct lb_backend_health *health);

#endif
