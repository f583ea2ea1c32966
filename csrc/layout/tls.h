/*
 * What the control plane tells a worker of TLS: one bundle a listener that ends TLS, one a pool that speaks it to its backends, and
 * the keys of session tickets. Each comes over the channel (LB_NOTE_TLS) as a sealed memfd that the worker reads once. Read by the C
 * compiler (through tls/bundle.h) and, as it stands, by cffi, as segment.h is: fixed-width integers, enums and plain structs.
 *
 *   head | certificates | text that both point into
 */
enum {
    LB_TLS_LAYOUT = 1,
    LB_TLS_MOST_BYTES = 16777216, /* of a bundle */
    LB_TLS_MOST_CERTIFICATES = 1024,
    LB_TICKET_KEYS = 3,
};

enum lb_tls_kind { LB_TLS_LISTENER = 1, LB_TLS_POOL = 2, LB_TLS_TICKETS = 3 };

/* Of a listener: is a certificate of the client's asked for? Of a pool: are the backends' checked (required) or not (off)? */
enum lb_tls_verify { LB_TLS_VERIFY_OFF = 0, LB_TLS_VERIFY_OPTIONAL = 1, LB_TLS_VERIFY_REQUIRED = 2 };

/* Bytes from the bundle's first on. Each text is followed by a NUL that is not counted; length 0: there is none. */
struct lb_tls_text {
    uint32_t at;
    uint32_t length;
};

/* The head of a listener's or a pool's bundle. */
struct lb_tls_bundle {
    uint32_t layout;            /* LB_TLS_LAYOUT */
    uint32_t kind;              /* enum lb_tls_kind */
    uint32_t bytes;             /* of the whole */
    uint32_t verify;            /* enum lb_tls_verify */
    uint32_t min_version;       /* 0x0303 for TLS 1.2, 0x0304 for 1.3 */
    uint32_t certificates;      /* of a pool: 0 or 1, our own */
    uint32_t certificates_at;   /* where their rows begin */
    uint32_t http;              /* of a listener: mode https */
    struct lb_tls_text library; /* path or name of libssl */
    struct lb_tls_text ciphers; /* of TLS 1.2, as OpenSSL names them; none: its default */
    struct lb_tls_text
        alpn; /* of a listener: names that are agreed on, each after its length byte (RFC 7301 3.1); the best first */
    struct lb_tls_text trusted; /* PEM: whose word on the peer is taken; none: the system's (of a pool) */
    struct lb_tls_text name;    /* of a pool: what the backends' certificates must say; none: the host of each one's address */
    uint8_t context[32];        /* what a ticket must have been given under to be good here */
};

/* A certificate. The first is for clients that name nobody whom we know. */
struct lb_tls_certificate {
    struct lb_tls_text chain; /* PEM, its own first */
    struct lb_tls_text key;   /* PEM, not encrypted */
    struct lb_tls_text ocsp;  /* DER of an OCSP response to staple */
};

/* The keys that seal session tickets (RFC 5077 4). New tickets are sealed with the first. */
struct lb_ticket_key {
    uint8_t name[16];
    uint8_t cipher[32];
    uint8_t mac[32];
};

struct lb_ticket_keys {
    uint32_t layout; /* LB_TLS_LAYOUT */
    uint32_t kind;   /* LB_TLS_TICKETS */
    uint32_t bytes;  /* of the whole */
    uint32_t count;  /* 1 .. LB_TICKET_KEYS */
    struct lb_ticket_key keys[3];
};
