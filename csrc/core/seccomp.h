/* A filter of system calls for a worker process, by libseccomp, which is opened by name: no header of it is needed. */
#ifndef LB_SECCOMP_H
#define LB_SECCOMP_H

#include <stddef.h>

/* From now on this process can only call what a worker calls. What it never does for a good reason (to start a program, to look into
 * another process) kills it, so that it is seen; anything else that is not on the list fails with EPERM, so that a C library that
 * wants something unforeseen costs no session. offloads: it puts sockets into maps (l4/offload). rings: it has an io_uring. 0, or -errno and why in words: then nothing is filtered. */
__attribute__((warn_unused_result)) int lb_seccomp_load(int offloads, int rings, char *why, size_t room);

/* The library's version, "2.5.4", into text: 0, or -errno and why. */
__attribute__((warn_unused_result)) int lb_seccomp_version(char *text, size_t room);

#endif
