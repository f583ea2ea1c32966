#include "adoption_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_at(int fd, const struct sockaddr_un *at)
{
    /* the file that bind makes has the socket's own mode */
    if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)(const void *)at, sizeof *at) < 0 || listen(fd, 4) < 0)
        return -errno;
    return fd;
}

int lb_adoption_socket_open(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return -ENAMETOOLONG;
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)unlink(path);
    int result = listen_at(fd, &at);
    if (result < 0)
        close(fd);
    return result;
}

static int is_ours(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

int lb_adoption_socket_admit(int adoption_socket)
{
    int fd = accept4(adoption_socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (is_ours(fd))
        return fd;
    close(fd);
    return -EACCES;
}

void lb_adoption_socket_close(int adoption_socket, const char *path)
{
    close(adoption_socket);
    (void)unlink(path);
}
