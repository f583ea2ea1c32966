#include "bundle.h"

#include <errno.h>
#include <string.h>

static int text_is_inside(const struct lb_bundle *bundle, struct lb_tls_text text)
{
    uint32_t bytes = bundle->head->bytes;
    return !text.length || (text.at < bytes && text.length < bytes - text.at && !bundle->bytes[text.at + text.length]);
}

/* Names of ALPN, each after its length byte, none empty (RFC 7301 3.1). */
static int alpn_is_whole(const struct lb_bundle *bundle)
{
    struct lb_tls_text alpn = bundle->head->alpn;
    const unsigned char *names = (const unsigned char *)lb_bundle_text(bundle, alpn);
    uint32_t at = 0;
    while (at < alpn.length && names[at])
        at += 1u + names[at];
    return at == alpn.length;
}

static int head_is_good(const struct lb_bundle *bundle, size_t count)
{
    const struct lb_tls_bundle *head = bundle->head;
    return head->layout == LB_TLS_LAYOUT && head->bytes == count && head->verify <= LB_TLS_VERIFY_REQUIRED &&
           (head->kind == LB_TLS_LISTENER || head->kind == LB_TLS_POOL) && head->certificates <= LB_TLS_MOST_CERTIFICATES &&
           head->certificates_at % sizeof(uint32_t) == 0 && head->certificates_at <= count &&
           head->certificates * sizeof(struct lb_tls_certificate) <= count - head->certificates_at;
}

static int texts_are_inside(const struct lb_bundle *bundle)
{
    const struct lb_tls_bundle *head = bundle->head;
    const struct lb_tls_text texts[] = {head->library, head->ciphers, head->alpn, head->trusted, head->name};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!text_is_inside(bundle, texts[i]))
            return 0;
    for (uint32_t i = 0; i < head->certificates; i++) {
        const struct lb_tls_certificate *one = &bundle->certificates[i];
        if (!text_is_inside(bundle, one->chain) || !text_is_inside(bundle, one->key) || !text_is_inside(bundle, one->ocsp))
            return 0;
    }
    return 1;
}

int lb_bundle_read(struct lb_bundle *bundle, const void *bytes, size_t count)
{
    *bundle = (struct lb_bundle){.bytes = bytes, .head = bytes};
    if (count < sizeof *bundle->head || count > LB_TLS_MOST_BYTES || !head_is_good(bundle, count))
        return -EINVAL;
    bundle->certificates = (const void *)(bundle->bytes + bundle->head->certificates_at);
    return texts_are_inside(bundle) && alpn_is_whole(bundle) ? 0 : -EINVAL;
}

int lb_bundle_read_keys(struct lb_ticket_keys *keys, const void *bytes, size_t count)
{
    const struct lb_ticket_keys *given = bytes;
    if (count != sizeof *given || given->layout != LB_TLS_LAYOUT || given->kind != LB_TLS_TICKETS || given->bytes != count ||
        given->count < 1 || given->count > LB_TICKET_KEYS)
        return -EINVAL;
    *keys = *given;
    return 0;
}
