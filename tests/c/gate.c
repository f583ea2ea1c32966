/* To be preloaded: holds a process up between what its loop was told and its work, as a busy machine does. While the file GATE.PID is there,
 * a process of that id waits after an epoll_wait that told something, or an io_uring_enter; it removes GATE.PID.open to say that it does. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { RING_ENTER = 426 /* of all machines */ };

static void hold(void)
{
    char gate[4096], open[4096];
    const char *path = getenv("GATE");
    if (!path)
        return;
    (void)snprintf(gate, sizeof gate, "%s.%d", path, (int)getpid());
    (void)snprintf(open, sizeof open, "%s.%d.open", path, (int)getpid());
    if (access(gate, F_OK) == 0)
        (void)unlink(open);
    while (access(gate, F_OK) == 0)
        usleep(1000);
}

int epoll_wait(int poller, struct epoll_event *events, int most, int timeout_ms)
{
    static int (*real)(int, struct epoll_event *, int, int);
    if (!real)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    int count = real(poller, events, most, timeout_ms);
    if (count > 0)
        hold();
    return count;
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long argument[6];
    va_list list;
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        argument[i] = va_arg(list, long);
    va_end(list);
    long result = real(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
    if (number == RING_ENTER && result >= 0)
        hold();
    return result;
}
