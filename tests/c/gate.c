/* To be preloaded: holds a process up between its poller's answer and its work, as a busy machine does. While the file GATE.PID is there,
 * a process of that id waits after an epoll_wait that told something; it removes GATE.PID.open to say that it does. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int epoll_wait(int poller, struct epoll_event *events, int most, int timeout_ms)
{
    static int (*real)(int, struct epoll_event *, int, int);
    if (!real)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    int count = real(poller, events, most, timeout_ms);
    char gate[4096], open[4096];
    const char *path = getenv("GATE");
    if (count <= 0 || !path)
        return count;
    (void)snprintf(gate, sizeof gate, "%s.%d", path, (int)getpid());
    (void)snprintf(open, sizeof open, "%s.%d.open", path, (int)getpid());
    if (access(gate, F_OK) == 0)
        (void)unlink(open);
    while (access(gate, F_OK) == 0)
        usleep(1000);
    return count;
}
