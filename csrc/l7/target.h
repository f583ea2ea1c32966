/* Whom a request is for: its target (RFC 9112 3.2), and the authority that it or Host names. */
#ifndef LB_TARGET_H
#define LB_TARGET_H

#include "head.h"

struct lb_message;

/* Read the target of message->head into the message. */
__attribute__((warn_unused_result)) enum lb_reading lb_target_read(struct lb_message *message, const char *bytes);

/* uri-host [":" port] (RFC 9110 7.2, RFC 3986 3.2), not empty, without user information: is it one? Then it is the message's. */
__attribute__((warn_unused_result)) int lb_target_authority(struct lb_message *message, const char *bytes,
                                                            struct lb_span authority);

#endif
