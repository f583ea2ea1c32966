/* Messages between the control plane and a worker: fixed-size notes over a SOCK_SEQPACKET pair, a descriptor with some. */
#ifndef LB_CHANNEL_H
#define LB_CHANNEL_H

#include <stdint.h>

#include "../layout/notes.h"

/* 1: a note came, *descriptor is -1 or one that the caller owns now. 0: none waits. -EPIPE: the other end is gone. */
__attribute__((warn_unused_result)) int lb_channel_receive(int channel, struct lb_note *note, int *descriptor);

/* Never waits: 0, or -errno with the note lost. */
int lb_channel_send(int channel, enum lb_note_kind kind, uint32_t id, uint64_t value);

int lb_channel_send_refusal(int channel, const struct lb_refusal *refusal);

/* Likewise with a descriptor, which stays the caller's. */
int lb_channel_send_descriptor(int channel, enum lb_note_kind kind, uint32_t id, int descriptor);

#endif
