#include "context.h"

#include <stdlib.h>

void lb_tls_context_release(struct lb_tls_context *context)
{
    if (!context || --context->references > 0)
        return;
    if (context->ctx)
        lb_ssl.SSL_CTX_free(context->ctx);
    for (uint32_t i = 0; context->own && i < context->own_count; i++)
        lb_tls_own_drop(&context->own[i]);
    lb_tls_names_free(&context->names);
    free(context->own);
    free(context->alpn);
    free(context->name);
    free(context);
}
