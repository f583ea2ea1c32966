/* The PROXY header that a backend's connection begins with: whose connection it carries. */
#ifndef LB_INTRODUCE_H
#define LB_INTRODUCE_H

#include "plane.h"

/* Who is introduced to whom. */
struct lb_introduction {
    const struct lb_side *client;
    int server; /* a fresh connection */
    uint32_t listener;
    uint32_t version; /* of the header */
    const struct lb_ends *ends; /* of family 0: the socket is asked */
};

/* Send the header: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_introduce(struct lb_plane *plane, const struct lb_introduction *who);

#endif
