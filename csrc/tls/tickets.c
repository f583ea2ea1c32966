#include "tickets.h"

#include <string.h>

enum { IV_BYTES = 16 };

void lb_tickets_make_up(struct lb_ticket_keys *keys)
{
    *keys = (struct lb_ticket_keys){.layout = LB_TLS_LAYOUT, .kind = LB_TLS_TICKETS, .bytes = sizeof *keys, .count = 1};
    if (lb_ssl.RAND_bytes((unsigned char *)&keys->keys[0], sizeof keys->keys[0]) != 1)
        keys->count = 0; /* no tickets, then */
}

static int set_mac(EVP_MAC_CTX *mac, const struct lb_ticket_key *key)
{
    char digest[] = "SHA256";
    uint8_t secret[sizeof key->mac];
    memcpy(secret, key->mac, sizeof secret);
    OSSL_PARAM params[] = {lb_ssl.OSSL_PARAM_construct_octet_string("key", secret, sizeof secret),
                           lb_ssl.OSSL_PARAM_construct_utf8_string("digest", digest, 0), lb_ssl.OSSL_PARAM_construct_end()};
    int result = lb_ssl.EVP_MAC_CTX_set_params(mac, params);
    explicit_bzero(secret, sizeof secret);
    return result == 1;
}

static int seal(const struct lb_ticket_key *key, unsigned char name[16], unsigned char iv[16], EVP_CIPHER_CTX *cipher,
                EVP_MAC_CTX *mac)
{
    memcpy(name, key->name, sizeof key->name);
    if (lb_ssl.RAND_bytes(iv, IV_BYTES) != 1 || !set_mac(mac, key) ||
        lb_ssl.EVP_EncryptInit_ex(cipher, lb_ssl.ticket_cipher, NULL, key->cipher, iv) != 1)
        return LB_TICKET_FAILED;
    return LB_TICKET_GOOD;
}

int lb_tickets_key(const struct lb_ticket_keys *keys, unsigned char name[16], unsigned char iv[16], EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int sealing)
{
    if (!keys->count)
        return LB_TICKET_STRANGE; /* and OpenSSL gives an empty one, which nobody brings back */
    if (sealing)
        return seal(&keys->keys[0], name, iv, cipher, mac);
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct lb_ticket_key *key = &keys->keys[i];
        if (memcmp(name, key->name, sizeof key->name) != 0)
            continue;
        if (!set_mac(mac, key) || lb_ssl.EVP_DecryptInit_ex(cipher, lb_ssl.ticket_cipher, NULL, key->cipher, iv) != 1)
            return LB_TICKET_FAILED;
        return i ? LB_TICKET_OLD : LB_TICKET_GOOD;
    }
    return LB_TICKET_STRANGE;
}
