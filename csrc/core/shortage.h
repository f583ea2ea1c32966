/* What this host lacks: the one place that says which errno speaks of us, and never of a backend. The control plane asks here, too. */
#ifndef LB_SHORTAGE_H
#define LB_SHORTAGE_H

/* Did a connect, or its preparation, fail because this host ran out of source ports, descriptors or memory, or lacks what it would need
 * to speak TLS? Not for errors of reads and writes, where EAGAIN means something else. */
int lb_is_shortage(int error);

#endif
