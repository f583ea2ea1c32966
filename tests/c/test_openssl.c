/* What csrc/tls/openssl.h says of OpenSSL, against OpenSSL's own headers, where they are installed. The compiler does the comparing. */
#include <stdio.h>

#if __has_include(<openssl/ssl.h>)
#include <openssl/core.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tls/openssl.h"

#define SAME(name) _Static_assert((unsigned long long)LB_##name == (unsigned long long)(name), #name)
SAME(CERT_PKEY_SIGN);
SAME(CERT_PKEY_EE_SIGNATURE);
SAME(CERT_PKEY_EE_PARAM);
SAME(EVP_PKEY_RSA);
SAME(EVP_PKEY_RSA_PSS);
SAME(NID_auth_rsa);
SAME(NID_auth_ecdsa);
SAME(BIO_CTRL_EOF);
SAME(BIO_CTRL_FLUSH);
SAME(BIO_CTRL_DUP);
SAME(BIO_FLAGS_READ);
SAME(BIO_FLAGS_WRITE);
SAME(BIO_FLAGS_RWS);
SAME(BIO_FLAGS_SHOULD_RETRY);
SAME(GEN_DNS);
SAME(NID_commonName);
SAME(NID_subject_alt_name);
SAME(SSL_CTRL_MODE);
SAME(SSL_CTRL_CLEAR_MODE);
SAME(SSL_CTRL_SET_READ_AHEAD);
SAME(SSL_CTRL_SET_SESS_CACHE_MODE);
SAME(SSL_CTRL_SET_TLSEXT_SERVERNAME_CB);
SAME(SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG);
SAME(SSL_CTRL_SET_TLSEXT_HOSTNAME);
SAME(SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB);
SAME(SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB_ARG);
SAME(SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP);
SAME(SSL_CTRL_SET_GROUPS_LIST);
SAME(SSL_CTRL_SET_MIN_PROTO_VERSION);
SAME(SSL_ERROR_WANT_READ);
SAME(SSL_ERROR_WANT_WRITE);
SAME(SSL_ERROR_SYSCALL);
SAME(SSL_ERROR_ZERO_RETURN);
SAME(SSL_MODE_ENABLE_PARTIAL_WRITE);
SAME(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
SAME(SSL_MODE_AUTO_RETRY);
SAME(SSL_MODE_RELEASE_BUFFERS);
SAME(SSL_SESS_CACHE_OFF);
SAME(SSL_SESS_CACHE_CLIENT);
SAME(SSL_SESS_CACHE_NO_INTERNAL);
SAME(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
SAME(SSL_SENT_SHUTDOWN);
SAME(SSL_RECEIVED_SHUTDOWN);
SAME(SSL_TLSEXT_ERR_OK);
SAME(SSL_TLSEXT_ERR_ALERT_FATAL);
SAME(SSL_TLSEXT_ERR_NOACK);
SAME(SSL_VERIFY_NONE);
SAME(SSL_VERIFY_PEER);
SAME(SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
SAME(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
SAME(SSL_OP_IGNORE_UNEXPECTED_EOF);
SAME(SSL_OP_NO_COMPRESSION);
SAME(SSL_OP_NO_RENEGOTIATION);

#define ASSIGNABLE(result, name, arguments) \
    { \
        result(*declared) arguments = (name); \
        (void)sizeof declared; \
    }
static void functions_are_declared_alike(void)
{
    LB_OPENSSL(ASSIGNABLE)
}

int main(void)
{
    (void)functions_are_declared_alike; /* never called: nothing is linked */
    printf("ok openssl.h\n");
    return 0;
}
#else
int main(void)
{
    printf("skipped: OpenSSL's headers are not installed\n");
    return 0;
}
#endif
