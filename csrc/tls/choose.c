#include "choose.h"

#include <time.h>

enum {
    CANDIDATES = 64, /* that one name has at most; more are not looked at */
    TLS_1_3 = 0x0304,
};

/* The lower, the better: a valid one before all that are not, and an exact name before one with a star. */
enum rank { VALID_EXACT, VALID_WILD, EXPIRED_EXACT, EXPIRED_WILD, RANKS };

struct candidates {
    const struct lb_tls_own *own[CANDIDATES];
    uint8_t rank[CANDIDATES];
    uint32_t count;
    int64_t now_s;
};

static void add(struct candidates *candidates, const struct lb_tls_own *own, int wild)
{
    if (candidates->count == CANDIDATES)
        return;
    int expired = !lb_tls_own_is_valid(own, candidates->now_s);
    candidates->rank[candidates->count] = (uint8_t)(expired ? EXPIRED_EXACT + wild : VALID_EXACT + wild);
    candidates->own[candidates->count++] = own;
}

static void add_matches(struct candidates *candidates, const struct lb_tls_context *context, struct lb_tls_match match, int wild)
{
    for (uint32_t i = match.first; i < match.first + match.count; i++)
        add(candidates, &context->own[context->names.at[i].owner], wild);
}

/* Those of the name that the client asks for; where nobody has it, our first one and what stands in for that. */
static void find_candidates(struct candidates *candidates, const struct lb_tls_context *context, const char *name)
{
    struct lb_tls_match exact = {0, 0}, wild = {0, 0};
    if (name)
        lb_tls_names_match(&context->names, name, &exact, &wild);
    add_matches(candidates, context, exact, 0);
    add_matches(candidates, context, wild, 1);
    for (uint32_t i = 0; !exact.count && !wild.count && i < context->own_count; i++)
        if (context->own[i].stands_in)
            add(candidates, &context->own[i], 0);
}

/* --- what the client can use ---------------------------------------------------------------------------------------- */

static int is_ours(const OPENSSL_STACK *ours, uint32_t id)
{
    for (int i = lb_ssl.OPENSSL_sk_num(ours); i > 0; i--)
        if (lb_ssl.SSL_CIPHER_get_id(lb_ssl.OPENSSL_sk_value(ours, i - 1)) == id)
            return 1;
    return 0;
}

/* TLS 1.2: is a cipher suite offered, and allowed here, that goes with this kind of key? */
static int shares_cipher(SSL *ssl, const struct lb_tls_own *own)
{
    const OPENSSL_STACK *theirs = (const void *)lb_ssl.SSL_get_client_ciphers(ssl),
                        *ours = (const void *)lb_ssl.SSL_get_ciphers(ssl);
    int rsa = own->key_kind == LB_EVP_PKEY_RSA || own->key_kind == LB_EVP_PKEY_RSA_PSS;
    for (int i = theirs ? lb_ssl.OPENSSL_sk_num(theirs) : 0; i > 0; i--) {
        const SSL_CIPHER *cipher = lb_ssl.OPENSSL_sk_value(theirs, i - 1);
        if (lb_ssl.SSL_CIPHER_get_auth_nid(cipher) == (rsa ? LB_NID_auth_rsa : LB_NID_auth_ecdsa) &&
            is_ours(ours, lb_ssl.SSL_CIPHER_get_id(cipher)))
            return 1;
    }
    return 0;
}

/* Signature algorithms and curves, and before TLS 1.3 cipher suites. */
static int is_usable(SSL *ssl, const struct lb_tls_own *own)
{
    int modern = lb_ssl.SSL_version(ssl) >= TLS_1_3;
    int needs = LB_CERT_PKEY_SIGN | LB_CERT_PKEY_EE_PARAM | (modern ? LB_CERT_PKEY_EE_SIGNATURE : 0);
    if ((lb_ssl.SSL_check_chain(ssl, own->certificate, own->key, own->chain) & needs) != needs)
        return 0;
    return modern || shares_cipher(ssl, own);
}

/* --- the choice ----------------------------------------------------------------------------------------------------- */

/* The first of each kind of key among those of this rank: OpenSSL picks by what the client prefers. 1, 0 when there is none, or -1. */
static int show(SSL *ssl, const struct candidates *candidates, uint32_t rank, int whatever)
{
    int kinds[CANDIDATES], shown = 0;
    for (uint32_t i = 0; i < candidates->count; i++) {
        const struct lb_tls_own *own = candidates->own[i];
        int known = candidates->rank[i] != rank;
        for (int k = 0; k < shown && !known; k++)
            known = kinds[k] == own->key_kind;
        if (known || (!whatever && !is_usable(ssl, own)))
            continue;
        if (lb_ssl.SSL_use_cert_and_key(ssl, own->certificate, own->key, own->chain, 1) != 1)
            return -1;
        kinds[shown++] = own->key_kind;
    }
    return shown != 0;
}

/* The best rank of which the client can use any; where it can use none at all, OpenSSL says why. */
int lb_tls_on_certificate(SSL *ssl, void *argument)
{
    struct candidates candidates = {.count = 0, .now_s = (int64_t)time(NULL)};
    find_candidates(&candidates, argument, lb_ssl.SSL_get_servername(ssl, 0));
    lb_ssl.SSL_certs_clear(ssl);
    int whatever = candidates.count == 1;
    for (; whatever < 2; whatever++)
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            int shown = show(ssl, &candidates, rank, whatever);
            if (shown)
                return shown > 0;
        }
    return 0;
}
