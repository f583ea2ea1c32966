#include "own.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pem.h"

int lb_tls_refuse(struct lb_tls_making *making, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(making->why, making->room, format, arguments);
    va_end(arguments);
    lb_ssl.ERR_clear_error();
    return error;
}

const char *lb_tls_last_words(void)
{
    const char *words = lb_ssl.ERR_reason_error_string(lb_ssl.ERR_peek_error());
    return words ? words : "OpenSSL does not say why";
}

int lb_tls_no_memory(struct lb_tls_making *making)
{
    return lb_tls_refuse(making, -ENOMEM, "out of memory");
}

/* --- what it says --------------------------------------------------------------------------------------------------- */

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

static int64_t unix_time(const ASN1_TIME *time)
{
    struct tm parts = {0};
    return lb_ssl.ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

static int read_facts(struct lb_tls_making *making, struct lb_tls_own *own)
{
    GENERAL_NAMES *names = lb_ssl.X509_get_ext_d2i(own->certificate, LB_NID_subject_alt_name, NULL, NULL);
    int error = read_names(own, names);
    if (names)
        lb_ssl.GENERAL_NAMES_free(names);
    own->begins_s = unix_time(lb_ssl.X509_get0_notBefore(own->certificate));
    own->expires_s = unix_time(lb_ssl.X509_get0_notAfter(own->certificate));
    own->key_kind = lb_ssl.EVP_PKEY_get_base_id(own->key);
    return error ? lb_tls_no_memory(making) : 0;
}

/* --- its texts ------------------------------------------------------------------------------------------------------ */

static int read_key(struct lb_tls_making *making, struct lb_tls_own *own, uint32_t number, struct lb_tls_text text)
{
    struct lb_pem pem;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, text), text.length) < 0)
        return lb_tls_no_memory(making);
    int error = 0;
    if (!(own->key = lb_pem_key(&pem)))
        error = pem.encrypted
                  ? lb_tls_refuse(making, -EINVAL, "certificate %u: its key is encrypted", number)
                  : lb_tls_refuse(making, -EINVAL, "certificate %u: its key cannot be read: %s", number, lb_tls_last_words());
    lb_pem_close(&pem);
    return error;
}

static int read_chain(struct lb_tls_making *making, struct lb_tls_own *own, uint32_t number, struct lb_pem *pem)
{
    int broken;
    X509 *one;
    while ((one = lb_pem_certificate(pem, &broken))) {
        if (!own->chain)
            own->chain = (X509_STACK *)lb_ssl.OPENSSL_sk_new_null();
        if (!own->chain || lb_ssl.OPENSSL_sk_push((OPENSSL_STACK *)own->chain, one) <= 0) {
            lb_ssl.X509_free(one);
            return lb_tls_no_memory(making);
        }
    }
    return broken ? lb_tls_refuse(making, -EINVAL, "certificate %u: its chain: %s", number, lb_tls_last_words()) : 0;
}

static int read_certificates(struct lb_tls_making *making, struct lb_tls_own *own, uint32_t number, struct lb_pem *pem)
{
    int broken;
    own->certificate = lb_pem_certificate(pem, &broken);
    if (!own->certificate)
        return broken ? lb_tls_refuse(making, -EINVAL, "certificate %u: %s", number, lb_tls_last_words())
                      : lb_tls_refuse(making, -EINVAL, "certificate %u: no certificate is there", number);
    int error = read_facts(making, own);
    return error ? error : read_chain(making, own, number, pem);
}

static int take_staple(struct lb_tls_making *making, struct lb_tls_own *own, struct lb_tls_text ocsp)
{
    if (!ocsp.length)
        return 0;
    if (!(own->staple = malloc(ocsp.length)))
        return lb_tls_no_memory(making);
    memcpy(own->staple, lb_bundle_text(&making->bundle, ocsp), ocsp.length);
    own->staple_bytes = ocsp.length;
    return 0;
}

int lb_tls_own_read(struct lb_tls_making *making, struct lb_tls_own *own, uint32_t at)
{
    const struct lb_tls_certificate *given = &making->bundle.certificates[at];
    struct lb_pem pem;
    int error = read_key(making, own, at + 1, given->key);
    if (error)
        return error;
    if (lb_pem_open(&pem, lb_bundle_text(&making->bundle, given->chain), given->chain.length) < 0)
        error = lb_tls_no_memory(making);
    else
        error = read_certificates(making, own, at + 1, &pem);
    lb_pem_close(&pem);
    return error ? error : take_staple(making, own, given->ocsp);
}

void lb_tls_own_drop(struct lb_tls_own *own)
{
    OPENSSL_STACK *chain = (OPENSSL_STACK *)own->chain;
    for (int i = chain ? lb_ssl.OPENSSL_sk_num(chain) : 0; i > 0; i--)
        lb_ssl.X509_free(lb_ssl.OPENSSL_sk_value(chain, i - 1));
    if (chain)
        lb_ssl.OPENSSL_sk_free(chain);
    if (own->certificate)
        lb_ssl.X509_free(own->certificate);
    if (own->key)
        lb_ssl.EVP_PKEY_free(own->key);
    free(own->names);
    free(own->staple);
}
