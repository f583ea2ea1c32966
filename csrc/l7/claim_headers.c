#include "claim_headers.h"

#include <string.h>

#include "syntax.h"

struct rule {
    const char *text; /* NULL ends a list */
    uint32_t length;
};

#define RULE(text) {text, sizeof(text) - 1}
#define LIST(...) ((const struct rule[]){__VA_ARGS__, {NULL, 0}})

/* clang-format off */

/* Whole names, by their first character. */
static const struct rule *const whole[128] = {
    ['a'] = LIST(RULE("akamai-origin-hop")),
    ['c'] = LIST(RULE("coming-from"), RULE("cf-visitor"), RULE("cf-ipcountry"), RULE("cf-access-authenticated-user-email")),
    ['f'] = LIST(RULE("front-end-https"), RULE("fastly-ssl"), RULE("fastly-temp-xff")),
    ['h'] = LIST(RULE("https")),
    ['i'] = LIST(RULE("iv-user"), RULE("iv-groups"), RULE("iv-creds")),
    ['p'] = LIST(RULE("path-info"), RULE("proxy"), RULE("proxy-user")),
    ['s'] = LIST(RULE("script-name"), RULE("sm-user")),
    ['u'] = LIST(RULE("url-scheme")),
    ['x'] = LIST(RULE("x-forwarded"), RULE("x-scheme"), RULE("x-url-scheme"), RULE("x-proto"), RULE("x-protocol"),
                 RULE("x-https"), RULE("x-front-end-https"), RULE("x-host"), RULE("x-http-host-override"),
                 RULE("x-host-override"), RULE("x-rewrite-url"), RULE("x-script-name"), RULE("x-coming-from"),
                 RULE("x-client-host"), RULE("x-client-port"), RULE("x-client-proto"), RULE("x-client-scheme"),
                 RULE("x-client-verify"), RULE("x-client-dn"), RULE("x-sendfile-type"), RULE("x-accel-mapping")),
};

/* How names begin, likewise. */
static const struct rule *const starts[128] = {
    ['$'] = LIST(RULE("$ws")),
    ['c'] = LIST(RULE("client-cert"), RULE("cf-connecting-"), RULE("cf-pseudo-"), RULE("cloudfront-viewer-")),
    ['f'] = LIST(RULE("forwarded"), RULE("fly-forwarded-")),
    ['r'] = LIST(RULE("remote-")),
    ['s'] = LIST(RULE("ssl-")),
    ['w'] = LIST(RULE("wl-proxy-")),
    ['x'] = LIST(RULE("x-forwarded-"), RULE("x-real-"), RULE("x-original-"), RULE("x-originating-"), RULE("x-remote-"),
                 RULE("x-ssl"), RULE("x-tls-"), RULE("x-client-cert"), RULE("x-client-ssl"), RULE("x-cluster-"),
                 RULE("x-arr-"), RULE("x-wsgi-"), RULE("x-azure-"), RULE("x-envoy-"), RULE("x-appengine-"),
                 RULE("x-amzn-mtls-"), RULE("x-amzn-oidc-"), RULE("x-amzn-tls-"), RULE("x-ms-client-principal"),
                 RULE("x-goog-authenticated-user-"), RULE("x-auth-request-"), RULE("x-webauth-"), RULE("x-authentik-"),
                 RULE("x-authenticated-"), RULE("x-vercel-ip-"), RULE("x-vercel-proxied-")),
};

/* How names end, by their last character: vendors put a word of their own before these. */
static const struct rule *const ends[128] = {
    ['o'] = LIST(RULE("forwarded-proto")),
    ['p'] = LIST(RULE("client-ip"), RULE("clientip"), RULE("real-ip"), RULE("connecting-ip"), RULE("connection-ip"),
                 RULE("remote-ip"), RULE("source-ip"), RULE("user-ip")),
    ['r'] = LIST(RULE("forwarded-for"), RULE("remote-addr"), RULE("client-addr")),
    ['t'] = LIST(RULE("forwarded-host"), RULE("forwarded-port"), RULE("client-cert")),
};
/* clang-format on */

static const struct rule *rules_of(const struct rule *const lists[128], char c)
{
    static const struct rule none = {NULL, 0};
    const struct rule *list = lists[(uint8_t)lb_folded(c) & 127];
    return list ? list : &none;
}

int lb_is_claim_header(const char *name, uint32_t length)
{
    if (!length)
        return 0;
    for (const struct rule *rule = rules_of(starts, name[0]); rule->text; rule++)
        if (length >= rule->length && lb_same_name(name, rule->text, rule->length))
            return 1;
    for (const struct rule *rule = rules_of(whole, name[0]); rule->text; rule++)
        if (length == rule->length && lb_same_name(name, rule->text, length))
            return 1;
    for (const struct rule *rule = rules_of(ends, name[length - 1]); rule->text; rule++)
        if (length >= rule->length && lb_same_name(name + length - rule->length, rule->text, rule->length))
            return 1;
    return 0;
}

int lb_claim_header_listed(const char *list, const char *name, uint32_t length)
{
    while (*list) {
        const char *end = strchrnul(list, ' ');
        if ((size_t)(end - list) == length && lb_same_name(name, list, length))
            return 1;
        list = *end ? end + 1 : end;
    }
    return 0;
}
