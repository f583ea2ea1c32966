#include "context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choose.h"
#include "pem.h"
#include "handshake.h"

/* --- what OpenSSL asks during a handshake --------------------------------------------------------------------------- */

/* Do we know whom the client wants? (RFC 6066 3) Which certificate that means is chosen later. */
static int on_name(SSL *ssl, int *alert, void *argument)
{
    const struct lb_tls_context *context = argument;
    const char *name = lb_ssl.SSL_get_servername(ssl, 0);
    struct lb_tls_match exact = {0, 0}, wild = {0, 0};
    (void)alert;
    if (name)
        lb_tls_names_match(&context->names, name, &exact, &wild);
    return exact.count || wild.count ? LB_SSL_TLSEXT_ERR_OK : LB_SSL_TLSEXT_ERR_NOACK;
}

/* The first of ours that the client offers; none is an alert, so that two that do not understand each other part at once (RFC 7301
 * 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *theirs,
                   unsigned int count, void *argument)
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

/* --- the rules ------------------------------------------------------------------------- */

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
    lb_ssl.SSL_CTX_set_cert_cb(ctx, lb_tls_on_certificate, context);
    if (context->alpn)
        lb_ssl.SSL_CTX_set_alpn_select_cb(ctx, on_alpn, context);
}

static void set_rules(struct lb_tls_making *making, SSL_CTX *ctx)
{
    const struct lb_tls_bundle *head = making->bundle.head;
    int server = head->kind == LB_TLS_LISTENER, verify = LB_SSL_VERIFY_NONE;
    if (head->verify != LB_TLS_VERIFY_OFF)
        verify = LB_SSL_VERIFY_PEER | (server && head->verify == LB_TLS_VERIFY_REQUIRED ? LB_SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    lb_ssl.SSL_CTX_set_verify(ctx, verify, NULL);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_SET_MIN_PROTO_VERSION, (long)head->min_version, NULL);
    lb_ssl.SSL_CTX_ctrl(ctx, LB_SSL_CTRL_MODE,
                        LB_SSL_MODE_ENABLE_PARTIAL_WRITE | LB_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | LB_SSL_MODE_RELEASE_BUFFERS,
                        NULL);
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

static int make_ctx(struct lb_tls_making *making)
{
    const struct lb_tls_bundle *head = making->bundle.head;
    SSL_CTX *ctx = making->context->ctx =
        lb_ssl.SSL_CTX_new(head->kind == LB_TLS_LISTENER ? lb_ssl.TLS_server_method() : lb_ssl.TLS_client_method());
    if (!ctx)
        return lb_tls_no_memory(making);
    set_rules(making, ctx);
    if (head->ciphers.length && lb_ssl.SSL_CTX_set_cipher_list(ctx, lb_bundle_text(&making->bundle, head->ciphers)) != 1)
        return lb_tls_refuse(making, -EINVAL, "tls_ciphers: %s", lb_tls_last_words());
    if (lb_ssl.SSL_CTX_set_session_id_context(ctx, head->context, sizeof head->context) != 1)
        return lb_tls_no_memory(making);
    return 0;
}

/* --- whose word on the peer is taken -------------------------------------------------------------------------------- */

static int read_trusted(struct lb_tls_making *making, struct lb_pem *pem)
{
    int broken;
    X509 *one;
    while ((one = lb_pem_certificate(pem, &broken))) {
        X509 **more = realloc(making->trusted, (making->trusted_count + 1) * sizeof *more);
        if (!more) {
            lb_ssl.X509_free(one);
            return lb_tls_no_memory(making);
        }
        making->trusted = more;
        making->trusted[making->trusted_count++] = one;
    }
    if (broken)
        return lb_tls_refuse(making, -EINVAL, "trusted certificate %u: %s", making->trusted_count + 1, lb_tls_last_words());
    return making->trusted_count ? 0 : lb_tls_refuse(making, -EINVAL, "trusted certificates: none is there");
}

static int open_trusted(struct lb_tls_making *making)
{
    struct lb_tls_text trusted = making->bundle.head->trusted;
    struct lb_pem pem;
    if (!trusted.length)
        return 0;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, trusted), trusted.length) < 0)
        return lb_tls_no_memory(making);
    int error = read_trusted(making, &pem);
    lb_pem_close(&pem);
    return error;
}

static int set_trust(struct lb_tls_making *making)
{
    SSL_CTX *ctx = making->context->ctx;
    int listener = making->context->kind == LB_TLS_LISTENER;
    if (!making->trusted_count && !listener && lb_ssl.SSL_CTX_set_default_verify_paths(ctx) != 1)
        return lb_tls_refuse(making, -EINVAL, "the system's certificates: %s", lb_tls_last_words());
    for (uint32_t i = 0; i < making->trusted_count; i++) {
        X509 *one = making->trusted[i];
        if (listener && lb_ssl.SSL_CTX_add_client_CA(ctx, one) != 1) /* whom the client is asked to be vouched for by */
            return lb_tls_refuse(making, -EINVAL, "trusted certificate %u: %s", i + 1, lb_tls_last_words());
        if (lb_ssl.X509_STORE_add_cert(lb_ssl.SSL_CTX_get_cert_store(ctx), one) != 1)
            return lb_tls_refuse(making, -EINVAL, "trusted certificate %u: %s", i + 1, lb_tls_last_words());
    }
    return 0;
}

/* --- our certificates ----------------------------------------------------------------------------------------------- */

/* OpenSSL looks at each as it would when it is shown. Of a pool this is the one that backends are shown; for a listener, what a client
 * is shown is chosen in each handshake. */
static int try_certificate(struct lb_tls_making *making, const struct lb_tls_own *own, uint32_t number)
{
    if (lb_ssl.X509_check_private_key(own->certificate, own->key) != 1)
        return lb_tls_refuse(making, -EINVAL, "certificate %u: the key does not belong to it", number);
    if (lb_ssl.SSL_CTX_use_cert_and_key(making->context->ctx, own->certificate, own->key, own->chain, 1) != 1)
        return lb_tls_refuse(making, -EINVAL, "certificate %u: %s", number, lb_tls_last_words());
    return 0;
}

/* Does it carry the first name of our first certificate? Then it is shown in its stead to a client that cannot read that one's key. */
static int stands_in(const struct lb_tls_context *context, const struct lb_tls_own *own)
{
    const struct lb_tls_own *first = context->own;
    for (uint32_t at = 0; first->names_bytes && at < own->names_bytes; at += (uint32_t)strlen(own->names + at) + 1)
        if (strcmp(own->names + at, first->names) == 0)
            return 1;
    return own == first;
}

static int add_certificate(struct lb_tls_making *making, uint32_t at)
{
    struct lb_tls_context *context = making->context;
    struct lb_tls_own *own = &context->own[at];
    context->own_count = at + 1;
    int error = lb_tls_own_read(making, own, at);
    if (!error)
        error = try_certificate(making, own, at + 1);
    if (error)
        return error;
    own->stands_in = stands_in(context, own);
    for (uint32_t i = 0; i < own->names_bytes; i += (uint32_t)strlen(own->names + i) + 1)
        if (lb_tls_names_add(&context->names, own->names + i, at) < 0)
            return lb_tls_no_memory(making);
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int add_certificates(struct lb_tls_making *making)
{
    uint32_t count = making->bundle.head->certificates;
    if (!count && making->context->kind == LB_TLS_LISTENER)
        return lb_tls_refuse(making, -EINVAL, "no certificate is given");
    for (uint32_t i = 0; i < count; i++) {
        int error = add_certificate(making, i);
        if (error)
            return error;
    }
    lb_tls_names_sort(&making->context->names);
    return 0;
}

static void *copy_of(const struct lb_bundle *bundle, struct lb_tls_text text)
{
    char *copy = malloc(text.length + 1);
    if (copy)
        memcpy(copy, lb_bundle_text(bundle, text), text.length + 1);
    return copy;
}

static int fill(struct lb_tls_making *making)
{
    struct lb_tls_context *context = making->context;
    const struct lb_tls_bundle *head = making->bundle.head;
    context->references = 1;
    context->kind = head->kind;
    context->verify = head->verify;
    context->http = head->http;
    context->own = calloc(head->certificates + 1, sizeof *context->own);
    if (head->alpn.length)
        context->alpn = copy_of(&making->bundle, head->alpn);
    if (head->name.length)
        context->name = copy_of(&making->bundle, head->name);
    context->alpn_bytes = head->alpn.length;
    int lacks = !context->own || (head->alpn.length && !context->alpn) || (head->name.length && !context->name);
    int error = lacks ? lb_tls_no_memory(making) : open_trusted(making);
    if (!error)
        error = make_ctx(making);
    if (!error)
        error = set_trust(making);
    return error ? error : add_certificates(making);
}

int lb_tls_context_open(struct lb_tls_context **context, const void *bytes, size_t count, char *why, size_t room)
{
    struct lb_tls_making making = {.why = why, .room = room};
    *context = NULL;
    if (lb_bundle_read(&making.bundle, bytes, count) < 0) {
        (void)snprintf(why, room, "the bundle is damaged");
        return -EINVAL;
    }
    int error = lb_openssl_open(lb_bundle_text(&making.bundle, making.bundle.head->library), why, room);
    if (error)
        return error;
    making.context = calloc(1, sizeof *making.context);
    error = making.context ? fill(&making) : lb_tls_no_memory(&making);
    for (uint32_t i = 0; i < making.trusted_count; i++)
        lb_ssl.X509_free(making.trusted[i]);
    free(making.trusted);
    if (error)
        lb_tls_context_release(making.context);
    else
        *context = making.context;
    return error;
}
