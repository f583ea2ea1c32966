/* All HTTP clients of a worker. */
#ifndef LB_L7_WORKER_H
#define LB_L7_WORKER_H

#include "l7.h"

__attribute__((warn_unused_result)) int lb_l7_open(struct lb_l7 *l7, struct lb_worker_context *ctx, uint32_t max_clients);
void lb_l7_close(struct lb_l7 *l7);

/* The rest of a turn: clients that wait for it, time, the queues, the table. */
void lb_l7_turn(struct lb_l7 *l7);

/* Milliseconds until lb_l7_turn has something to do by time; -1: nothing; 0: at once. */
int lb_l7_wait(const struct lb_l7 *l7);

/* Answer what is under way, and let connections that are idle go: at once, or gently, with their next response, so that no request
 * meets a connection that is being closed. */
void lb_l7_drain(struct lb_l7 *l7, int gently, uint64_t limit_ms);

/* End exchanges on removed backends. */
void lb_l7_cut(struct lb_l7 *l7);

/* End all. */
void lb_l7_stop(struct lb_l7 *l7);

#endif
