#include "pem.h"

#include <errno.h>

/* ERR_LIB_PEM and PEM_R_NO_START_LINE, as ERR_GET_LIB and ERR_GET_REASON find them in an error of OpenSSL 3. */
enum { LIBRARY_PEM = 9, NO_START_LINE = 108 };

int lb_pem_open(struct lb_pem *pem, const char *text, uint32_t length)
{
    *pem = (struct lb_pem){.bio = lb_ssl.BIO_new_mem_buf(text, (int)length)};
    return pem->bio ? 0 : -ENOMEM;
}

void lb_pem_close(struct lb_pem *pem)
{
    if (pem->bio)
        lb_ssl.BIO_free(pem->bio);
    lb_ssl.ERR_clear_error();
}

static int is_end(unsigned long error)
{
    return (error >> 23 & 0xff) == LIBRARY_PEM && (error & 0x7fffff) == NO_START_LINE;
}

X509 *lb_pem_certificate(struct lb_pem *pem, int *broken)
{
    lb_ssl.ERR_clear_error();
    X509 *certificate = lb_ssl.PEM_read_bio_X509(pem->bio, NULL, NULL, NULL);
    *broken = !certificate && !is_end(lb_ssl.ERR_peek_error());
    return certificate;
}

/* Nobody is there to type a password. */
static int refuse_password(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing;
    ((struct lb_pem *)context)->encrypted = 1;
    return -1;
}

EVP_PKEY *lb_pem_key(struct lb_pem *pem)
{
    lb_ssl.ERR_clear_error();
    return lb_ssl.PEM_read_bio_PrivateKey(pem->bio, NULL, refuse_password, pem);
}
