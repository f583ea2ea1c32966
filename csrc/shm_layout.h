/*
 * The shared segment. Read by the C compiler and, as it stands, by cffi: fixed-width integers, enums and plain structs;
 * no include, no guard, no attribute. Padding is named. Sizes and offsets are asserted in table/shm.c.
 *
 *   head | listener rows | pool rows | backend rows | costs | routes (two copies) | views (two a pool) | clients |
 *   sections (workers, pickers)
 *
 * One writer per line, but for clients, which workers agree on: the control plane writes everything but the sections; each
 * worker, and each process that picks without the proxy, writes only its own.
 * Readers never lock. Offsets and indices, never pointers.
 */
enum {
    LB_LAYOUT = 13,      /* raised with every change of this file */
    LB_NAME = 64,        /* bytes of a name, NUL included */
    LB_ADDRESS = 96,     /* bytes of a printed address */
    LB_SOURCE = 16,      /* bytes of a backend's source */
    LB_REASON = 192,     /* bytes of a reason in words */
    LB_WINDOW = 8,       /* seconds that the retry budget looks back */
    LB_NO_POOL = 0x7fffffff,
    LB_MAX_WORKERS = 64,
    LB_PICKERS = 4,      /* sections of processes that pick without the proxy */
    LB_DECISIONS = 1024, /* that a section remembers */
    LB_MOST_COST = 65535, /* of one session or exchange */
    LB_KEY = 64,         /* bytes of a field's or a cookie's name, NUL included */
    LB_NETWORKS = 32,    /* trusted networks of a listener */
    LB_BODY = 1024,      /* bytes of a listener's own error body, NUL included */
    LB_ROUTES_BYTES = 1048576,  /* one copy of the routes */
    LB_EXPRESSION_BYTES = 1024, /* bytes of a route's regular expression */
    LB_TIMINGS = 4,             /* kinds of times that are kept of each pool: enum lb_timing */
    LB_TIMING_BUCKETS = 511,
    LB_RECORDS = 8192,          /* of what ended, that a section remembers for the access log */
    LB_RECORD_TEXT = 376,       /* bytes of a record's texts */
    LB_PASSED_HEADERS = 256,    /* bytes of the names of claim headers that a listener passes on, NUL included */
    LB_STICKY_ATTRIBUTES = 256, /* bytes of a sticky cookie's attributes, NUL included */
    LB_CLIENTS = 65536,         /* clients that are known where listeners limit them */
    LB_TIERS = 16,              /* a backend's tier is below this */
};

enum lb_mode { LB_MODE_TCP = 1, LB_MODE_HTTP = 2, LB_MODE_UDP = 3, LB_MODE_TLS = 4, LB_MODE_HTTPS = 5 };

enum lb_policy {
    LB_ROUND_ROBIN = 1,
    LB_LEAST_CONN = 2,
    LB_P2C = 3,
    LB_RANDOM = 4,
    LB_EWMA = 5,
    LB_MAGLEV = 6,
};

/* What maglev hashes. */
enum lb_hash_key { LB_HASH_ADDRESS = 0, LB_HASH_PATH = 1, LB_HASH_HEADER = 2, LB_HASH_COOKIE = 3 };

/* Which fields tell a backend who the client is. */
enum lb_forwarded { LB_FORWARDED_OFF = 0, LB_FORWARDED_X = 1, LB_FORWARDED_RFC7239 = 2, LB_FORWARDED_BOTH = 3 };

/* To which requests 103 and its like are passed on. */
enum lb_early_hints { LB_HINTS_BROWSERS = 0, LB_HINTS_ALWAYS = 1, LB_HINTS_NEVER = 2 };

/* Whose X-LB-Cost counts. */
enum lb_cost_header { LB_COST_TRUSTED = 0, LB_COST_ANY = 1 };

enum lb_route_host { LB_ROUTE_HOST_ANY = 0, LB_ROUTE_HOST_EXACT = 1, LB_ROUTE_HOST_WILDCARD = 2 };

enum lb_route_path {
    LB_ROUTE_PATH_ANY = 0,
    LB_ROUTE_PATH_EXACT = 1,
    LB_ROUTE_PATH_PREFIX = 2,
    LB_ROUTE_PATH_REGEX = 3,
};

enum lb_condition { LB_CONDITION_HEADER = 0, LB_CONDITION_COOKIE = 1, LB_CONDITION_ALPN = 2 };

enum lb_datapath { LB_AUTO = 0, LB_COPY = 1, LB_SPLICE = 2, LB_OFFLOAD = 3 };

enum lb_row_state { LB_ROW_FREE = 0, LB_ROW_LIVE = 1 };

enum lb_backend_state {
    LB_FREE = 0,     /* no backend here */
    LB_STARTING = 1, /* known, not proven yet: no sessions */
    LB_UP = 2,       /* takes new sessions */
    LB_BUSY = 3,     /* alive, no new sessions for a while */
    LB_DRAINING = 4, /* no new sessions, old ones finish */
    LB_DOWN = 5,     /* no new sessions, judged dead */
    LB_GONE = 6,     /* removed: its sessions are cut, the slot rests until none is left */
};

enum lb_worker_state {
    LB_WORKER_ABSENT = 0,
    LB_WORKER_SERVING = 1,
    LB_WORKER_DRAINING = 2,
    LB_WORKER_GONE = 3,
    LB_WORKER_PICKING = 4, /* the section belongs to a process that picks without the proxy */
};

/* Why a worker passes a backend over: table/avoid.h. */
enum lb_avoided { LB_AVOIDED_NOT = 0, LB_AVOIDED_UNREACHABLE = 1, LB_AVOIDED_STOPPING = 2 };

/* Why a decision fell as it did. */
enum lb_why {
    LB_WHY_NONE = 0,   /* nobody could be picked */
    LB_WHY_TURN = 1,   /* it was its turn in the schedule, or the draw fell on it */
    LB_WHY_BETTER = 2, /* of two candidates it had the lower score */
    LB_WHY_LEAST = 3,  /* of all it had the lowest score */
    LB_WHY_ALONE = 4,  /* no second candidate was found */
    LB_WHY_KEY = 5,    /* the key falls to it */
    LB_WHY_MOVED = 6,  /* the key's own backend was full, not usable, or ramping up */
    LB_WHY_SEARCH = 7, /* the schedule offered nobody usable: the first of the members that was */
    LB_WHY_STICKY = 8, /* the client's cookie names it */
    LB_WHY_LOGIN = 9,  /* the client has logged in on a connection to it */
    LB_WHY_RESERVE = 10, /* a backup: nobody of the tier that takes turns could be had */
    LB_WHY_TRIAL = 11, /* it is passed over after failures, but for single trials: this is one */
    LB_WHY_LAST = 12,  /* all others are passed over after failures, too */
};

/* What came of a decision. */
enum lb_fate {
    LB_FATE_OPEN = 0, /* under way */
    LB_FATE_DONE = 1,
    LB_FATE_UNREACHABLE = 2, /* the connect failed */
    LB_FATE_FAILED = 3,      /* a failed response, or a connection that broke off */
    LB_FATE_LEFT = 4,        /* the client went */
    LB_FATE_ENDED = 5,       /* the balancer ended it: a time limit, a cut, a stop */
    LB_FATE_SHORTAGE = 6,    /* this host lacked a port, a descriptor or memory for the connect */
};

/* What is timed. */
enum lb_timing {
    LB_TIMING_RESPONSE =
        0,   /* from a request's whole head to its response's; udp: from a datagram to the first one that responses */
    LB_TIMING_REQUEST = 1, /* from a request's whole head to the end of a backend's response */
    LB_TIMING_CONNECT = 2,  /* of a connect to a backend that succeeded, TLS included */
    LB_TIMING_SESSION = 3,  /* from the opening of a session to its end */
};

/* What a record is about. */
enum lb_record_kind { LB_RECORD_EXCHANGE = 0, LB_RECORD_SESSION = 1, LB_RECORD_DATAGRAMS = 2, LB_RECORD_REFUSED = 3 };

/* Why a session or an exchange ended: table/ending.h says what each means. */
enum lb_end {
    LB_ENDED_DONE = 0,
    LB_ENDED_CLIENT = 1,       /* the client left before it was done */
    LB_ENDED_BACKEND = 2,      /* the backend broke off */
    LB_ENDED_IDLE = 3,         /* nothing moved for too long */
    LB_ENDED_HALF = 4,         /* one side was over, the other did not follow in time */
    LB_ENDED_CUT = 5,          /* its backend was removed, and the drain time ran out */
    LB_ENDED_STOPPED = 6,      /* the balancer stopped */
    LB_ENDED_NO_BACKEND = 7,   /* the pool had none to offer */
    LB_ENDED_UNREACHABLE = 8,  /* no backend accepted a connection */
    LB_ENDED_RESOURCE = 9,     /* the balancer had no place, descriptor or buffer left */
    LB_ENDED_LOCAL = 10,       /* it got a local response */
    LB_ENDED_LIMITED = 11,     /* its client has or opens too many */
    LB_ENDED_SLOW = 12,        /* its client was slower than min_body_rate */
    LB_ENDED_CLIENT_EARLY = 13, /* the client left before a backend was reached; recorded as LB_ENDED_CLIENT */
    LB_ENDED_TOO_FAST = 14,    /* its client opens too many a second; recorded as LB_ENDED_LIMITED */
    /* not recorded */
    LB_ENDED_PREREAD = 15,     /* no PROXY header or ClientHello came in time, or a bad one */
    LB_ENDED_HANDSHAKE = 16,   /* no TLS session came about */
    LB_ENDED_MOVED = 17,       /* of udp: another worker has it now */
    LB_ENDINGS = 18,
};

/* What a record says by a bit. */
enum lb_record_flag {
    LB_RECORD_REUSED = 1,    /* on a connection that was kept */
    LB_RECORD_TRUNCATED = 2, /* its host or path is longer than there is room for */
    LB_RECORD_LOGGED = 4,    /* it is for the access log: not left out by sampling */
    LB_RECORD_TRACED = 8,    /* it is for the trace */
    LB_RECORD_TLS = 16,      /* the client spoke TLS with us */
    LB_RECORD_BY_CLIENT = 32,  /* of a session that is done: this side finished first */
    LB_RECORD_BY_BACKEND = 64,
};

/* What the control plane counts of itself. */
enum lb_count {
    LB_COUNT_PROBES_GOOD = 0,
    LB_COUNT_PROBES_BAD = 1,
    LB_COUNT_SHORTAGES_PROBE = 2,
    LB_COUNT_SHORTAGES_LOOKUP = 3,
    LB_COUNT_REGISTRATIONS = 4,
    LB_COUNT_HEARTBEATS = 5,
    LB_COUNT_RELOADS_TAKEN = 6,
    LB_COUNT_RELOADS_REFUSED = 7,
    LB_COUNT_SPANS_SENT = 8,
    LB_COUNT_SPANS_LOST = 9,
    LB_COUNT_REFUSED_401 = 10, /* calls of the admin server that were answered so, as are the next */
    LB_COUNT_REFUSED_403 = 11,
    LB_COUNT_REFUSED_422 = 12,
    LB_COUNT_REFUSED_429 = 13,
};

/* CPU time of a place in the balancer, over all processes that have had it. */
struct lb_spent {
    uint64_t before_us; /* of the processes before this one, as far as it was seen */
    uint64_t seen_us;   /* of all, when it was looked at last */
    uint32_t pid;       /* of the process that has the place */
    uint8_t pad0[4];
};

/* The first bytes of the segment. Written once at creation, except from `generation` on. */
struct lb_head {
    uint64_t magic;
    uint32_t layout;
    uint32_t head_size; /* sizeof of each struct as the writer knew it: drift is refused on attach */
    uint32_t listener_size;
    uint32_t pool_size;
    uint32_t backend_size;
    uint32_t worker_size;
    uint32_t health_size;
    uint32_t max_listeners;
    uint32_t max_pools;
    uint32_t max_backends;
    uint32_t max_slots; /* entries of a view's schedule */
    uint32_t workers;   /* their sections are 0 .. workers - 1 */
    uint64_t bytes;
    uint64_t off_listeners;
    uint64_t off_pools;
    uint64_t off_backends;
    uint64_t off_costs;
    uint64_t off_routes;
    uint64_t off_views;
    uint64_t view_stride;
    uint64_t off_workers; /* the sections: workers first, then pickers */
    uint64_t worker_stride;
    uint64_t off_budgets;  /* inside a section */
    uint64_t off_health; /* inside a section */
    uint64_t off_active;   /* inside a section: sessions and exchanges by backend */
    uint64_t off_charged;  /* likewise: what they cost */
    uint64_t off_decisions; /* inside a section */
    uint64_t started_ms;   /* Unix time */
    uint32_t control_pid;
    uint32_t datapath;
    uint8_t name[64];
    uint8_t version[24];
    uint32_t decision_size;
    uint32_t histogram_size;
    uint64_t off_timings; /* inside a section: histograms, LB_TIMINGS a pool */
    uint64_t off_tallies; /* inside a section: of the listeners, then of the pools */
    uint64_t off_records; /* inside a section */
    uint32_t tally_size;
    uint32_t record_size;
    uint64_t off_clients;
    uint64_t off_counted; /* inside a section: open sessions by row of clients */
    uint8_t client_key[16]; /* secret: nobody else knows who shares a row with whom */
    uint32_t client_size;
    uint32_t not_ready; /* as readyz says: the balancer leaves, or nobody can serve; what health_path of listeners answers */
    uint64_t hanging[2]; /* a bit for each section whose worker does not turn although asked to; written by the control plane */
    uint8_t pad0[8];
    /* the line that changes: written by the control plane */
    uint64_t generation;     /* raised by every change of the table */
    uint64_t row_generation; /* the last generation given to a backend row */
    uint64_t cuts;           /* raised when sessions of a row are to be cut (table/table.h): workers look for them */
    uint32_t draining;
    uint32_t rows_used; /* backend rows below this index have been used at some time */
    uint32_t routes;    /* publication counter of the routes; its lowest bit names the current copy */
    uint32_t sections;  /* those that count: workers, and pickers as far as any has joined (raised by pickers) */
    uint32_t log_every;   /* one of so many endings is recorded for the access log, and every failure; 0: none is */
    uint32_t trace_every; /* one of so many exchanges that bring no trace begins one; 0: traces are not looked at */
    uint64_t log_written; /* lines of the access log */
    uint64_t log_lost;    /* records that were overwritten before they could be written */
    uint64_t counts[16];  /* by enum lb_count; any thread of the control plane adds to them */
    struct lb_spent spent[65]; /* of the control plane, then of the worker of each section; written by whoever scrapes them */
    uint8_t pad1[40];
};

/* An address range; IPv4 is mapped into IPv6 (RFC 4291 2.5.5.2). */
struct lb_network {
    uint8_t ip[16];
    uint32_t bits;
    uint8_t pad0[12];
};

/* A listener. Writer: control plane. */
struct lb_listener_row {
    uint32_t state;
    uint32_t mode;
    uint32_t pool; /* index of its pool row; LB_NO_POOL: only routes lead on */
    uint32_t idle_timeout_ms;
    uint32_t half_closed_timeout_ms;
    /* mode http */
    uint32_t header_timeout_ms;
    uint32_t body_timeout_ms;
    uint32_t keepalive_timeout_ms;
    uint32_t max_header_bytes;   /* bytes */
    uint32_t max_target; /* bytes */
    uint32_t max_headers;
    uint32_t forwarded;  /* enum lb_forwarded */
    uint64_t max_body;   /* bytes; 0: no limit */
    uint32_t request_id; /* give every request one */
    uint32_t half_close; /* a client's FIN is no edits */
    uint32_t network_count;
    uint32_t responses; /* mode udp: replies to each datagram, after which a session ends; 0: not known */
    uint32_t accept_proxy; /* trusted peers begin with a PROXY header */
    uint32_t terminates;   /* mode https, and tls with a certificate: TLS ends here */
    uint64_t certificate_expires_s; /* Unix time: when the first of its certificates does; 0: it has none */
    uint32_t tenant;       /* never given twice: a row that is taken anew shares no figures with the listener that had it */
    uint32_t client_limits; /* any of the next is set; 0: none is looked at */
    uint32_t max_client_sessions;  /* of one client address; here and in the next two 0: no limit */
    uint32_t client_session_rate;  /* a second */
    uint32_t client_session_burst; /* at once; at least 1 */
    uint32_t client_request_rate;  /* mode http: a second */
    uint32_t client_request_burst;
    uint32_t min_body_rate; /* mode http: bytes a second of a body that its client sends or takes at least; 0: none */
    uint32_t early_hints;   /* mode http: enum lb_early_hints */
    uint32_t cost_header;   /* mode http: enum lb_cost_header */
    uint32_t lingering_time_ms;    /* mode http: how long what a client sends behind its last response is read; 0: it is not */
    uint32_t lingering_timeout_ms; /* the longest pause in that */
    uint8_t pad0[56];
    uint8_t name[64];
    uint8_t address[96];
    uint8_t error_type[96];   /* media type of the body below */
    uint8_t error_body[1024]; /* of responses that the balancer makes; empty: its own words */
    uint8_t passed_headers[256]; /* claim headers that strangers may bring: lower case, '-' for '_', apart by spaces */
    uint8_t health_path[128]; /* mode http: a GET of it is answered here; empty: none is */
    struct lb_network networks[32]; /* peers whose word on the client is taken */
};

/* A pool. Writer: control plane. */
struct lb_pool_row {
    uint32_t state;
    uint32_t policy;
    uint32_t connect_timeout_ms;
    uint32_t retries;        /* further backends that a session may try */
    uint32_t budget_percent; /* retries allowed, as a share of sessions ... */
    uint32_t budget_floor;   /* ... and each second in any case */
    uint32_t max_connect_failures;     /* connect failures in a row that are reported; 0: never */
    uint32_t tcp_keepalive_s;    /* TCP keep-alive idle time; 0: off */
    uint32_t user_timeout_ms;
    uint32_t view; /* publication counter; its lowest bit names the current view */
    uint32_t max_active; /* sessions or exchanges on one backend; 0: no limit */
    /* what follows is for exchanges */
    uint32_t max_failed_responses; /* failed responses in a row that are reported; 0: never */
    uint32_t response_timeout_ms;
    uint32_t queue;            /* exchanges that may wait for a backend, each worker */
    uint32_t queue_timeout_ms;
    uint32_t backend_idle_timeout_ms;  /* how long an idle connection is kept for a backend that does not say; 0: none is */
    uint32_t max_idle_connections; /* idle connections to one backend, each worker; more than that for a second at most */
    uint32_t hash_key;  /* enum lb_hash_key */
    uint32_t retry_after_s; /* what 503 tells clients */
    uint32_t max_cost;      /* the most that X-LB-Cost may charge; 0: it is not read */
    uint32_t send_proxy;    /* version of the PROXY header that connections begin with; 0: none */
    uint32_t tls;           /* TLS is spoken to its backends */
    uint32_t tenant;        /* never given twice: a row that is taken anew shares no figures with the pool that had it */
    uint32_t trailers;      /* those of requests go on to its backends */
    uint32_t max_response_header_bytes;
    uint32_t max_response_headers;
    uint32_t sticky_moves;  /* bound clients leave a backend that drains at once */
    uint32_t sticky_secure; /* the cookie is Secure whatever the listener */
    uint32_t send_timeout_ms; /* how long a backend may take no byte of a request */
    uint32_t cuts_down;     /* sessions of a backend that is LB_DOWN are cut */
    uint32_t outage;        /* no backend is usable by its own evidence; set apart from the rest of the row */
    uint8_t pad0[4];
    uint8_t name[64];
    uint8_t hash_name[64];   /* of the field or cookie that is hashed, fields in lower case */
    uint8_t sticky[64];      /* the cookie's name; empty: off */
    uint8_t sticky_key[16];  /* secret */
    uint8_t failed_statuses[16]; /* a bit for each status from 500 on that counts towards max_failed_responses */
    uint8_t pad1[32];
    uint8_t sticky_attributes[256]; /* of the cookie, as they stand in Set-Cookie */
};

/* What is known of a backend that its state may hide, as while an operator drains it. */
enum lb_known { LB_KNOWN_DEAD = 1, LB_KNOWN_PROVEN = 2 };

/* A backend. Writer: control plane. The first line is all that the data path reads. */
struct lb_backend_row {
    uint64_t generation; /* never given twice: an address that comes back shares nothing with its ghost */
    uint32_t state;
    uint32_t pool;
    uint32_t weight;
    float load;      /* 0..1 as reported; negative: unknown */
    uint16_t family; /* AF_INET or AF_INET6 */
    uint16_t port;   /* host byte order */
    uint32_t scope;  /* IPv6 scope id */
    uint8_t ip[16];
    uint32_t text_version; /* odd while the strings below are being written */
    uint32_t ramp_from_ms; /* slow start: monotonic, low 32 bits */
    uint32_t ramp_ms;      /* how long its share grows; 0: it has all of it */
    float elsewhere;       /* what it says to have under way beside what came from here */
    uint8_t address[96];
    uint8_t source[16];
    uint8_t reason[192];
    uint64_t leaves_ms; /* monotonic: when its last sessions are cut; 0: it stays */
    float capacity;     /* as declared; 0: not */
    uint8_t tier;       /* picked only while no backend of a lower tier is usable; below LB_TIERS */
    uint8_t kept;       /* LB_UP only because nobody is better: its own evidence says something else */
    uint8_t known;      /* enum lb_known, bits: for the next control plane */
    uint8_t instances;  /* processes that have registered it and not said goodbye: likewise */
};

/* A client address of a listener: table/clients.h. Writers: workers, by compare-and-swap. */
struct lb_client {
    uint64_t key;        /* keyed hash of listener and address; 0: free */
    uint64_t session_ns; /* monotonic: when its next session comes if they come evenly */
    uint64_t request_ns; /* likewise its next request */
    uint64_t pad0;
};

/* One of a pool's two views; max_backends members (u32) and max_slots slots (u32) follow. Writer: control plane. */
struct lb_view {
    uint32_t members; /* usable backends of the lowest tier that has any: who takes turns */
    uint32_t slots;   /* entries of the schedule: each member as often as its weight, evenly spaced; of maglev: the table */
    uint64_t weight;  /* of all members */
    uint32_t tier;    /* theirs */
    uint32_t reserve; /* usable backends of higher tiers: they follow the members, in the order of their tiers */
    uint8_t pad0[40];
};

/* The routes, in one of two copies: this head, the rows, the conditions, the text that both point into. Writer: control plane. */
struct lb_routes_head {
    uint32_t count;
    uint32_t conditions;
    uint32_t text_bytes;
    uint32_t pad0;
};

/* One route. Offsets are into the text. */
struct lb_route_row {
    uint32_t listener; /* row; UINT32_MAX: any */
    uint32_t pool; /* row */
    uint32_t host; /* lower case; of a wildcard without its star: ".example.com" */
    uint32_t host_length;
    uint32_t path; /* normal (l7/path.h); of a prefix without its last slash; or the expression */
    uint32_t path_length;
    uint32_t methods; /* names apart by spaces; none: any */
    uint32_t methods_length;
    uint32_t condition; /* the first of its conditions; all must hold */
    uint32_t condition_count;
    uint32_t host_kind; /* enum lb_route_host */
    uint32_t path_kind; /* enum lb_route_path */
    uint32_t cost; /* of a request that does not say; 0: 1 */
    uint32_t pad0[3];
};

/* One condition of a route. */
struct lb_condition_row {
    uint32_t kind; /* enum lb_condition */
    uint32_t present; /* the value does not matter */
    uint32_t name; /* a header's in lower case */
    uint32_t name_length;
    uint32_t value;
    uint32_t value_length;
};

/* What a worker counts. Writer: the worker; the supervisor after its death. All but gauges only grow.
 *   accepted = active + closed + refused
 *   refused  = refused_no_backend + refused_connect + refused_client_aborts + refused_resource + refused_preread
 *              + refused_handshake + refused_client_sessions + refused_client_rate
 *   closed   = closed_done + closed_client_reset + closed_backend_reset + closed_idle + closed_half + closed_slow
 *              + closed_cut + closed_stopped + closed_lost + closed_moved
 *   requests = requests_active + requests_done + requests_refused + requests_client_aborts + requests_failed
 *               + requests_stopped + requests_lost */
struct lb_worker_row {
    uint32_t pid;
    uint32_t state;
    uint64_t heartbeat_ms; /* monotonic time of the last turn */
    uint64_t generation; /* table generation seen last */
    uint64_t accepted;
    uint64_t active; /* gauge */
    uint64_t closed;
    uint64_t refused;
    uint64_t bytes_in; /* client to backend */
    uint64_t bytes_out; /* backend to client */
    uint64_t bytes_spliced;
    uint64_t refused_no_backend; /* the pool had none to offer */
    uint64_t refused_connect; /* no backend could be reached */
    uint64_t refused_client_aborts; /* the client went before a backend answered */
    uint64_t refused_resource; /* no descriptor or port was left */
    uint64_t closed_done; /* both sides finished */
    uint64_t closed_client_reset;
    uint64_t closed_backend_reset;
    uint64_t closed_idle;
    uint64_t closed_half; /* the second side did not finish in time */
    uint64_t closed_cut; /* its backend was removed and the drain time ran out */
    uint64_t closed_stopped; /* the balancer stopped */
    uint64_t closed_lost; /* the worker died */
    uint64_t connects;
    uint64_t connect_failures;
    uint64_t connect_timeouts; /* part of connect_failures */
    uint64_t retries;
    uint64_t retries_denied; /* the budget was spent */
    uint64_t accept_errors;
    uint64_t accept_pauses; /* times that a bound stopped accepting */
    uint64_t buffer_waits; /* reads put off because every buffer was held */
    uint64_t pipe_misses; /* streams that copied because no pipe was free */
    uint64_t quickacks;
    uint64_t buffers; /* gauge: buffers held */
    uint64_t pipes; /* gauge: pipes held by sessions */
    uint64_t turns;
    uint64_t requests; /* requests that a client began to send */
    uint64_t requests_active; /* gauge */
    uint64_t requests_done; /* a backend's response was delivered, or the connection went over to another protocol */
    uint64_t requests_refused; /* it got a local response */
    uint64_t requests_client_aborts; /* the client went before its response was delivered */
    uint64_t requests_failed; /* the response broke off */
    uint64_t requests_stopped; /* the balancer stopped, or their backend was removed, in the middle */
    uint64_t requests_lost; /* the worker died */
    uint64_t requests_queued; /* had to wait for a backend */
    uint64_t queued; /* gauge: that wait now */
    uint64_t responses_1xx; /* sent to clients, the balancer's own included */
    uint64_t responses_2xx;
    uint64_t responses_3xx;
    uint64_t responses_4xx;
    uint64_t responses_5xx;
    uint64_t requests_bad; /* refused by the reader: what of an exchange broke the rules of HTTP or a limit */
    uint64_t responses_bad; /* likewise of backends */
    uint64_t response_timeouts;
    uint64_t connections_reused; /* exchanges on a connection that was kept */
    uint64_t connections_kept; /* gauge: idle connections to backends */
    uint64_t connections_stale; /* kept connections that were closed by the backend when a request came */
    uint64_t replays; /* requests sent again because of that, or because a fresh one ended before a byte of a response */
    uint64_t upgrades;
    uint64_t routes_refused; /* times that new routes could not be compiled: out of memory */
    uint64_t decisions; /* picks, and the number of the last one in the ring */
    uint64_t datagrams_in; /* client to backend */
    uint64_t datagrams_out; /* backend to client */
    uint64_t datagrams_dropped; /* lost here: no place, no backend, or no room in a socket */
    uint64_t refused_preread; /* no PROXY header or ClientHello came in time, or a bad one; part of refused */
    uint64_t refused_handshake; /* no TLS session came about: refused by either side, or too late; part of refused */
    uint64_t handshakes; /* TLS sessions of clients that came about */
    uint64_t handshakes_resumed; /* of these: by a ticket */
    uint64_t handshakes_active; /* gauge: under way with clients, those that wait their turn apart */
    uint64_t backend_handshakes; /* TLS sessions with backends that came about */
    uint64_t backend_handshakes_resumed;
    uint64_t backend_handshakes_failed;
    uint64_t tls_refused; /* times that new rules of TLS could not be taken: out of memory */
    uint64_t records; /* endings that were recorded, and the number of the last one in the ring */
    uint64_t refused_client_sessions; /* its client had max_client_sessions; part of refused */
    uint64_t refused_client_rate; /* its client opened more than client_session_rate; part of refused */
    uint64_t requests_limited; /* 429: its client asked more than client_request_rate; part of requests_refused */
    uint64_t clients_counted; /* gauge: sessions that are counted by their client's address */
    uint64_t clients_uncounted; /* could not be: all rows had sessions open */
    uint64_t offloads; /* sessions that were handed to the kernel */
    uint64_t offloads_local; /* part of offloads: to backends of this host */
    uint64_t offload_misses; /* that were to be, and could not */
    uint64_t bytes_offloaded; /* part of bytes_in and bytes_out: forwarded by the kernel */
    uint64_t requests_slow; /* 408: its client sent the body more slowly than min_body_rate; part of requests_refused */
    uint64_t closed_slow; /* likewise under a response that had begun, or took the response more slowly; part of closed */
    uint64_t closed_moved; /* of udp: it went over to the worker that replaces this one, where it was accepted; part of closed */
    uint32_t forwards; /* what the kernel forwards for it: enum lb_offload_which (l4/offload), bits */
    uint32_t forwards_asked; /* what it was to; more than that where its program could not be loaded */
    uint64_t connections_unsolicited; /* connections to backends that were closed for bytes that nothing was asked for */
    uint64_t shortages; /* connects that this host lacked a port, a descriptor or memory for: no backend's fault */
};

/* Sessions and retries of a pool in the last seconds, as one worker saw them. Writer: the worker. */
struct lb_budget {
    uint32_t second[8]; /* which second an entry counts */
    uint32_t sessions[8];
    uint32_t retries[8];
    uint32_t active; /* gauge: what sessions and exchanges on backends cost */
    uint32_t queued; /* gauge: exchanges that wait for a backend */
    uint32_t tenant; /* whose times these are: those of an earlier one are forgotten with the first of the next */
    uint32_t timed; /* bit of each lb_timing that holds anything: the others' pages are not touched */
    uint32_t wary_until_ms; /* monotonic, low 32 bits: until then a pick looks at whom it should pass over (table/avoid.h) */
    uint8_t pad0[12];
};

/* How long things took: a page for each lb_timing of a pool. Bucket b holds whole microseconds, b itself below 16, else
 * (16 + b % 16) << (b / 16 - 1) up to the next one's first: none is wider than a sixteenth of what it holds. The last holds all that
 * is longer, 8.9 hours and more. Writer: the worker. */
struct lb_histogram {
    uint64_t count[511];
    uint64_t sum_us;
};

/* What ended at a listener, or of a pool. Writer: the worker. */
struct lb_tally {
    uint64_t accepted; /* of listeners: connections, and udp sessions */
    uint64_t sessions; /* of tcp, tls and udp, and upgraded ones: those that ended */
    uint64_t requests;
    uint64_t failed; /* of both: ended by a backend that broke off or could not be had, or for want of something here */
    uint64_t client_aborts; /* of both: the client went */
    uint64_t local_responses; /* exchanges that got a local response */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t responses[5]; /* 1xx (upgrades) to 5xx, the balancer's own included */
    uint64_t limited; /* connections, udp sessions and exchanges that a limit per client address refused */
    uint32_t tenant; /* whose figures these are */
    uint8_t pad0[12];
};

/* One ending, in a section's ring: number n lies at n % LB_RECORDS. Writer: the worker, who never waits; whoever reads it copies it,
 * and sees by the worker's `records` that it was not overwritten meanwhile. Texts follow each other: method, host, path, id, reason. */
struct lb_record {
    uint64_t number; /* from 1 */
    uint64_t ended_us; /* monotonic */
    uint64_t total_us; /* since the request's head was whole, or the session opened */
    uint64_t bytes_in; /* from the client */
    uint64_t bytes_out; /* from the backend, or of our local response */
    uint64_t generation; /* of the backend */
    uint64_t trace[2]; /* trace id; 0: none */
    uint64_t span; /* our own span in it */
    uint64_t parent; /* the span of whoever asked; 0: none */
    uint32_t backend; /* row, the last that was tried; UINT32_MAX: none */
    uint32_t accept_us; /* from the accept to here: PROXY header, TLS; 0: not the connection's first exchange */
    uint32_t connect_us; /* until a connection to a backend was there, queue and failed attempts included; UINT32_MAX: never */
    uint32_t first_us; /* until the backend's first byte, of exchanges its response's head; UINT32_MAX: never */
    uint8_t client[16]; /* IPv4 mapped into IPv6 */
    uint16_t client_port;
    uint16_t listener; /* row */
    uint16_t pool; /* row; UINT16_MAX: none */
    uint16_t status; /* 0: none */
    uint8_t kind; /* enum lb_record_kind */
    uint8_t end; /* enum lb_end */
    uint8_t flags; /* enum lb_record_flag */
    uint8_t tried; /* backends */
    uint8_t minor; /* HTTP/1.minor */
    uint8_t trace_flags;
    uint8_t method_length;
    uint8_t host_length;
    uint16_t path_length;
    uint8_t id_length;
    uint8_t reason_length;
    uint8_t pad0[4];
    uint8_t text[376];
};

/* What a worker saw of a backend. Writer: the worker. Valid for the row's generation only. */
struct lb_backend_health {
    uint64_t generation;
    uint64_t sessions; /* sessions, and exchanges that got a response */
    uint64_t failures; /* connects and responses that failed */
    uint64_t last_success_ms; /* monotonic */
    uint32_t failures_in_row; /* of connects */
    int32_t last_errno;
    uint32_t latency_us; /* of connects, or from request to response; exponentially weighted */
    uint32_t ack_credit; /* responses for which TCP_QUICKACK is still tried; see l4/ack.h */
    uint32_t ack_trial_in; /* of these until one goes without */
    uint32_t ack_trial_gap;
    uint32_t failed_responses_in_row; /* failed responses, likewise */
    uint32_t last_status; /* of the last failed response; 0: none came in time, or it broke off */
    float peak_us; /* peak EWMA of the latency, for the policy ewma; see table/policy.h */
    uint32_t peak_ms; /* monotonic, low 32 bits: when it was taken */
    uint32_t closes_after_ms; /* the soonest that the backend closed an idle connection; 0: not seen */
    uint32_t keeps_ms; /* how long it says that it keeps one; 0: it does not say */
    uint64_t good; /* sessions whose connect succeeded, exchanges that got a good response */
    uint64_t last_response_ms; /* monotonic: of the last of these exchanges */
    uint32_t spoke_ms; /* monotonic, low 32 bits: when it last sent bytes that nothing was asked for; 0: never */
    uint32_t lost_ms; /* likewise: when a request that may not be sent again was lost on a kept connection */
    uint32_t avoid_until_ms; /* table/avoid.h. Monotonic, low 32 bits: until then it is passed over ... */
    uint32_t avoid_ms; /* ... which was to last so long */
    uint32_t pause_ms; /* the last pause between two trials */
    uint8_t avoided; /* enum lb_avoided: it is passed over but for trials */
    uint8_t on_trial; /* one was begun, and has not ended */
    uint8_t kept_in_row; /* responses that kept their connection since one did not, a few at most */
    uint8_t pad0[1];
    uint32_t suspected_us; /* monotonic, low 32 bits: of the last sign that it is stopping */
    uint8_t pad1[4];
};

/* A decision, in a section's ring: number n lies at n % LB_DECISIONS. Writer: the section's owner. Whoever reads it copies it and
 * sees that the number stayed the same. */
struct lb_decision {
    uint64_t number; /* from 1; 0 while it is being written */
    uint64_t at_us; /* monotonic */
    uint64_t generation; /* of the backend */
    uint32_t backend; /* row; UINT32_MAX: none */
    uint32_t pool;
    uint32_t candidate[2]; /* rows that were compared; UINT32_MAX: none */
    float score[2]; /* theirs, lower is better; negative: not asked for */
    uint32_t took_us; /* from the decision to its end */
    uint16_t status; /* of the response; 0: none */
    uint8_t why; /* enum lb_why */
    uint8_t fate; /* enum lb_fate */
    uint16_t cost;
    uint8_t policy; /* enum lb_policy */
    uint8_t tried; /* backends that were tried before */
    uint32_t pad0;
};
