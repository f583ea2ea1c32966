/* A connection as its sender was some bytes ago (TCP_REPAIR), for a trial: what it sends next begins with what was there before. */
#ifndef LB_REPAIR_H
#define LB_REPAIR_H

#include <stdint.h>

/* Close an IPv4 connection without a word, and set it up again: its new descriptor, or -1 and errno. Takes CAP_NET_ADMIN. */
__attribute__((warn_unused_result)) int lb_repair_put_back(int fd, uint32_t bytes);

#endif
