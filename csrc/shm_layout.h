/*
 * The shared segment. Read by the C compiler and, as it stands, by cffi: fixed-width integers, enums and plain structs;
 * no include, no guard, no attribute. Padding is named. Sizes and offsets are asserted in table/shm.c.
 *
 *   head | listener rows | pool rows | backend rows | costs | views (two a pool) | workers (one section each)
 *
 * One writer per line: the control plane writes everything but the worker sections; each worker writes only its own.
 * Readers never lock. Offsets and indices, never pointers.
 */
enum {
    LB_LAYOUT = 1,       /* raised with every change of this file */
    LB_NAME = 64,        /* bytes of a name, NUL included */
    LB_ADDRESS = 96,     /* bytes of a printed address */
    LB_SOURCE = 16,      /* bytes of a backend's source */
    LB_REASON = 208,     /* bytes of a reason in words */
    LB_WINDOW = 8,       /* seconds that the retry budget looks back */
    LB_MAX_WORKERS = 64, /* sections that a segment may hold */
};

enum lb_mode { LB_MODE_TCP = 1 };

enum lb_policy { LB_ROUND_ROBIN = 1, LB_LEAST_CONN = 2, LB_P2C = 3, LB_RANDOM = 4 };

enum lb_datapath { LB_AUTO = 0, LB_COPY = 1, LB_SPLICE = 2 };

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

enum lb_worker_state { LB_WORKER_ABSENT = 0, LB_WORKER_SERVING = 1, LB_WORKER_DRAINING = 2, LB_WORKER_GONE = 3 };

/* The first bytes of the segment. Written once at creation, except the last line. */
struct lb_head {
    uint64_t magic;
    uint32_t layout;
    uint32_t head_size; /* sizeof of each struct as the writer knew it: drift is refused on attach */
    uint32_t listener_size;
    uint32_t pool_size;
    uint32_t backend_size;
    uint32_t worker_size;
    uint32_t outcome_size;
    uint32_t max_listeners;
    uint32_t max_pools;
    uint32_t max_backends;
    uint32_t max_slots; /* entries of a view's schedule */
    uint32_t workers;   /* sections in use: worker ids are 0 .. workers - 1 */
    uint64_t bytes;
    uint64_t off_listeners;
    uint64_t off_pools;
    uint64_t off_backends;
    uint64_t off_costs;
    uint64_t off_views;
    uint64_t view_stride;
    uint64_t off_workers;
    uint64_t worker_stride;
    uint64_t off_budgets;  /* inside a worker's section */
    uint64_t off_outcomes; /* inside a worker's section */
    uint64_t off_active;   /* inside a worker's section */
    uint64_t started_ms;   /* Unix time */
    uint32_t control_pid;
    uint32_t datapath;
    uint8_t name[64];
    uint8_t version[24];
    /* the line that changes: written by the control plane */
    uint64_t generation;     /* raised by every change of the table */
    uint64_t row_generation; /* the last generation given to a backend row */
    uint64_t cuts;           /* raised when rows turn LB_GONE: workers look for sessions to cut */
    uint32_t draining;
    uint32_t rows_used; /* backend rows below this index have been used at some time */
    uint8_t pad0[32];
};

/* A listener. Writer: control plane. */
struct lb_listener_row {
    uint32_t state;
    uint32_t mode;
    uint32_t pool; /* index of its pool row */
    uint32_t idle_timeout_ms;
    uint32_t half_closed_timeout_ms;
    uint8_t pad0[44];
    uint8_t name[64];
    uint8_t address[96];
    uint8_t pad1[32];
};

/* A pool. Writer: control plane. */
struct lb_pool_row {
    uint32_t state;
    uint32_t policy;
    uint32_t connect_timeout_ms;
    uint32_t retries;        /* further backends that a session may try */
    uint32_t budget_percent; /* retries allowed, as a share of sessions ... */
    uint32_t budget_floor;   /* ... and each second in any case */
    uint32_t fail_after;     /* connect failures in a row that are reported; 0: never */
    uint32_t keepalive_s;    /* TCP keep-alive idle time; 0: off */
    uint32_t user_timeout_ms;
    uint32_t view; /* publication counter; its lowest bit names the current view */
    uint8_t pad0[24];
    uint8_t name[64];
};

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
    uint8_t pad0[12];
    uint8_t address[96];
    uint8_t source[16];
    uint8_t reason[208];
};

/* One of a pool's two views; max_backends members (u32) and max_slots slots (u32) follow. Writer: control plane. */
struct lb_view {
    uint32_t members; /* usable backends */
    uint32_t slots;   /* entries of the schedule: each member as often as its weight, evenly spaced */
    uint8_t pad0[56];
};

/* What a worker counts. Writer: the worker; the supervisor after its death. All but gauges only grow.
 *   accepted = active + closed + refused
 *   refused  = refused_no_backend + refused_connect + refused_client_left + refused_resource
 *   closed   = closed_done + closed_client_reset + closed_backend_reset + closed_idle + closed_half + closed_cut
 *              + closed_stopped + closed_lost */
struct lb_worker_row {
    uint32_t pid;
    uint32_t state;
    uint64_t heartbeat_ms; /* monotonic time of the last turn */
    uint64_t generation;   /* table generation seen last */
    uint64_t accepted;
    uint64_t active; /* gauge */
    uint64_t closed;
    uint64_t refused;
    uint64_t bytes_in;  /* client to backend */
    uint64_t bytes_out; /* backend to client */
    uint64_t bytes_spliced;
    uint64_t refused_no_backend;   /* the pool had none to offer */
    uint64_t refused_connect;      /* no backend could be reached */
    uint64_t refused_client_left;  /* the client went before a backend answered */
    uint64_t refused_resource;     /* no descriptor or port was left */
    uint64_t closed_done;          /* both sides finished */
    uint64_t closed_client_reset;
    uint64_t closed_backend_reset;
    uint64_t closed_idle;
    uint64_t closed_half;          /* the second side did not finish in time */
    uint64_t closed_cut;           /* its backend was removed and the drain time ran out */
    uint64_t closed_stopped;       /* the balancer stopped */
    uint64_t closed_lost;          /* the worker died */
    uint64_t connects;
    uint64_t connect_failures;
    uint64_t connect_timeouts; /* part of connect_failures */
    uint64_t retries;
    uint64_t retries_denied;   /* the budget was spent */
    uint64_t accept_errors;
    uint64_t accept_pauses;    /* times that a bound stopped accepting */
    uint64_t buffer_waits;     /* reads put off because every buffer was held */
    uint64_t pipe_misses;      /* streams that copied because no pipe was free */
    uint64_t quickacks;
    uint64_t buffers; /* gauge: buffers held */
    uint64_t pipes;   /* gauge: pipes held by sessions */
    uint64_t turns;
    uint8_t pad0[40];
};

/* Sessions and retries of a pool in the last seconds, as one worker saw them. Writer: the worker. */
struct lb_budget {
    uint32_t second[8]; /* which second an entry counts */
    uint32_t sessions[8];
    uint32_t retries[8];
    uint8_t pad0[32];
};

/* What a worker saw of a backend. Writer: the worker. Valid for the row's generation only. */
struct lb_outcome {
    uint64_t generation;
    uint64_t sessions;
    uint64_t failures;        /* connects that failed */
    uint64_t last_success_ms; /* monotonic */
    uint32_t failures_in_row;
    int32_t last_errno;
    uint32_t latency_us; /* of connects, exponentially weighted */
    uint32_t ack_credit;   /* answers for which TCP_QUICKACK is still tried; see l4/relay.h */
    uint32_t ack_trial_in; /* of these until one goes without */
    uint32_t ack_trial_gap;
    uint8_t pad0[8];
};
