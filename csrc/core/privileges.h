/* What a process gives up for good: the rights of root, and with them whatever an exec might give back. */
#ifndef LB_PRIVILEGES_H
#define LB_PRIVILEGES_H

#include <sys/types.h>

/* Of a worker, whoever it runs as: no capability is left, and none can come (PR_SET_NO_NEW_PRIVS). 0 or -errno. */
__attribute__((warn_unused_result)) int lb_privileges_shed(void);

/* Root becomes this user for good; its groups are changed already. Only CAP_NET_BIND_SERVICE stays, as far as it was there, also
 * over an exec: listeners of low ports may come with a reload. offloads: so do CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, for the workers
 * that this process is to start, each of which takes them up by its exec; here they rest. Before any other thread is started. 0 or
 * -errno. */
__attribute__((warn_unused_result)) int lb_privileges_become(uid_t user, int offloads);

/* What the offload takes, in effect for the calling thread as far as it may be had: 1, if that changed anything; 0 or -errno. */
__attribute__((warn_unused_result)) int lb_privileges_lend(void);

/* It rests again: out of effect for the calling thread, and for who is started by it. An exec brings it back where it is ambient. 0 or
 * -errno. */
__attribute__((warn_unused_result)) int lb_privileges_rest(void);

#endif
