#include "ring_socket.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

enum { MOST = 1 << 20 /* descriptors; those beyond are left to epoll. Address space only, until a descriptor is used */ };

struct lb_ring_sockets lb_ring_sockets;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make(void)
{
    void *memory =
        mmap(NULL, MOST * sizeof *lb_ring_sockets.at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return;
    lb_ring_sockets.count = MOST;
    lb_ring_sockets.at = memory;
}

int lb_ring_sockets_open(void)
{
    pthread_once(&once, make);
    return lb_ring_sockets.at ? 0 : -ENOMEM;
}

int lb_ring_sockets_inherited(int fd)
{
    for (; (unsigned)fd < lb_ring_sockets.used; fd++)
        if (lb_ring_sockets.at[fd].uring) {
            lb_ring_sockets.at[fd].uring = NULL;
            return fd;
        }
    return -1;
}
