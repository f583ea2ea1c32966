#include "shortage.h"

#include <errno.h>

int lb_is_shortage(int error)
{
    switch (error) {
    case EADDRNOTAVAIL: /* tcp: no source port is free towards this destination (ip(7)); another destination may have one */
    case EAGAIN:        /* udp: no source port is free at all (connect(2)) */
    case EMFILE:        /* RLIMIT_NOFILE of this process */
    case ENFILE:        /* fs.file-max of this host */
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* fs.epoll.max_user_watches (epoll_ctl(2)) */
    case ENOKEY: /* the TLS rules of the pool are not there: l4/backend_tls.c */
        return 1;
    }
    return 0;
}
