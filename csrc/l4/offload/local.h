/* Sessions whose backend is a process of this host: the two connections that lie between its socket and the client's carry nothing.
 *
 *   client ── its socket ─ program ──────────────→ receive queue of the backend's socket
 *                ↑                                               │
 *                └──────────────── program ─── what the backend sends
 *
 * The backend's socket is found by the addresses of its connection to us, so that no other socket is touched. Either program forwards
 * only when all that went by user space before has been read there, or sent there, and only what there is room for; all else takes the
 * way through the worker, which is always open. Our own connection to the backend says when either of them ends.
 *
 * It is no secret to the backend: reads and polls work as before, but bytes that were forwarded are not seen by splice(2) out of the
 * socket, nor by SO_RCVLOWAT, and a blocking recv(2) may end with EAGAIN. Sockets in blocking mode are left alone therefore. */
#ifndef LB_OFFLOAD_LOCAL_H
#define LB_OFFLOAD_LOCAL_H

#include "local_programs.h"
#include "programs.h"

struct lb_local {
    struct lb_local_maps maps;
    int verdict; /* programs */
    int answer;
    int find;
    int look;
};

/* Load programs and maps, for so many slots: 0, or -errno; why: in words. */
__attribute__((warn_unused_result)) int lb_local_open(struct lb_local *local, const struct lb_offload_maps *shared,
                                                      uint32_t slots, char *why, size_t room);
void lb_local_close(struct lb_local *local);

/* Attach the backend's socket of this session's, whose lanes are empty, and begin its lanes; the client's is not attached yet:
 * enum lb_local_found, or -errno. */
__attribute__((warn_unused_result)) int lb_local_find(const struct lb_local *local, uint32_t slot, int client, int backend);

/* Where is what was forwarded to the backend? Bits of enum lb_local_look; 0: its socket is gone, or cannot be asked. */
int lb_local_look(const struct lb_local *local, uint32_t slot);

/* Let go of the backend's socket. What was forwarded and not read is lost. */
void lb_local_forget(const struct lb_local *local, uint32_t slot);

#endif
