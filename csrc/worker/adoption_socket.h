/* Where a worker that lost its control plane waits for another: a socket of its own, by which the new one finds it. Who connects must be
 * of the same user, or root. */
#ifndef LB_ADOPTION_SOCKET_H
#define LB_ADOPTION_SOCKET_H

/* Listen at a path (what was there goes): a descriptor, or -errno. */
__attribute__((warn_unused_result)) int lb_adoption_socket_open(const char *path);

/* Somebody knocks: a channel to them, or -errno (-EACCES for a stranger, -EAGAIN for nobody). */
__attribute__((warn_unused_result)) int lb_adoption_socket_admit(int adoption_socket);

void lb_adoption_socket_close(int adoption_socket, const char *path);

#endif
