#include "congestion.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NAME_BYTES = 16 }; /* TCP_CA_NAME_MAX */

static int paces(int fd)
{
    char name[NAME_BYTES] = "";
    socklen_t length = sizeof name;
    return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 && strncmp(name, "bbr", 3) == 0;
}

/* The first that is there and that we may choose (net.ipv4.tcp_allowed_congestion_control). */
static const char *first_allowed(int fd)
{
    static const char *const unrated[] = {"cubic", "reno"};
    for (size_t i = 0; i < sizeof unrated / sizeof *unrated; i++)
        if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unrated[i], (socklen_t)strlen(unrated[i])) == 0)
            return unrated[i];
    return NULL;
}

const char *lb_congestion_for_loopback(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return NULL;
    const char *name = paces(fd) ? first_allowed(fd) : NULL;
    close(fd);
    return name;
}

void lb_congestion_set(int fd, const char *name)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}
