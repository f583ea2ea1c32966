/*
 * The shared segment. Read by the C compiler and, as it stands, by cffi: fixed-width integers, enums and plain structs;
 * no include, no guard, no attribute. words.h comes before this file, figures.h after it. Padding is named. Sizes and offsets are
 * asserted in table/shm.c.
 *
 *   head | listener rows | pool rows | backend rows | costs | routes (two copies) | views (two a pool) | clients |
 *   keys | prefixes | homes | sections (workers, pickers)
 *
 * One writer per line, but for clients, keys, prefixes and homes, which workers share: the control plane writes everything but these and
 * the sections; each worker, and each process that picks without the proxy, writes only its own.
 * Readers never lock. Offsets and indices, never pointers.
 */

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
    uint64_t off_budgets;   /* inside a section */
    uint64_t off_health;    /* inside a section */
    uint64_t off_active;    /* inside a section: sessions and exchanges by backend */
    uint64_t off_charged;   /* likewise: what they cost */
    uint64_t off_decisions; /* inside a section */
    uint64_t started_ms;    /* Unix time */
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
    uint64_t off_clients;   /* keys follow them */
    uint64_t off_counted;   /* inside a section: open sessions by row of clients */
    uint8_t client_key[16]; /* secret: nobody else knows who shares a row with whom */
    uint32_t client_size;
    uint32_t not_ready;  /* as readyz says: the balancer leaves, or nobody can serve; what health_path of listeners answers */
    uint64_t hanging[2]; /* a bit for each section whose worker does not turn although asked to; written by the control plane */
    uint32_t loop;       /* enum lb_loop_kind: by what workers are to serve sockets */
    uint32_t key_size;
    /* the line that changes: written by the control plane */
    uint64_t generation;     /* raised by every change of the table */
    uint64_t row_generation; /* the last generation given to a backend row */
    uint64_t cuts;           /* raised when sessions of a row are to be cut (table/table.h): workers look for them */
    uint32_t draining;
    uint32_t rows_used;        /* backend rows below this index have been used at some time */
    uint32_t routes;           /* publication counter of the routes; its lowest bit names the current copy */
    uint32_t sections;         /* those that count: workers, and pickers as far as any has joined (raised by pickers) */
    uint32_t log_every;        /* one of so many endings is recorded for the access log, and every failure; 0: none is */
    uint32_t trace_every;      /* one of so many exchanges that bring no trace begins one; 0: traces are not looked at */
    uint64_t log_written;      /* lines of the access log */
    uint64_t log_lost;         /* records that were overwritten before they could be written */
    uint64_t counts[16];       /* by enum lb_count; any thread of the control plane adds to them */
    struct lb_spent spent[65]; /* of the control plane, then of the worker of each section; written by whoever scrapes them */
    uint8_t loop_reason[96];   /* in words, why that loop */
    uint32_t log_texts;        /* records of requests have the user agent and the referer, too */
    uint8_t pad0[4];
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
    uint32_t max_header_bytes; /* bytes */
    uint32_t max_target;       /* bytes */
    uint32_t max_headers;
    uint32_t forwarded;  /* enum lb_forwarded */
    uint64_t max_body;   /* bytes; 0: no limit */
    uint32_t request_id; /* give every request one */
    uint32_t half_close; /* a client's FIN is no edits */
    uint32_t network_count;
    uint32_t responses;             /* mode udp: replies to each datagram, after which a session ends; 0: not known */
    uint32_t accept_proxy;          /* trusted peers begin with a PROXY header */
    uint32_t terminates;            /* mode https, and tls with a certificate: TLS ends here */
    uint64_t certificate_expires_s; /* Unix time: when the first of its certificates does; 0: it has none */
    uint32_t tenant;        /* never given twice: a row that is taken anew shares no figures with the listener that had it */
    uint32_t client_limits; /* any of the next is set; 0: none is looked at */
    uint32_t max_client_sessions;  /* of one client address; here and in the next two 0: no limit */
    uint32_t client_session_rate;  /* a second */
    uint32_t client_session_burst; /* at once; at least 1 */
    uint32_t client_request_rate;  /* mode http: a second */
    uint32_t client_request_burst;
    uint32_t min_body_rate;        /* mode http: bytes a second of a body that its client sends or takes at least; 0: none */
    uint32_t early_hints;          /* mode http: enum lb_early_hints */
    uint32_t cost_header;          /* mode http: enum lb_cost_header */
    uint32_t lingering_time_ms;    /* mode http: how long what a client sends behind its last response is read; 0: it is not */
    uint32_t lingering_timeout_ms; /* the longest pause in that */
    uint32_t protocols;            /* mode http: enum lb_protocol, bits: what its clients may speak */
    uint32_t max_streams;          /* of one HTTP/2 connection, open at once */
    uint32_t grpc_web;             /* mode http: calls of gRPC-Web are translated */
    uint32_t json_bytes;           /* mode http: of a body in which routes look for keys */
    uint32_t error_format;         /* mode http: enum lb_error_format */
    uint32_t priority_of_any;      /* mode http: X-LB-Priority of any client counts, not just that of trusted peers */
    uint16_t guarded;              /* mode http: a guard of the routes is its own (struct lb_guard_row) */
    uint16_t client_lists;         /* other modes: clients' addresses are looked at; 0: all may come */
    uint16_t allowed_count;
    uint16_t denied_count;
    uint8_t pad0[56];
    uint8_t name[64];
    uint8_t address[128];
    uint8_t error_type[96];         /* media type of the body below */
    uint8_t error_body[1024];       /* of responses that the balancer makes; empty: its own words */
    uint8_t passed_headers[256];    /* claim headers that strangers may bring: lower case, '-' for '_', apart by spaces */
    uint8_t health_path[128];       /* mode http: a GET of it is answered here; empty: none is */
    struct lb_network networks[32]; /* peers whose word on the client is taken */
    struct lb_network clients[64];  /* who may come, then who may not (l4/networks.h) */
};

/* A pool. Writer: control plane. */
struct lb_pool_row {
    uint32_t state;
    uint32_t policy;
    uint32_t connect_timeout_ms;
    uint32_t retries;              /* further backends that a session may try */
    uint32_t budget_percent;       /* retries allowed, as a share of sessions ... */
    uint32_t budget_floor;         /* ... and each second in any case */
    uint32_t max_connect_failures; /* connect failures in a row that are reported; 0: never */
    uint32_t tcp_keepalive_s;      /* TCP keep-alive idle time; 0: off */
    uint32_t user_timeout_ms;
    uint32_t view;       /* publication counter; its lowest bit names the current view */
    uint32_t max_active; /* sessions or exchanges on one backend; 0: no limit */
    /* what follows is for exchanges */
    uint32_t max_failed_responses; /* failed responses in a row that are reported; 0: never */
    uint32_t response_timeout_ms;
    uint32_t queue; /* exchanges that may wait for a backend, each worker */
    uint32_t queue_timeout_ms;
    uint32_t backend_idle_timeout_ms; /* how long an idle connection is kept for a backend that does not say; 0: none is */
    uint32_t max_idle_connections;    /* idle connections to one backend, each worker; more than that for a second at most */
    uint32_t hash_key;                /* enum lb_hash_key */
    uint32_t retry_after_s;           /* what 503 tells clients */
    uint32_t max_cost;                /* the most that X-LB-Cost may charge; 0: it is not read */
    uint32_t send_proxy;              /* version of the PROXY header that connections begin with; 0: none */
    uint32_t tls;                     /* TLS is spoken to its backends */
    uint32_t tenant;   /* never given twice: a row that is taken anew shares no figures with the pool that had it */
    uint32_t trailers; /* those of requests go on to its backends */
    uint32_t retry_on; /* enum lb_retry_on, bits: responses that send a request to another backend; 0: none */
    uint32_t max_response_header_bytes;
    uint32_t max_response_headers;
    uint32_t sticky_moves;    /* bound clients leave a backend that drains at once */
    uint32_t send_timeout_ms; /* how long a backend may take no byte of a request */
    uint32_t cuts_down;       /* sessions of a backend that is LB_DOWN are cut */
    uint32_t outage;          /* no backend is usable by its own evidence; set apart from the rest of the row */
    uint32_t protocol;        /* enum lb_backend_protocol: what its backends are spoken to in */
    uint8_t name[64];
    uint8_t hash_name[64];       /* of the field or cookie that is hashed, fields in lower case */
    uint8_t sticky[64];          /* the cookie's name; empty: off */
    uint8_t sticky_key[16];      /* secret */
    uint8_t failed_statuses[16]; /* a bit for each status from 500 on that counts towards max_failed_responses */
    uint32_t repeats_lost_calls; /* calls of gRPC whose connection broke before a response began go to another backend */
    uint32_t sticky_secure;      /* the cookie is Secure whatever the listener */
    uint32_t error_format;       /* enum lb_error_format */
    uint32_t hedge_after_ms; /* a request without a response for so long goes to a second backend as well; 0: as the next says */
    uint32_t hedge_percentile;      /* of the pool's response times, likewise; 0: none */
    uint32_t hedge_budget;          /* percent of requests; 0: none is hedged */
    uint32_t prefix_ttl_s;          /* policy prefix: how long a beginning is remembered */
    uint32_t prefix_cache_kib;      /* ... and how much text a backend's cache holds; 0: not known */
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
    uint16_t family; /* AF_INET, AF_INET6, or AF_UNIX: `address` has its path then, and `ip` nothing */
    uint16_t port;   /* host byte order; 0: AF_UNIX */
    uint32_t scope;  /* IPv6 scope id */
    uint8_t ip[16];
    uint32_t text_version; /* odd while the strings below are being written */
    uint32_t ramp_from_ms; /* slow start: monotonic, low 32 bits */
    uint32_t ramp_ms;      /* how long its share grows; 0: it has all of it */
    float elsewhere;       /* what it says to have under way beside what came from here */
    uint8_t address[128];
    uint8_t source[16];
    uint8_t reason[192];
    uint64_t leaves_ms; /* monotonic: when its last sessions are cut; 0: it stays */
    float capacity;     /* as declared; 0: not */
    uint8_t tier;       /* picked only while no backend of a lower tier is usable; below LB_TIERS */
    uint8_t kept;       /* LB_UP only because nobody is better: its own evidence says something else */
    uint8_t known;      /* enum lb_known, bits: for the next control plane */
    uint8_t instances;  /* processes that have registered it and not said goodbye: likewise */
    uint8_t pad0[32];
};

/* A client address of a listener: table/clients.h. Writers: workers, by compare-and-swap. */
struct lb_client {
    uint64_t key;        /* keyed hash of listener and address; 0: free */
    uint64_t session_ns; /* monotonic: when its next session comes if they come evenly */
    uint64_t request_ns; /* likewise its next request */
    uint64_t pad0;
};

/* A key of a route's limit: table/keys.h. Writers: workers, by compare-and-swap. */
struct lb_key_row {
    uint64_t key;        /* keyed hash; 0: free */
    uint64_t request_ns; /* monotonic: when its next request comes if they come evenly */
    uint64_t pad0[2];
};

/* What prefixes say of a backend (table/prefixes.h). Writers: the control plane of `life`, workers of the rest; it is told of a new life. */
struct lb_home {
    uint32_t life;   /* raised when whatever it had cached is lost */
    uint32_t lately; /* texts that it was given, halved for the whole pool from time to time */
    uint32_t given;  /* in this life */
    uint32_t fresh;  /* bytes of text that it did not have, since the last of the next */
    uint32_t turns;  /* eighths of its cache that were filled, in this life */
    uint16_t at[8];  /* when, in units of prefixes.c: of eighth n at n % 8 */
    uint8_t pad0[28];
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

/* The routes and the edits of heads, in one of two copies: this head, the rows of routes, the conditions, the guards, their networks, the
 * credentials, what the routes are in words, the rows of editors, edits and pieces, the hosts of maps, then the text that all of these point
 * into. Writer: control plane. */
struct lb_routes_head {
    uint32_t count;
    uint32_t conditions;
    uint32_t text_bytes;
    uint32_t words;  /* routes of the configuration */
    uint32_t mapped; /* hosts of all maps */
    uint32_t editors;
    uint32_t edits;
    uint32_t pieces;
    uint32_t pad0;
    uint32_t guards;
    uint64_t since_us; /* monotonic: since when they are these */
    uint32_t networks;
    uint32_t credentials;
    uint8_t salt[16]; /* of the digests of credentials */
};

/* One route. Offsets are into the text. */
struct lb_route_row {
    uint32_t listener; /* row; UINT32_MAX: any */
    uint32_t pool;     /* row; or LB_ROUTE_ANSWERS and this row's number */
    uint32_t host;     /* lower case; of a wildcard without its star: ".example.com" */
    uint32_t host_length;
    uint32_t path; /* normal (l7/path.h); of a prefix without its last slash; or the expression */
    uint32_t path_length;
    uint32_t methods; /* names apart by spaces; none: any */
    uint32_t methods_length;
    uint32_t condition; /* the first of its conditions; all must hold */
    uint32_t condition_count;
    uint32_t answer; /* of a redirect: a template (l7/route_answer.c); of another response: its media type, NUL, its body */
    uint32_t answer_length;
    uint16_t number;              /* in the configuration */
    uint16_t cost;                /* of a request that does not say; 0: 1 */
    uint16_t status;              /* of its own response; 0: its pool responds */
    uint8_t host_kind;            /* enum lb_route_host */
    uint8_t path_kind;            /* enum lb_route_path */
    uint32_t retry_on;            /* enum lb_retry_on, bits, with those that it says itself; the others are its pool's */
    uint16_t map;                 /* that names its pool: its number, and 1; 0: none */
    uint8_t of_requests;          /* it asks for what connections of mode tls do not have */
    uint8_t held;                 /* it says more of requests than that: its exchanges hold on to it (l7/held_route.h) */
    uint64_t max_body;            /* in the place of its listener's; UINT64_MAX: no limit; 0: its listener's */
    uint32_t response_timeout_ms; /* in the place of its pool's; 0: its pool's */
    uint32_t total_timeout_ms;    /* of a whole exchange; 0: none */
    uint64_t limit;               /* whose keys are its own: a number that a reload keeps */
    uint64_t rate_step_ns;        /* from one request of a key to the next, if they come evenly; 0: no limit */
    uint32_t rate_burst;          /* of these at once; at least 1 */
    uint32_t limit_key;           /* enum lb_limit_key */
    uint32_t limit_name;          /* of a header, in lower case, of a cookie, or of a claim */
    uint32_t limit_name_length;
    uint16_t mirror;         /* row and 1 of the pool that gets copies of requests; 0: none does */
    uint16_t mirror_percent; /* of so many */
    uint32_t guard;          /* the number of its guard, from 1; 0: its listener's alone. Equal guards are one */
    uint32_t pad1;
    uint32_t editor;   /* its number, from 1; 0: heads stay as they are */
    uint32_t rewrites; /* the beginning of the path, ... */
    uint32_t strip;    /* ... which is this, without a last slash, */
    uint32_t strip_length;
    uint32_t replacement; /* ... becomes this, likewise */
    uint32_t replacement_length;
};

/* A route of the configuration in words. Offsets are into the text. */
struct lb_route_words {
    uint32_t at;
    uint32_t length;
};

/* A host of a map. Offset into the text. */
struct lb_mapped_host {
    uint32_t host; /* lower case; of a wildcard without its star */
    uint16_t host_length;
    uint16_t pool; /* row */
    uint16_t map;  /* its number, and 1 */
    uint16_t pad0;
};

/* One condition of a route. A group is followed by those inside it. */
struct lb_condition_row {
    uint8_t kind;    /* enum lb_condition */
    uint8_t present; /* the value does not matter; of a group: it is what a route says as `any` */
    uint8_t negated; /* it holds where it would not */
    uint8_t pad0;
    uint32_t inside; /* of a group: conditions that follow, groups inside it with theirs */
    uint32_t name;   /* a header's in lower case; in JSON names apart by dots */
    uint32_t name_length;
    uint32_t value; /* in JSON several, apart by line feeds: one of them */
    uint32_t value_length;
    uint32_t models; /* of such values: which model each of them is, a byte from 1 each; 0: none that has figures */
    uint32_t models_length;
};

/* A model that routes name. LB_MODELS of them follow the copies of the routes. Writer: control plane. */
struct lb_model_row {
    uint32_t tenant; /* never given twice, as a pool's; 0: the row is free */
    uint32_t length;
    uint8_t pad0[56];
    uint8_t name[256]; /* UTF-8 */
};

/* Who may use a route, or a listener of mode http. What a route does not say, its listener's says. */
struct lb_guard_row {
    uint32_t listener; /* row: of all its requests; UINT32_MAX: of the routes that name it */
    uint32_t lists;    /* it speaks of clients' addresses */
    uint32_t network;  /* the first of its networks: who may come, then who may not */
    uint32_t allowed_count;
    uint32_t denied_count;
    uint32_t asks;        /* it speaks of credentials; where both of the next are 0, it asks for none */
    uint32_t keys;        /* number of the set of API keys that it takes; 0: none */
    uint32_t logins;      /* likewise of users with passwords */
    uint32_t key_headers; /* where keys stand: names in lower case, apart by spaces */
    uint32_t key_headers_length;
    uint32_t identity; /* the header that tells backends whose credentials came; length 0: they are not told */
    uint32_t identity_length;
    uint32_t removes; /* credentials do not go on to backends */
    uint32_t
        request_pool;    /* row and 1 of the pool that decides on each request (l7/auth_request.h); UINT32_MAX: none, whatever the
                              listener says; 0: as that says */
    uint32_t request_ms; /* how long that may take */
    uint32_t cache_ms;   /* how long its yes holds; 0: it is asked each time */
    uint32_t target;     /* of the request that asks */
    uint32_t target_length;
    uint32_t granted; /* headers of its response that go on: names, each behind its length in a byte, lower case, '-' for '_' */
    uint32_t granted_length;
    uint32_t cache_by; /* likewise: headers of the request that an equal one has in common with it */
    uint32_t cache_by_length;
    uint32_t pad0[10];
};

/* Somebody's credentials. digest: SHA-256 of the salt, the number of the set (32 bits, the lowest byte first) and the secret's own digest: of
 * a key SHA-256 of it; of a user SHA-256 of the name, a zero byte and SHA-256 of the password. */
struct lb_credential_row {
    uint8_t digest[32];
    uint32_t name; /* whose they are: at most 63 bytes */
    uint32_t name_length;
};

/* What an editor does to heads of requests, or of responses. Conditional edits, which some requests do not get, stand at the end of the edits
 * and nowhere else. */
struct lb_edit_run {
    uint64_t lengths; /* of the names that are dropped: bit n is set where one is n bytes long, modulo 64 */
    uint64_t drops;   /* a bit for each name that any of its edits drops, by a hash, */
    uint64_t adds;    /* and for each that one adds a line of */
    uint32_t edits;   /* the first */
    uint32_t edit_count;
    uint32_t conditional; /* of these */
    uint32_t own;         /* enum lb_own_line, bits: what of the balancer's own they take the place of */
    uint32_t names;       /* that are dropped, each behind its length in a byte */
    uint32_t names_length;
    uint32_t pieces; /* of all their lines, the first */
    uint32_t piece_count;
};

/* What a listener, a pool or routes do to heads. */
struct lb_editor_row {
    uint32_t kind;             /* enum lb_editor */
    uint32_t row;              /* of the listener or the pool; routes name their editor themselves */
    struct lb_edit_run run[2]; /* enum lb_edited_kind */
};

/* One edit: what was there of its name goes, or a line is added, or both. */
struct lb_edit_row {
    uint32_t name; /* lower case, '-' for '_' */
    uint32_t name_length;
    uint32_t flags;       /* enum lb_edit_flag, bits */
    uint32_t own;         /* enum lb_own_line */
    uint32_t piece;       /* of its line, the first */
    uint32_t piece_count; /* 0: it adds none */
};

/* A piece of a line. */
struct lb_piece_row {
    uint32_t kind; /* enum lb_piece */
    uint32_t text;
    uint32_t text_length;
};
