#include "progress.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int lb_progress_ask(int fd, struct lb_progress *progress)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    int unsent;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0)
        return -errno;
    progress->acked = info.tcpi_bytes_acked;
    progress->queued = progress->acked + (uint64_t)unsent;
    progress->is_dead = info.tcpi_state == BPF_TCP_CLOSE;
    return 0;
}

int lb_progress_queued(int fd, uint64_t *queued)
{
    struct lb_progress before, after;
    for (int tries = 0; tries < 8; tries++) {
        int error = lb_progress_ask(fd, &before);
        if (!error)
            error = lb_progress_ask(fd, &after);
        if (error)
            return error;
        *queued = before.queued;
        if (before.acked == after.acked)
            return 0;
    }
    return -EAGAIN;
}
