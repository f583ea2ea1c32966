#include "resumption.h"

void lb_resumption_drop(struct lb_tls_resumption *place)
{
    if (place->session)
        lb_ssl.SSL_SESSION_free(place->session);
    lb_tls_context_release(place->context);
    *place = (struct lb_tls_resumption){0};
}

void lb_resumption_keep(struct lb_tls_resumption *place, SSL_SESSION *session, struct lb_tls_context *context, uint64_t tenant)
{
    lb_resumption_drop(place);
    *place = (struct lb_tls_resumption){session, lb_tls_context_share(context), tenant};
}

SSL_SESSION *lb_resumption_find(struct lb_tls_resumption *place, const struct lb_tls_context *context, uint64_t tenant)
{
    if (!place->session || (place->context == context && place->tenant == tenant))
        return place->session;
    lb_resumption_drop(place); /* the rules have changed, or somebody else lives there now */
    return NULL;
}
