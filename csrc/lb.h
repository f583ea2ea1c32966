/* The engine's door: all that Python may call. Everything else in csrc/ is behind it. */
#ifndef LB_H
#define LB_H

#include "core/channel.h"
#include "core/privileges.h"
#include "core/seccomp.h"
#include "core/shortage.h"
#include "core/uring.h"
#include "core/uring_trial.h"
#include "json/reader.h"
#include "l4/event_tag.h"
#include "l4/offload/offload.h"
#include "l4/proxy_protocol.h"
#include "l4/hello.h"
#include "l7/chunked.h"
#include "l7/claim_headers.h"
#include "l7/message.h"
#include "l7/path.h"
#include "l7/route.h"
#include "table/backend_health.h"
#include "table/load.h"
#include "table/picker.h"
#include "table/policy.h"
#include "table/prefixes.h"
#include "table/shm.h"
#include "table/table.h"
#include "table/timing.h"
#include "table/view.h"
#include "table/why.h"
#include "tls/context.h"

/* A worker has room for this many sessions at most, whatever it is told: their places must fit into the tags of events. */
enum { LB_MOST_SESSIONS = 1 << LB_TAG_INDEX_BITS };

/* What a worker is given. The memory and the channel stay the caller's. */
struct lb_worker_setup {
    void *memory; /* the mapped segment */
    uint64_t bytes;
    uint32_t worker;       /* its section: 0 .. head->workers - 1 */
    int channel;           /* its end of the pair to the control plane */
    uint32_t max_sessions; /* bounds; each at least 1 */
    uint32_t max_buffers;
    uint32_t max_pipes;
    uint32_t max_handshakes;     /* of TLS with clients, under way at once */
    int own_process;             /* it is all of its process: once the control plane is gone, SIGTERM ends it */
    struct lb_offload *offload;  /* the caller's, and this worker's alone; NULL: the kernel forwards nothing */
    uint32_t offload_asked;      /* what it was to forward: enum lb_offload_which, bits */
    struct lb_uring *uring;      /* likewise; NULL: epoll serves sockets */
    const char *adoption_socket; /* path of a socket where it then waits for another; NULL: it waits for nobody */
};

/* Serve until told to stop, or drained: 0, or -errno when the worker could not begin or its poller failed. Opens and closes
 * all of its own; logs nothing; calls nobody. Safe in a thread and in a process of its own. */
__attribute__((warn_unused_result)) int lb_worker_run(const struct lb_worker_setup *setup);

#endif
