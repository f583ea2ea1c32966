/* The cookie that keeps a client with its backend: INDEX.NAME.SIGNATURE in hexadecimal; of pools that share a cookie's name such a part
 * each, apart by '-'. NAME is a hash of the backend's address, so
 * that it holds beyond a restart of the balancer; INDEX is where its row was, a hint; SIGNATURE covers NAME, so that no client
 * chooses its backend. */
#ifndef LB_STICKY_H
#define LB_STICKY_H

#include "../table/shm.h"

enum {
    LB_STICKY_BYTES = 8 + 1 + 16 + 1 + 16, /* of a part */
    LB_STICKY_PARTS = 4,                   /* pools that may share a cookie's name */
};

/* Write a part (LB_STICKY_BYTES, no NUL). */
void lb_sticky_write(const struct lb_shm *shm, uint32_t pool, uint32_t backend, char value[LB_STICKY_BYTES]);

/* The backend row that a part names, or LB_NONE: forged, malformed, or its backend is not in the pool any more. */
uint32_t lb_sticky_read(const struct lb_shm *shm, uint32_t pool, const char *value, uint32_t length);

#endif
