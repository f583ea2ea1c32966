/* A bundle of TLS settings (layout/tls.h) as it came from the control plane: checked once as a whole, then read without looking. */
#ifndef LB_BUNDLE_H
#define LB_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "../layout/tls.h"

struct lb_bundle {
    const char *bytes; /* owned by whoever mapped it */
    const struct lb_tls_bundle *head;
    const struct lb_tls_certificate *certificates;
};

/* Every offset inside, every text NUL-ended: 0, or -EINVAL. */
__attribute__((warn_unused_result)) int lb_bundle_read(struct lb_bundle *bundle, const void *bytes, size_t count);

/* The bytes of a text; "" when it has none. */
static inline const char *lb_bundle_text(const struct lb_bundle *bundle, struct lb_tls_text text)
{
    return text.length ? bundle->bytes + text.at : "";
}

/* The same of ticket keys; they stay as they were on failure. */
__attribute__((warn_unused_result)) int lb_bundle_read_keys(struct lb_ticket_keys *keys, const void *bytes, size_t count);

#endif
