/* The body of a response by HTTP/2, on its way: DATA is held with its call until the client takes it. To a client that takes chunks it goes
 * as chunks. */
#ifndef LB_H2_DOWNLOAD_H
#define LB_H2_DOWNLOAD_H

#include "../body.h"
#include "servers.h"

/* What is there of it, in at most `room` bytes at `to`; *piece: what goes on, at `to`. LB_STEP_MOVED: some, or it is whole; LB_STEP_BLOCKED:
 * nothing has come; LB_STEP_FROM_FAILED, LB_STEP_BAD: it breaks off, or is not what its head says. */
__attribute__((warn_unused_result)) enum lb_step lb_h2_download(struct lb_body_lane *body, char *to, uint32_t room,
                                                                struct lb_chunk_piece *piece);

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) enum lb_step lb_h2_download_read(struct lb_body_lane *body, struct lb_chunk_piece *piece);

#endif
