/* Credentials of requests: API keys, and names with passwords. Compared by digests, in a time that does not depend on them. */
#ifndef LB_CREDENTIALS_H
#define LB_CREDENTIALS_H

#include "message.h"
#include "route.h"

/* Whose credentials a request brought. */
struct lb_credential {
    const struct lb_credential_row *row; /* NULL: nobody's */
    const char *carrier;                 /* the header that brought them, in lower case */
    uint32_t carrier_length;
};

/* What this guard takes, in the request that was read from bytes. Of each header, one alone counts: several could be read differently. */
struct lb_credential lb_credentials_find(const struct lb_routes *routes, const struct lb_guard_row *guard,
                                         const struct lb_message *message, const char *bytes);

#endif
