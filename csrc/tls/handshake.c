#include "handshake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resumption.h"

enum {
    LARGEST_CERTIFICATE = 9216, /* bytes of a client's, DER: it must fit into a field of a request */
    TLS_1_3 = 0x0304,
};

/* The client's certificate as RFC 9440 2.1 wants it: DER in base64. 0, or -1 when it is too large to be passed on. */
static int keep_certificate(struct lb_tls *tls)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char der[LARGEST_CERTIFICATE], *end = der;
    X509 *certificate = lb_ssl.SSL_get1_peer_certificate(tls->ssl);
    if (!certificate)
        return 0;
    int count = lb_ssl.i2d_X509(certificate, NULL);
    if (count > 0 && count <= LARGEST_CERTIFICATE)
        count = lb_ssl.i2d_X509(certificate, &end);
    lb_ssl.X509_free(certificate);
    if (count <= 0 || count > LARGEST_CERTIFICATE || !(tls->certificate = malloc((size_t)(count + 2) / 3 * 4 + 1)))
        return -1;
    char *to = tls->certificate;
    for (int i = 0; i < count; i += 3) {
        uint32_t three =
            (uint32_t)der[i] << 16 | (i + 1 < count ? (uint32_t)der[i + 1] << 8 : 0) | (i + 2 < count ? der[i + 2] : 0);
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = (char)(i + 1 < count ? digits[three >> 6 & 63] : '=');
        *to++ = (char)(i + 2 < count ? digits[three & 63] : '=');
    }
    *to = 0;
    return 0;
}

static enum lb_tls_step shaken(struct lb_tls *tls)
{
    const struct lb_tls_context *rules = tls->context;
    int asked = rules->kind == LB_TLS_LISTENER && rules->http && rules->verify != LB_TLS_VERIFY_OFF;
    if (asked && keep_certificate(tls) < 0) {
        tls->broken = 1;
        return LB_TLS_FAILED;
    }
    tls->done = 1;
    return LB_TLS_DONE;
}

enum lb_tls_step lb_tls_shake(struct lb_tls *tls)
{
    lb_ssl.ERR_clear_error();
    int result = lb_ssl.SSL_do_handshake(tls->ssl);
    if (result == 1)
        return shaken(tls);
    switch (lb_ssl.SSL_get_error(tls->ssl, result)) {
    case LB_SSL_ERROR_WANT_READ:
    case LB_SSL_ERROR_WANT_WRITE:
        return LB_TLS_WAIT;
    default:
        tls->broken = 1;
        tls->reason = lb_ssl.ERR_peek_error();
        lb_ssl.ERR_clear_error();
        return LB_TLS_FAILED;
    }
}

int lb_tls_failure(const struct lb_tls *tls)
{
    if (tls->error)
        return tls->error;
    if (tls->ended)
        return ECONNRESET;
    int checked = tls->context->verify != LB_TLS_VERIFY_OFF; /* else OpenSSL has its opinion all the same */
    return checked && lb_ssl.SSL_get_verify_result(tls->ssl) != 0 ? EKEYREJECTED : EPROTO;
}

void lb_tls_failure_words(const struct lb_tls *tls, char *to, size_t room)
{
    enum { ALERTS_FROM = 1000, ALERTS_UNTIL = 1255, REASON_MASK = 0x7fffff };
    const unsigned long reason = tls->reason & REASON_MASK;
    const char *words = lb_ssl.ERR_reason_error_string(tls->reason);
    long checked = tls->context->verify != LB_TLS_VERIFY_OFF ? lb_ssl.SSL_get_verify_result(tls->ssl) : 0;
    if (reason == LB_SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        (void)snprintf(to, room, "it shows no certificate");
    else if (checked)
        (void)snprintf(to, room, "its certificate is not accepted: %s", lb_ssl.X509_verify_cert_error_string(checked));
    else if (!tls->reason)
        (void)snprintf(to, room, "its certificate is too large to be passed on");
    else if (reason >= ALERTS_FROM && reason <= ALERTS_UNTIL)
        (void)snprintf(to, room, "it ended the handshake: %s", words ? words : "an unknown alert");
    else
        (void)snprintf(to, room, "its handshake failed: %s", words ? words : "OpenSSL does not say why");
}

/* --- facts ---------------------------------------------------------------------------------------------------------- */

int lb_tls_resumed(const struct lb_tls *tls)
{
    return lb_ssl.SSL_session_reused(tls->ssl);
}

const char *lb_tls_version(const struct lb_tls *tls)
{
    return lb_ssl.SSL_get_version(tls->ssl);
}

const char *lb_tls_name(const struct lb_tls *tls)
{
    return lb_ssl.SSL_get_servername(tls->ssl, 0);
}

uint32_t lb_tls_alpn(const struct lb_tls *tls, const char **name)
{
    const unsigned char *chosen = NULL;
    unsigned int count = 0;
    lb_ssl.SSL_get0_alpn_selected(tls->ssl, &chosen, &count);
    *name = (const char *)chosen;
    return count;
}

int lb_tls_agreed_on(const struct lb_tls *tls, const char *protocol)
{
    const char *name;
    uint32_t length = lb_tls_alpn(tls, &name);
    return length == strlen(protocol) && memcmp(name, protocol, length) == 0;
}

int lb_tls_common_name(const struct lb_tls *tls, char *to, int room)
{
    X509 *certificate = lb_ssl.SSL_get1_peer_certificate(tls->ssl);
    if (!certificate)
        return 0;
    int length = lb_ssl.X509_NAME_get_text_by_NID(lb_ssl.X509_get_subject_name(certificate), LB_NID_commonName, to, room);
    lb_ssl.X509_free(certificate);
    return length > 0 ? length : 0;
}

/* --- callbacks ------------------------------------------------------------------------------------------------------ */

int lb_tls_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    const struct lb_tls *tls = lb_ssl.SSL_get_ex_data(ssl, LB_TLS_EX_DATA);
    int verdict = lb_tickets_key(&tls->shared->keys, name, iv, cipher, mac, sealing);
    /* a client of TLS 1.3 uses a ticket once (RFC 8446 C.4): it is given another each time */
    int once = !sealing && verdict == LB_TICKET_GOOD && lb_ssl.SSL_version(ssl) == TLS_1_3;
    return once ? LB_TICKET_OLD : verdict;
}

/* A backend gave us a ticket: 1, it is kept; 0, it is not. */
int lb_tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct lb_tls *tls = lb_ssl.SSL_get_ex_data(ssl, LB_TLS_EX_DATA);
    if (tls->backend >= tls->shared->backends)
        return 0;
    lb_resumption_keep(&tls->shared->resumption[tls->backend], session, tls->context, tls->tenant);
    return 1;
}
