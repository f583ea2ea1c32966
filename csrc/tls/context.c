#include "context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pem.h"
#include "stream.h"

/* A context on its way. */
struct making {
    struct lb_tls_context *context;
    struct lb_bundle bundle;
    X509 **trusted; /* whose word on the peer is taken */
    uint32_t trusted_count;
    char *why;
    size_t room;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct making *making, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(making->why, making->room, format, arguments);
    va_end(arguments);
    lb_ssl.ERR_clear_error();
    return error;
}

static const char *last_words(void)
{
    const char *words = lb_ssl.ERR_reason_error_string(lb_ssl.ERR_peek_error());
    return words ? words : "OpenSSL does not say why";
}

static int no_memory(struct making *making)
{
    return refuse(making, -ENOMEM, "out of memory");
}

/* --- what OpenSSL asks during a handshake --------------------------------------------------------------------------- */

/* Whom does the client want? (RFC 6066 3) */
static int on_name(SSL *ssl, int *alert, void *argument)
{
    const struct lb_tls_context *context = argument;
    const char *name = lb_ssl.SSL_get_servername(ssl, 0);
    int64_t identity = name ? lb_tls_names_find(&context->names, name) : -1;
    (void)alert;
    if (identity < 0)
        return LB_SSL_TLSEXT_ERR_NOACK;
    if (identity > 0)
        lb_ssl.SSL_set_SSL_CTX(ssl, context->identities[identity]);
    return LB_SSL_TLSEXT_ERR_OK;
}

/* The first of ours that the client offers; none is an alert, so that two that do not understand each other part at once (RFC 7301
 * 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *theirs, unsigned int count,
                   void *argument)
{
    const struct lb_tls_context *context = argument;
    (void)ssl;
    for (uint32_t at = 0; at < context->alpn_bytes; at += 1u + context->alpn[at])
        for (unsigned int i = 0; i < count && theirs[i] < count - i; i += 1u + theirs[i])
            if (theirs[i] == context->alpn[at] && memcmp(theirs + i + 1, context->alpn + at + 1, theirs[i]) == 0) {
                *out = theirs + i + 1;
                *out_length = theirs[i];
                return LB_SSL_TLSEXT_ERR_OK;
            }
    return LB_SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int on_status(SSL *ssl, void *argument)
{
    const struct lb_tls_context *context = argument;
    X509 *chosen = lb_ssl.SSL_get_certificate(ssl);
    for (uint32_t i = 0; i < context->own_count; i++) {
        const struct lb_tls_own *own = &context->own[i];
        if (own->certificate != chosen || !own->staple)
            continue;
        unsigned char *copy = lb_ssl.CRYPTO_malloc(own->staple_bytes, __FILE__, __LINE__);
        if (!copy)
            break;
        memcpy(copy, own->staple, own->staple_bytes);
        lb_ssl.SSL_ctrl(ssl, LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP, (long)own->staple_bytes, copy); /* takes it */
        return LB_SSL_TLSEXT_ERR_OK;
    }
    return LB_SSL_TLSEXT_ERR_NOACK;
}

/* --- the rules, the same for all identities ------------------------------------------------------------------------- */

/* The groups of Mozilla's intermediate profile, and before them the one that a quantum computer does not break, where it is known. */
static void set_groups(SSL_CTX *ctx)
{
    static const char *const wanted[] = {"X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"};
    for (size_t i = 0; i < 2; i++)
        if (lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_GROUPS_LIST, 0, (void *)(uintptr_t)wanted[i]) == 1)
            break;
    lb_ssl.ERR_clear_error();
}

static void set_server_callbacks(SSL_CTX *ctx, struct lb_tls_context *context)
{
    lb_ssl.SSL_CTX_callback_ctrl(ctx, LB_SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, (void (*)(void))on_name);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, context);
    lb_ssl.SSL_CTX_callback_ctrl(ctx, LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, (void (*)(void))on_status);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB_ARG, 0, context);
    lb_ssl.SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, lb_tls_on_ticket);
    if (context->alpn)
        lb_ssl.SSL_CTX_set_alpn_select_cb(ctx, on_alpn, context);
}

static void set_rules(struct making *making, SSL_CTX *ctx)
{
    const struct lb_tls_bundle *head = making->bundle.head;
    int server = head->kind == LB_TLS_LISTENER, verify = LB_SSL_VERIFY_NONE;
    if (head->verify != LB_TLS_VERIFY_OFF)
        verify = LB_SSL_VERIFY_PEER | (server && head->verify == LB_TLS_VERIFY_REQUIRED ? LB_SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    lb_ssl.SSL_CTX_set_verify(ctx, verify, NULL);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_MIN_PROTO_VERSION, (long)head->min_version, NULL);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_MODE,
                        LB_SSL_MODE_ENABLE_PARTIAL_WRITE | LB_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | LB_SSL_MODE_RELEASE_BUFFERS, NULL);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_CLEAR_MODE, LB_SSL_MODE_AUTO_RETRY, NULL); /* no read goes on and on over KeyUpdates */
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_READ_AHEAD, 1, NULL);
    /* peers that close without a word are many: who cares asks lb_tls_is_cut */
    lb_ssl.SSL_CTX_set_options(ctx, LB_SSL_OP_NO_COMPRESSION | LB_SSL_OP_NO_RENEGOTIATION | LB_SSL_OP_IGNORE_UNEXPECTED_EOF);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_SESS_CACHE_MODE,
                        server ? LB_SSL_SESS_CACHE_OFF : LB_SSL_SESS_CACHE_CLIENT | LB_SSL_SESS_CACHE_NO_INTERNAL, NULL);
    set_groups(ctx);
    if (server) /* one ticket a connection: clients that open several get one with each */
        lb_ssl.SSL_CTX_set_num_tickets(ctx, 1);
    if (server)
        set_server_callbacks(ctx, making->context);
    else
        lb_ssl.SSL_CTX_sess_set_new_cb(ctx, lb_tls_on_session);
}

static int make_ctx(struct making *making, SSL_CTX **made)
{
    const struct lb_tls_bundle *head = making->bundle.head;
    SSL_CTX *ctx = *made =
        lb_ssl.SSL_CTX_new(head->kind == LB_TLS_LISTENER ? lb_ssl.TLS_server_method() : lb_ssl.TLS_client_method());
    if (!ctx)
        return no_memory(making);
    set_rules(making, ctx);
    if (head->ciphers.length && lb_ssl.SSL_CTX_set_cipher_list(ctx, lb_bundle_text(&making->bundle, head->ciphers)) != 1)
        return refuse(making, -EINVAL, "tls_ciphers: %s", last_words());
    if (lb_ssl.SSL_CTX_set_session_id_context(ctx, head->context, sizeof head->context) != 1)
        return no_memory(making);
    return 0;
}

/* --- whose word on the peer is taken -------------------------------------------------------------------------------- */

/* Read them once, for all identities: a system's list takes 20 ms. */
static int read_trusted(struct making *making, struct lb_pem *pem)
{
    int broken;
    X509 *one;
    while ((one = lb_pem_certificate(pem, &broken))) {
        X509 **more = realloc(making->trusted, (making->trusted_count + 1) * sizeof *more);
        if (!more) {
            lb_ssl.X509_free(one);
            return no_memory(making);
        }
        making->trusted = more;
        making->trusted[making->trusted_count++] = one;
    }
    if (broken)
        return refuse(making, -EINVAL, "trusted certificate %u: %s", making->trusted_count + 1, last_words());
    return making->trusted_count ? 0 : refuse(making, -EINVAL, "trusted certificates: none is there");
}

static int open_trusted(struct making *making)
{
    struct lb_tls_text trusted = making->bundle.head->trusted;
    struct lb_pem pem;
    if (!trusted.length)
        return 0;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, trusted), trusted.length) < 0)
        return no_memory(making);
    int error = read_trusted(making, &pem);
    lb_pem_close(&pem);
    return error;
}

/* The first identity's store is everybody's. */
static int share_store(struct making *making, SSL_CTX *ctx)
{
    if (ctx != making->context->identities[0]) {
        lb_ssl.SSL_CTX_set1_cert_store(ctx, lb_ssl.SSL_CTX_get_cert_store(making->context->identities[0]));
        return 0;
    }
    for (uint32_t i = 0; i < making->trusted_count; i++)
        if (lb_ssl.X509_STORE_add_cert(lb_ssl.SSL_CTX_get_cert_store(ctx), making->trusted[i]) != 1)
            return refuse(making, -EINVAL, "trusted certificate %u: %s", i + 1, last_words());
    return 0;
}

static int set_trust(struct making *making, SSL_CTX *ctx)
{
    int listener = making->context->kind == LB_TLS_LISTENER;
    if (!making->trusted_count)
        return listener || lb_ssl.SSL_CTX_set_default_verify_paths(ctx) == 1
                   ? 0
                   : refuse(making, -EINVAL, "the system's certificates: %s", last_words());
    for (uint32_t i = 0; listener && i < making->trusted_count; i++)
        if (lb_ssl.SSL_CTX_add_client_CA(ctx, making->trusted[i]) != 1) /* whom the client is asked to be vouched for by */
            return refuse(making, -EINVAL, "trusted certificate %u: %s", i + 1, last_words());
    return share_store(making, ctx);
}

/* --- our certificates ----------------------------------------------------------------------------------------------- */

/* A DNS name of ASCII without a NUL in it, in lower case; else 0. */
static uint32_t take_name(char *to, const ASN1_STRING *from)
{
    const unsigned char *bytes = lb_ssl.ASN1_STRING_get0_data(from);
    int length = lb_ssl.ASN1_STRING_length(from);
    if (length <= 0 || length > 255 || bytes[0] == '.') /* which would be taken for a wildcard */
        return 0;
    for (int i = 0; i < length; i++) {
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return 0;
        to[i] = (char)(bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] | 0x20 : bytes[i]);
    }
    to[length] = 0;
    return (uint32_t)length + 1;
}

static int read_names(struct lb_tls_own *own, const GENERAL_NAMES *names)
{
    const OPENSSL_STACK *stack = (const void *)names;
    int count = names ? lb_ssl.OPENSSL_sk_num(stack) : 0;
    own->names = malloc(1 + 256 * (size_t)(count > 0 ? count : 0));
    if (!own->names)
        return -ENOMEM;
    for (int i = 0; i < count; i++) {
        int type;
        const ASN1_STRING *value = lb_ssl.GENERAL_NAME_get0_value(lb_ssl.OPENSSL_sk_value(stack, i), &type);
        if (type == LB_GEN_DNS)
            own->names_bytes += take_name(own->names + own->names_bytes, value);
    }
    return 0;
}

static int read_facts(struct making *making, struct lb_tls_own *own, const EVP_PKEY *key)
{
    struct tm until = {0};
    GENERAL_NAMES *names = lb_ssl.X509_get_ext_d2i(own->certificate, LB_NID_subject_alt_name, NULL, NULL);
    int error = read_names(own, names);
    if (names)
        lb_ssl.GENERAL_NAMES_free(names);
    if (error)
        return no_memory(making);
    if (lb_ssl.ASN1_TIME_to_tm(lb_ssl.X509_get0_notAfter(own->certificate), &until) == 1)
        own->expires_s = timegm(&until);
    own->key_kind = lb_ssl.EVP_PKEY_get_base_id(key);
    return 0;
}

/* An identity of the same names that has no key of this kind yet; else a new one. */
static int find_identity(struct making *making, struct lb_tls_own *own)
{
    struct lb_tls_context *context = making->context;
    for (uint32_t i = 0; i < context->identity_count; i++) {
        int same = 0, taken = 0;
        for (const struct lb_tls_own *other = context->own; other < own; other++) {
            if (other->identity != i)
                continue;
            same |= own->names_bytes && other->names_bytes == own->names_bytes &&
                    memcmp(other->names, own->names, own->names_bytes) == 0;
            taken |= other->key_kind == own->key_kind;
        }
        if (same && !taken) {
            own->identity = i;
            return 0;
        }
    }
    own->identity = context->identity_count;
    int error = make_ctx(making, &context->identities[context->identity_count++]);
    return error ? error : set_trust(making, context->identities[own->identity]);
}

static int add_names(struct making *making, const struct lb_tls_own *own)
{
    for (uint32_t at = 0; at < own->names_bytes; at += (uint32_t)strlen(own->names + at) + 1)
        if (lb_tls_names_add(&making->context->names, own->names + at, own->identity) < 0)
            return no_memory(making);
    return 0;
}

static int use(struct making *making, struct lb_tls_own *own, uint32_t number, EVP_PKEY *key)
{
    int error = read_facts(making, own, key);
    if (!error)
        error = find_identity(making, own);
    if (!error)
        error = add_names(making, own);
    if (error)
        return error;
    SSL_CTX *ctx = making->context->identities[own->identity];
    if (lb_ssl.X509_check_private_key(own->certificate, key) != 1)
        return refuse(making, -EINVAL, "certificate %u: the key does not belong to it", number);
    if (lb_ssl.SSL_CTX_use_certificate(ctx, own->certificate) != 1 || lb_ssl.SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return refuse(making, -EINVAL, "certificate %u: %s", number, last_words());
    return 0;
}

static int use_chain(struct making *making, const struct lb_tls_own *own, uint32_t number, struct lb_pem *pem)
{
    SSL_CTX *ctx = making->context->identities[own->identity];
    int broken;
    X509 *one;
    while ((one = lb_pem_certificate(pem, &broken)))
        if (lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_CHAIN_CERT, 0, one) != 1) { /* takes it */
            lb_ssl.X509_free(one);
            return refuse(making, -EINVAL, "certificate %u: its chain: %s", number, last_words());
        }
    return broken ? refuse(making, -EINVAL, "certificate %u: its chain: %s", number, last_words()) : 0;
}

static int read_key(struct making *making, uint32_t number, struct lb_tls_text text, EVP_PKEY **key)
{
    struct lb_pem pem;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, text), text.length) < 0)
        return no_memory(making);
    int error = 0;
    if (!(*key = lb_pem_key(&pem)))
        error = pem.encrypted ? refuse(making, -EINVAL, "certificate %u: its key is encrypted", number)
                              : refuse(making, -EINVAL, "certificate %u: its key cannot be read: %s", number, last_words());
    lb_pem_close(&pem);
    return error;
}

static int add_pair(struct making *making, struct lb_tls_own *own, uint32_t number, struct lb_pem *pem, EVP_PKEY *key)
{
    int broken;
    X509 *certificate = own->certificate = lb_pem_certificate(pem, &broken);
    if (!certificate)
        return broken ? refuse(making, -EINVAL, "certificate %u: %s", number, last_words())
                      : refuse(making, -EINVAL, "certificate %u: no certificate is there", number);
    int error = use(making, own, number, key);
    lb_ssl.X509_free(certificate); /* its identity has it now */
    return error ? error : use_chain(making, own, number, pem);
}

static int take_staple(struct making *making, struct lb_tls_own *own, struct lb_tls_text ocsp)
{
    if (!ocsp.length)
        return 0;
    if (!(own->staple = malloc(ocsp.length)))
        return no_memory(making);
    memcpy(own->staple, lb_bundle_text(&making->bundle, ocsp), ocsp.length);
    own->staple_bytes = ocsp.length;
    return 0;
}

static int add_certificate(struct making *making, uint32_t at)
{
    const struct lb_tls_certificate *given = &making->bundle.certificates[at];
    struct lb_tls_own *own = &making->context->own[at];
    struct lb_pem pem;
    EVP_PKEY *key = NULL;
    int error = read_key(making, at + 1, given->key, &key);
    if (error)
        return error;
    making->context->own_count = at + 1;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, given->chain), given->chain.length) < 0)
        error = no_memory(making);
    else
        error = add_pair(making, own, at + 1, &pem, key);
    lb_pem_close(&pem);
    lb_ssl.EVP_PKEY_free(key);
    return error ? error : take_staple(making, own, given->ocsp);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int add_certificates(struct making *making)
{
    uint32_t count = making->bundle.head->certificates;
    for (uint32_t i = 0; i < count; i++) {
        int error = add_certificate(making, i);
        if (error)
            return error;
    }
    lb_tls_names_sort(&making->context->names);
    if (count)
        return 0;
    if (making->context->kind == LB_TLS_LISTENER)
        return refuse(making, -EINVAL, "no certificate is given");
    making->context->identity_count = 1;
    int error = make_ctx(making, &making->context->identities[0]);
    return error ? error : set_trust(making, making->context->identities[0]);
}

static void *copy_of(const struct lb_bundle *bundle, struct lb_tls_text text)
{
    char *copy = malloc(text.length + 1);
    if (copy)
        memcpy(copy, lb_bundle_text(bundle, text), text.length + 1);
    return copy;
}

static int fill(struct making *making)
{
    struct lb_tls_context *context = making->context;
    const struct lb_tls_bundle *head = making->bundle.head;
    context->references = 1;
    context->kind = head->kind;
    context->verify = head->verify;
    context->http = head->http;
    context->own = calloc(head->certificates + 1, sizeof *context->own);
    context->identities = calloc(head->certificates + 1, sizeof *context->identities);
    if (head->alpn.length)
        context->alpn = copy_of(&making->bundle, head->alpn);
    if (head->name.length)
        context->name = copy_of(&making->bundle, head->name);
    context->alpn_bytes = head->alpn.length;
    int lacks = !context->own || !context->identities || (head->alpn.length && !context->alpn) || (head->name.length && !context->name);
    int error = lacks ? no_memory(making) : open_trusted(making);
    return error ? error : add_certificates(making);
}

int lb_tls_context_open(struct lb_tls_context **context, const void *bytes, size_t count, char *why, size_t room)
{
    struct making making = {.why = why, .room = room};
    *context = NULL;
    if (lb_bundle_read(&making.bundle, bytes, count) < 0) {
        (void)snprintf(why, room, "the bundle is damaged");
        return -EINVAL;
    }
    int error = lb_openssl_open(lb_bundle_text(&making.bundle, making.bundle.head->library), why, room);
    if (error)
        return error;
    making.context = calloc(1, sizeof *making.context);
    error = making.context ? fill(&making) : no_memory(&making);
    for (uint32_t i = 0; i < making.trusted_count; i++)
        lb_ssl.X509_free(making.trusted[i]);
    free(making.trusted);
    if (error)
        lb_tls_context_release(making.context);
    else
        *context = making.context;
    return error;
}

void lb_tls_context_release(struct lb_tls_context *context)
{
    if (!context || --context->references > 0)
        return;
    for (uint32_t i = 0; context->identities && i < context->identity_count; i++)
        if (context->identities[i])
            lb_ssl.SSL_CTX_free(context->identities[i]);
    for (uint32_t i = 0; context->own && i < context->own_count; i++) {
        free(context->own[i].names);
        free(context->own[i].staple);
    }
    lb_tls_names_free(&context->names);
    free(context->identities);
    free(context->own);
    free(context->alpn);
    free(context->name);
    free(context);
}
