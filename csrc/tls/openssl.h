/* OpenSSL 3, opened at run time: the one that Python uses, where it uses one, so that a process never holds two, and the
 * distribution's patches apply. No header of OpenSSL's is needed to build. What is declared here is compared with OpenSSL's own
 * headers, where they are installed, by tests/c/test_openssl.c.
 *
 * Once open, all threads share the table; it is never closed. */
#ifndef LB_OPENSSL_H
#define LB_OPENSSL_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_session_st SSL_SESSION;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct X509_name_st X509_NAME;
typedef struct x509_store_st X509_STORE;
typedef struct x509_store_ctx_st X509_STORE_CTX;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_mac_ctx_st EVP_MAC_CTX;
typedef struct engine_st ENGINE;
typedef struct ossl_lib_ctx_st OSSL_LIB_CTX;
typedef struct asn1_string_st ASN1_STRING;
typedef struct asn1_string_st ASN1_TIME;
typedef struct GENERAL_NAME_st GENERAL_NAME;
typedef struct stack_st_GENERAL_NAME GENERAL_NAMES;
typedef struct stack_st OPENSSL_STACK;
typedef struct stack_st_X509 X509_STACK;
typedef struct stack_st_SSL_CIPHER CIPHER_STACK;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct ossl_param_st OSSL_PARAM;
typedef int pem_password_cb(char *buf, int size, int rwflag, void *userdata);

#ifndef OPENSSL_CORE_H
struct ossl_param_st {
    const char *key;
    unsigned int data_type;
    void *data;
    size_t data_size;
    size_t return_size;
};
#endif

/* Its constants, with an LB_ before them. */
enum {
    LB_CERT_PKEY_SIGN = 2,
    LB_CERT_PKEY_EE_SIGNATURE = 16,
    LB_CERT_PKEY_EE_PARAM = 64,
    LB_EVP_PKEY_RSA = 6,
    LB_EVP_PKEY_RSA_PSS = 912,
    LB_NID_auth_rsa = 1046,
    LB_NID_auth_ecdsa = 1047,
    LB_BIO_CTRL_EOF = 2,
    LB_BIO_CTRL_FLUSH = 11,
    LB_BIO_CTRL_DUP = 12,
    LB_BIO_FLAGS_READ = 1,
    LB_BIO_FLAGS_WRITE = 2,
    LB_BIO_FLAGS_RWS = 7,
    LB_BIO_FLAGS_SHOULD_RETRY = 8,
    LB_GEN_DNS = 2,
    LB_NID_commonName = 13,
    LB_NID_subject_alt_name = 85,
    LB_SSL_CTRL_MODE = 33,
    LB_SSL_CTRL_CLEAR_MODE = 78,
    LB_SSL_CTRL_SET_READ_AHEAD = 41,
    LB_SSL_CTRL_SET_SESS_CACHE_MODE = 44,
    LB_SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53,
    LB_SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54,
    LB_SSL_CTRL_SET_TLSEXT_HOSTNAME = 55,
    LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB = 63,
    LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB_ARG = 64,
    LB_SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP = 71,
    LB_SSL_CTRL_SET_GROUPS_LIST = 92,
    LB_SSL_CTRL_SET_MIN_PROTO_VERSION = 123,
    LB_SSL_ERROR_WANT_READ = 2,
    LB_SSL_ERROR_WANT_WRITE = 3,
    LB_SSL_ERROR_SYSCALL = 5,
    LB_SSL_ERROR_ZERO_RETURN = 6,
    LB_SSL_MODE_ENABLE_PARTIAL_WRITE = 1,
    LB_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 2,
    LB_SSL_MODE_AUTO_RETRY = 4,
    LB_SSL_MODE_RELEASE_BUFFERS = 16,
    LB_SSL_SESS_CACHE_OFF = 0,
    LB_SSL_SESS_CACHE_CLIENT = 1,
    LB_SSL_SESS_CACHE_NO_INTERNAL = 0x300,
    LB_SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE = 199,
    LB_SSL_SENT_SHUTDOWN = 1,
    LB_SSL_RECEIVED_SHUTDOWN = 2,
    LB_SSL_TLSEXT_ERR_OK = 0,
    LB_SSL_TLSEXT_ERR_ALERT_FATAL = 2,
    LB_SSL_TLSEXT_ERR_NOACK = 3,
    LB_SSL_VERIFY_NONE = 0,
    LB_SSL_VERIFY_PEER = 1,
    LB_SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2,
    LB_X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 4,
};
#define LB_SSL_OP_IGNORE_UNEXPECTED_EOF (UINT64_C(1) << 7)
#define LB_SSL_OP_NO_COMPRESSION (UINT64_C(1) << 17)
#define LB_SSL_OP_NO_RENEGOTIATION (UINT64_C(1) << 30)

/* F(result, name, arguments): every function of libssl and libcrypto that is called. */
#define LB_OPENSSL(F) \
    F(const char *, OpenSSL_version, (int type)) \
    F(void, ERR_clear_error, (void)) \
    F(unsigned long, ERR_peek_error, (void)) \
    F(const char *, ERR_reason_error_string, (unsigned long error)) \
    F(void *, CRYPTO_malloc, (size_t count, const char *file, int line)) \
    F(int, RAND_bytes, (unsigned char *buffer, int count)) \
    F(BIO_METHOD *, BIO_meth_new, (int type, const char *name)) \
    F(int, BIO_meth_set_write, (BIO_METHOD * method, int (*write)(BIO *, const char *, int))) \
    F(int, BIO_meth_set_read, (BIO_METHOD * method, int (*read)(BIO *, char *, int))) \
    F(int, BIO_meth_set_ctrl, (BIO_METHOD * method, long (*ctrl)(BIO *, int, long, void *))) \
    F(BIO *, BIO_new, (const BIO_METHOD *method)) \
    F(BIO *, BIO_new_mem_buf, (const void *bytes, int count)) \
    F(int, BIO_free, (BIO * bio)) \
    F(void, BIO_set_data, (BIO * bio, void *data)) \
    F(void *, BIO_get_data, (BIO * bio)) \
    F(void, BIO_set_init, (BIO * bio, int init)) \
    F(void, BIO_set_flags, (BIO * bio, int flags)) \
    F(void, BIO_clear_flags, (BIO * bio, int flags)) \
    F(X509 *, PEM_read_bio_X509, (BIO * bio, X509 * *to, pem_password_cb * cb, void *context)) \
    F(EVP_PKEY *, PEM_read_bio_PrivateKey, (BIO * bio, EVP_PKEY * *to, pem_password_cb * cb, void *context)) \
    F(void, X509_free, (X509 * certificate)) \
    F(const ASN1_TIME *, X509_get0_notAfter, (const X509 *certificate)) \
    F(int, ASN1_TIME_to_tm, (const ASN1_TIME *from, struct tm *to)) \
    F(int, i2d_X509, (const X509 *certificate, unsigned char **to)) \
    F(X509_NAME *, X509_get_subject_name, (const X509 *certificate)) \
    F(int, X509_NAME_get_text_by_NID, (const X509_NAME *name, int nid, char *to, int room)) \
    F(void *, X509_get_ext_d2i, (const X509 *certificate, int nid, int *critical, int *index)) \
    F(int, X509_VERIFY_PARAM_set1_ip_asc, (X509_VERIFY_PARAM * param, const char *ip)) \
    F(int, X509_STORE_add_cert, (X509_STORE * store, X509 * certificate)) \
    F(int, X509_check_private_key, (const X509 *certificate, const EVP_PKEY *key)) \
    F(int, OPENSSL_sk_num, (const OPENSSL_STACK *stack)) \
    F(void *, OPENSSL_sk_value, (const OPENSSL_STACK *stack, int at)) \
    F(void, GENERAL_NAMES_free, (GENERAL_NAMES * names)) \
    F(void *, GENERAL_NAME_get0_value, (const GENERAL_NAME *name, int *type)) \
    F(const unsigned char *, ASN1_STRING_get0_data, (const ASN1_STRING *string)) \
    F(int, ASN1_STRING_length, (const ASN1_STRING *string)) \
    F(int, EVP_PKEY_get_base_id, (const EVP_PKEY *key)) \
    F(void, EVP_PKEY_free, (EVP_PKEY * key)) \
    F(EVP_CIPHER *, EVP_CIPHER_fetch, (OSSL_LIB_CTX * library, const char *name, const char *properties)) \
    F(int, EVP_EncryptInit_ex, \
      (EVP_CIPHER_CTX * context, const EVP_CIPHER *cipher, ENGINE *engine, const unsigned char *key, const unsigned char *iv)) \
    F(int, EVP_DecryptInit_ex, \
      (EVP_CIPHER_CTX * context, const EVP_CIPHER *cipher, ENGINE *engine, const unsigned char *key, const unsigned char *iv)) \
    F(int, EVP_MAC_CTX_set_params, (EVP_MAC_CTX * context, const OSSL_PARAM params[])) \
    F(OSSL_PARAM, OSSL_PARAM_construct_octet_string, (const char *key, void *bytes, size_t count)) \
    F(OSSL_PARAM, OSSL_PARAM_construct_utf8_string, (const char *key, char *text, size_t count)) \
    F(OSSL_PARAM, OSSL_PARAM_construct_end, (void)) \
    F(const SSL_METHOD *, TLS_server_method, (void)) \
    F(const SSL_METHOD *, TLS_client_method, (void)) \
    F(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *method)) \
    F(void, SSL_CTX_free, (SSL_CTX * context)) \
    F(long, SSL_CTX_ctrl, (SSL_CTX * context, int command, long number, void *argument)) \
    F(long, SSL_CTX_callback_ctrl, (SSL_CTX * context, int command, void (*callback)(void))) \
    F(uint64_t, SSL_CTX_set_options, (SSL_CTX * context, uint64_t options)) \
    F(int, SSL_CTX_set_cipher_list, (SSL_CTX * context, const char *ciphers)) \
    F(int, SSL_CTX_use_cert_and_key, (SSL_CTX * context, X509 * certificate, EVP_PKEY * key, X509_STACK * chain, int replace)) \
    F(int, SSL_use_cert_and_key, (SSL * ssl, X509 * certificate, EVP_PKEY * key, X509_STACK * chain, int replace)) \
    F(void, SSL_certs_clear, (SSL * ssl)) \
    F(void, SSL_CTX_set_cert_cb, (SSL_CTX * context, int (*cb)(SSL *, void *), void *argument)) \
    F(int, SSL_check_chain, (SSL * ssl, X509 * certificate, EVP_PKEY * key, X509_STACK * chain)) \
    F(CIPHER_STACK *, SSL_get_client_ciphers, (const SSL *ssl)) \
    F(CIPHER_STACK *, SSL_get_ciphers, (const SSL *ssl)) \
    F(uint32_t, SSL_CIPHER_get_id, (const SSL_CIPHER *cipher)) \
    F(const char *, SSL_CIPHER_get_name, (const SSL_CIPHER *cipher)) \
    F(const SSL_CIPHER *, SSL_get_current_cipher, (const SSL *ssl)) \
    F(int, SSL_CIPHER_get_auth_nid, (const SSL_CIPHER *cipher)) \
    F(OPENSSL_STACK *, OPENSSL_sk_new_null, (void)) \
    F(int, OPENSSL_sk_push, (OPENSSL_STACK * stack, const void *one)) \
    F(void, OPENSSL_sk_free, (OPENSSL_STACK * stack)) \
    F(const ASN1_TIME *, X509_get0_notBefore, (const X509 *certificate)) \
    F(int, SSL_CTX_set_session_id_context, (SSL_CTX * context, const unsigned char *id, unsigned int count)) \
    F(void, SSL_CTX_set_alpn_select_cb, \
      (SSL_CTX * context, \
       int (*cb)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *), void *argument)) \
    F(void, SSL_CTX_set_verify, (SSL_CTX * context, int mode, int (*cb)(int, X509_STORE_CTX *))) \
    F(X509_STORE *, SSL_CTX_get_cert_store, (const SSL_CTX *context)) \
    F(void, SSL_CTX_set1_cert_store, (SSL_CTX * context, X509_STORE * store)) \
    F(int, SSL_CTX_set_default_verify_paths, (SSL_CTX * context)) \
    F(int, SSL_CTX_add_client_CA, (SSL_CTX * context, X509 * certificate)) \
    F(int, SSL_CTX_set_tlsext_ticket_key_evp_cb, \
      (SSL_CTX * context, int (*cb)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int))) \
    F(int, SSL_CTX_set_num_tickets, (SSL_CTX * context, size_t count)) \
    F(void, SSL_CTX_sess_set_new_cb, (SSL_CTX * context, int (*cb)(SSL *, SSL_SESSION *))) \
    F(SSL *, SSL_new, (SSL_CTX * context)) \
    F(void, SSL_free, (SSL * ssl)) \
    F(void, SSL_set_bio, (SSL * ssl, BIO * from, BIO * to)) \
    F(void, SSL_set_accept_state, (SSL * ssl)) \
    F(void, SSL_set_connect_state, (SSL * ssl)) \
    F(int, SSL_do_handshake, (SSL * ssl)) \
    F(int, SSL_read, (SSL * ssl, void *to, int room)) \
    F(int, SSL_write, (SSL * ssl, const void *from, int count)) \
    F(int, SSL_has_pending, (const SSL *ssl)) \
    F(int, SSL_shutdown, (SSL * ssl)) \
    F(void, SSL_set_shutdown, (SSL * ssl, int mode)) \
    F(int, SSL_get_error, (const SSL *ssl, int result)) \
    F(long, SSL_ctrl, (SSL * ssl, int command, long number, void *argument)) \
    F(int, SSL_set_ex_data, (SSL * ssl, int index, void *data)) \
    F(void *, SSL_get_ex_data, (const SSL *ssl, int index)) \
    F(const char *, SSL_get_servername, (const SSL *ssl, int type)) \
    F(int, SSL_session_reused, (const SSL *ssl)) \
    F(void, SSL_get0_alpn_selected, (const SSL *ssl, const unsigned char **name, unsigned int *count)) \
    F(int, SSL_set_alpn_protos, (SSL * ssl, const unsigned char *names, unsigned int count)) \
    F(int, SSL_version, (const SSL *ssl)) \
    F(const char *, SSL_get_version, (const SSL *ssl)) \
    F(X509 *, SSL_get1_peer_certificate, (const SSL *ssl)) \
    F(X509 *, SSL_get_certificate, (const SSL *ssl)) \
    F(const char *, X509_verify_cert_error_string, (long error)) \
    F(long, SSL_get_verify_result, (const SSL *ssl)) \
    F(int, SSL_set_session, (SSL * ssl, SSL_SESSION * session)) \
    F(void, SSL_SESSION_free, (SSL_SESSION * session)) \
    F(int, SSL_set1_host, (SSL * ssl, const char *name)) \
    F(void, SSL_set_hostflags, (SSL * ssl, unsigned int flags)) \
    F(X509_VERIFY_PARAM *, SSL_get0_param, (SSL * ssl))

#define LB_OPENSSL_MEMBER(result, name, arguments) result(*name) arguments;
struct lb_openssl {
    LB_OPENSSL(LB_OPENSSL_MEMBER)
    EVP_CIPHER *ticket_cipher; /* fetched once: a look-up by name in each handshake is dear */
};
#undef LB_OPENSSL_MEMBER

/* All of its functions; valid once lb_openssl_open has succeeded in this process. */
extern struct lb_openssl lb_ssl;

/* Open libssl by path or name, once a process: 0, or -ELIBACC with the reason in words. */
__attribute__((warn_unused_result)) int lb_openssl_open(const char *library, char *why, size_t room);

#endif
