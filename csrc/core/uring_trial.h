/* Can this process have a ring, and does it do what the loop needs? */
#ifndef LB_URING_TRIAL_H
#define LB_URING_TRIAL_H

/* A message each way through a ring, an end, and an open that must be refused; under a millisecond. 0, or -errno: EPERM or EACCES where it is
 * forbidden, ENOSYS where there is none, EINVAL before Linux 6.1, EPROTO where something went otherwise. */
__attribute__((warn_unused_result)) int lb_uring_try(void);

#endif
