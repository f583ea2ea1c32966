/* The PROXY header that a backend's connection begins with: whose connection it carries. */
#ifndef LB_INTRODUCE_H
#define LB_INTRODUCE_H

#include "plane.h"

/* Send it over the fresh connection of a session: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_introduce(struct lb_plane *plane, struct lb_session *session);

#endif
