/* The first flight of a TLS client, read but never answered: whom it wants to reach, and in which protocols (RFC 8446 4.1.2,
 * RFC 5246 7.4.1.2). It changes nothing, and holds nothing beside what it found. */
#ifndef LB_HELLO_H
#define LB_HELLO_H

#include <stdint.h>

enum {
    LB_HELLO_MOST = 16384,                /* bytes of the ClientHello, without its own four of type and length */
    LB_HELLO_ROOM = LB_HELLO_MOST + 1024, /* with the headers of its records: who cuts it finer than that means no good */
};

enum lb_hello_fate { LB_HELLO_DONE, LB_HELLO_MORE, LB_HELLO_BAD };

struct lb_hello {
    char name[256];          /* server_name (RFC 6066 3) in lower case, without a last dot, NUL-ended */
    uint32_t name_length;    /* 0: none */
    char alpn[256];          /* the names as they came, each after its length byte (RFC 7301 3.1); a longer list is refused */
    uint32_t alpn_length;    /* 0: none */
    uint32_t protocol_count; /* names in alpn */
    uint16_t version;        /* the highest that is offered, 0x0304 for TLS 1.3; 0: supported_versions has none of TLS */
};

/* Read a connection's bytes from its first on: enum lb_hello_fate. What it found counts only when it is done; what follows the
 * hello is not looked at. Each answer but MORE is final: further bytes do not change it. */
__attribute__((warn_unused_result)) int lb_hello_read(struct lb_hello *hello, const uint8_t *data, uint32_t count);

/* Is this ALPN protocol offered? Compared byte by byte (RFC 7301 3.1). */
int lb_hello_offers(const struct lb_hello *hello, const char *protocol, uint32_t length);

#endif
