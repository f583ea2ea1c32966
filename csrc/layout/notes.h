/*
 * What the control plane and a worker say to each other over their channel. Read by the C compiler (through channel.h) and, as it stands,
 * by cffi, as segment.h is: fixed-width integers, enums and plain structs.
 */
enum lb_note_kind {
    /* to the worker */
    LB_NOTE_LISTEN = 1,   /* id: listener row; carries its socket; value: enum lb_listen, bits */
    LB_NOTE_UNLISTEN = 2, /* id: listener row; serve what is queued on it, then close it */
    LB_NOTE_DRAIN = 3,    /* value: milliseconds that sessions may still take; id: enum lb_drain */
    LB_NOTE_STOP = 4,     /* end now */
    LB_NOTE_WAKE = 5,     /* the table changed in a way that wants action: look at once */
    LB_NOTE_TLS = 6,      /* value: enum lb_tls_kind, id: listener or pool row; carries its bundle (tls.h); none: it ends */
    LB_NOTE_SUCCEED = 7,  /* carries a socket: the sessions of the worker before come by it (l4/udp_move.h) */
    LB_NOTE_MOVE = 8,     /* carries the other end: udp sessions go to the worker that comes, and no new ones begin here */
    /* from the worker */
    LB_NOTE_READY = 16,     /* the loop runs */
    LB_NOTE_LISTENING = 17, /* id: listener row that is served now; to a control plane that adopts: carries its socket */
    LB_NOTE_REFUSED = 19,   /* a struct lb_refusal: a client that got no further than its handshake */
    LB_NOTE_FAILING = 18,   /* id: backend row whose failures in a row reached the pool's bound; value: enum lb_failing */
    LB_NOTE_CLOSED = 21,    /* id: listener row that was to be unlistened, and has been closed */
    LB_NOTE_SHORTAGE = 20,  /* id: errno of what this host lacks; value: backend row that was to be reached, UINT32_MAX: none */
};

enum lb_drain { LB_DRAIN_GENTLY = 1 }; /* idle clients may ask once more */

enum lb_listen {
    LB_LISTEN_SESSIONS_FIRST = 1, /* udp sessions come first (LB_NOTE_SUCCEED) */
    LB_LISTEN_OWN = 2, /* a socket of this worker's that outlives nobody: shut down when it is not served any more, so that copies
                        * which forked processes have do not hold its port */
};

enum lb_failing { LB_FAILING_CONNECTS = 0, LB_FAILING_RESPONSES = 1 };

struct lb_note {
    uint32_t kind;
    uint32_t id;
    uint64_t value;
};

/* id: listener row; value: how many were refused since the last that was told. Longer than other notes. */
struct lb_refusal {
    struct lb_note note;
    uint8_t ip[16]; /* of the client; IPv4 mapped into IPv6 */
    uint16_t port;
    char words[110]; /* why, NUL-ended */
};
