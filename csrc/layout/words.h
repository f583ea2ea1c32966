/* The shared segment: its bounds, and the words that stand in it as numbers. See segment.h. */
enum {
    LB_LAYOUT = 35,   /* raised with every change of this file, of segment.h and of figures.h */
    LB_NAME = 64,     /* bytes of a name, NUL included */
    LB_ADDRESS = 128, /* bytes of a printed address, NUL included: unix(7) paths have 107 bytes at most */
    LB_SOURCE = 16,   /* bytes of a backend's source */
    LB_REASON = 192,  /* bytes of a reason in words */
    LB_WINDOW = 8,    /* seconds that the retry budget looks back */
    LB_NO_POOL = 0x7fffffff,
    LB_ROUTE_HELD = 0x20000000,  /* and the route's number: it says more than its pool, and is told apart from it */
    LB_POOL_DENIED = 0x7ffffffe, /* in the place of a pool: its client's address is not allowed */
    LB_MAX_LISTENERS = 256,
    LB_ROUTE_ANSWERS = 0x40000000, /* and the route's row, in the place of its pool: it answers by itself */
    LB_MAX_WORKERS = 64,
    LB_PICKERS = 4,             /* sections of processes that pick without the proxy */
    LB_DECISIONS = 1024,        /* that a section remembers */
    LB_TOLD = 8,                /* alternatives of a route's `any` that are told one by one */
    LB_MOST_COST = 65535,       /* of one session or exchange */
    LB_KEY = 64,                /* bytes of a field's or a cookie's name, NUL included */
    LB_NETWORKS = 32,           /* trusted networks of a listener */
    LB_BODY = 1024,             /* bytes of a listener's own error body, NUL included */
    LB_ROUTES_BYTES = 16777216, /* one copy of the routes; what is not used takes no memory */
    LB_MODELS = 64,             /* that have figures */
    LB_EXPRESSION_BYTES = 1024, /* bytes of a route's regular expression */
    LB_FIXED_BYTES = 32768,     /* bytes of a route's own body */
    LB_SOURCE_NETWORK = 17,     /* bytes of a network among conditions: an address in IPv6, and its bits */
    LB_SPLIT_PLACES = 10000,    /* of a split by percent */
    LB_CONDITION_DEPTH = 12,    /* groups of conditions inside each other */
    LB_TIMINGS = 5,             /* kinds of times that are kept of each pool: enum lb_timing */
    LB_TIMING_BUCKETS = 511,
    LB_RECORDS = 8192,          /* of what ended, that a section remembers for the access log */
    LB_RECORD_TEXT = 370,       /* bytes of a record's texts */
    LB_PASSED_HEADERS = 256,    /* bytes of the names of claim headers that a listener passes on, NUL included */
    LB_STICKY_ATTRIBUTES = 256, /* bytes of a sticky cookie's attributes, NUL included */
    LB_CLIENTS = 65536,         /* clients that are known where listeners limit them */
    LB_KEYS = 65536,            /* that limits of routes know */
    LB_TIERS = 16,              /* a backend's tier is below this */
    LB_CLIENT_NETWORKS = 64,    /* of a listener's or a route's allow_clients and deny_clients together */
    LB_EDITS_BYTES = 8192,      /* that edits may add to one head */
    LB_PREFIXES = 524288,       /* blocks of texts that are known to be at a backend, in a table of them: table/prefixes.h */
    LB_PREFIX_TABLES = 16,      /* of these: a pool's is its row's number, modulo */
};

enum lb_mode { LB_MODE_TCP = 1, LB_MODE_HTTP = 2, LB_MODE_UDP = 3, LB_MODE_TLS = 4, LB_MODE_HTTPS = 5 };

enum lb_policy {
    LB_ROUND_ROBIN = 1,
    LB_LEAST_CONN = 2,
    LB_P2C = 3,
    LB_RANDOM = 4,
    LB_EWMA = 5,
    LB_MAGLEV = 6,
    LB_PREFIX = 7,
};

/* What maglev hashes, and prefix goes by: all of it, but of LB_HASH_JSON its beginnings. */
enum lb_hash_key { LB_HASH_ADDRESS = 0, LB_HASH_PATH = 1, LB_HASH_HEADER = 2, LB_HASH_COOKIE = 3, LB_HASH_JSON = 4 };

/* Which fields tell a backend who the client is. */
enum lb_forwarded { LB_FORWARDED_OFF = 0, LB_FORWARDED_X = 1, LB_FORWARDED_RFC7239 = 2, LB_FORWARDED_BOTH = 3 };

/* What a client of mode http may speak, bits. */
enum lb_protocol { LB_SPEAKS_HTTP1 = 1, LB_SPEAKS_HTTP2 = 2 };

/* Why is that spoken with a backend? */
enum lb_spoken_why {
    LB_SPOKEN_BY_POOL = 1,    /* its pool's `protocol` says so */
    LB_SPOKEN_BY_CALL = 2,    /* a call of gRPC goes by HTTP/2 */
    LB_SPOKEN_BY_DEFAULT = 3, /* `auto` without TLS */
    LB_SPOKEN_BY_ALPN = 4,    /* the backend has agreed on it */
    LB_SPOKEN_BY_OFFER = 5,   /* it is being agreed on by ALPN */
    LB_SPOKEN_BY_NEED = 6,    /* a connection of the client's own, another protocol, or HTTP_1_1_REQUIRED */
};

/* Streams of HTTP/2 that were reset: at which side, and by whom. */
enum lb_reset_by {
    LB_RESETS_BY_CLIENT = 0,
    LB_RESETS_OF_CLIENT = 1,
    LB_RESETS_BY_BACKEND = 2,
    LB_RESETS_OF_BACKEND = 3,
    LB_RESETS_CODES = 15
};

/* What backends are spoken to in, by http and https listeners. */
enum lb_backend_protocol {
    LB_BACKEND_AUTO = 0, /* calls of gRPC by HTTP/2, all else by HTTP/1.1 */
    LB_BACKEND_HTTP1 = 1,
    LB_BACKEND_HTTP2 = 2,
};

/* Statuses that send a request to another backend, and which requests go, bits. */
enum lb_retry_on {
    LB_RETRY_403 = 1,
    LB_RETRY_404 = 2,
    LB_RETRY_408 = 4,
    LB_RETRY_421 = 8,
    LB_RETRY_425 = 16,
    LB_RETRY_429 = 32,
    LB_RETRY_500 = 64,
    LB_RETRY_501 = 128,
    LB_RETRY_502 = 256,
    LB_RETRY_503 = 512,
    LB_RETRY_504 = 1024,
    LB_RETRY_STATUSES = 2047,        /* all of these */
    LB_RETRY_POST = 65536,           /* POST goes, too */
    LB_RETRY_SAYS_STATUSES = 131072, /* of a route: the statuses are its own */
    LB_RETRY_SAYS_POST = 262144,     /* of a route: so is what it says of POST */
};

/* To which requests 103 and its like are passed on. */
enum lb_early_hints { LB_HINTS_BROWSERS = 0, LB_HINTS_ALWAYS = 1, LB_HINTS_NEVER = 2 };

/* How clients are told our own errors. */
enum lb_error_format { LB_ERRORS_AS_LISTENER = 0, LB_ERRORS_TEXT = 1, LB_ERRORS_OPENAI = 2 };

/* Whose X-LB-Cost counts. */
enum lb_cost_header { LB_COST_TRUSTED = 0, LB_COST_ANY = 1 };

enum lb_route_host { LB_ROUTE_HOST_ANY = 0, LB_ROUTE_HOST_EXACT = 1, LB_ROUTE_HOST_WILDCARD = 2 };

enum lb_route_path {
    LB_ROUTE_PATH_ANY = 0,
    LB_ROUTE_PATH_EXACT = 1,
    LB_ROUTE_PATH_PREFIX = 2,
    LB_ROUTE_PATH_REGEX = 3,
};

/* Whose edits of heads, in the order in which they are applied. */
enum lb_editor { LB_EDITS_OF_LISTENER = 0, LB_EDITS_OF_POOL = 1, LB_EDITS_OF_ROUTE = 2, LB_EDITORS = 3 };

enum lb_edited_kind { LB_EDITS_REQUESTS = 0, LB_EDITS_RESPONSES = 1 };

/* What an edit does beside adding its line, bits. */
enum lb_edit_flag {
    LB_EDIT_DROPS = 1,  /* lines of its name that were there go */
    LB_EDIT_BY_TLS = 2, /* it is for clients that speak TLS */
};

/* What of a line is copied from where. */
enum lb_piece {
    LB_PIECE_TEXT = 0, /* whole lines: the row's own text */
    LB_PIECE_CLIENT = 1,
    LB_PIECE_CLIENT_PORT = 2,
    LB_PIECE_REQUEST_ID = 3,
    LB_PIECE_SCHEME = 4,
    LB_PIECE_METHOD = 5,
    LB_PIECE_HOST = 6,
    LB_PIECE_PATH = 7,
    LB_PIECE_QUERY = 8,
    LB_PIECE_LISTENER = 9,
    LB_PIECE_POOL = 10,
    LB_PIECE_BACKEND = 11,
    LB_PIECE_TLS_VERSION = 12,
    LB_PIECE_TLS_CIPHER = 13,
    LB_PIECE_TLS_SNI = 14,
    LB_PIECE_LINE = 15, /* the name of a line that is not said where its value is empty; its end is the next, */
    LB_PIECE_END = 16,
    LB_PIECE_VALUE = 17,   /* a text within such a line */
    LB_PIECE_CAPTURE = 32, /* and the number of the group in the route's path_regex, 1 to 9 */
};

/* Lines of a head that the balancer writes itself, bits: an edit that drops their name takes their place. */
enum lb_own_line {
    LB_OWN_HOST = 1,
    LB_OWN_X_FORWARDED_FOR = 2,
    LB_OWN_X_FORWARDED_PROTO = 4,
    LB_OWN_X_FORWARDED_HOST = 8,
    LB_OWN_X_FORWARDED_PREFIX = 16,
    LB_OWN_FORWARDED = 32,
    LB_OWN_CLIENT_CERT = 64,
    LB_OWN_X_REQUEST_ID = 128,
    LB_OWN_TRACEPARENT = 256,
    LB_OWN_VIA = 512,
};

enum lb_condition {
    LB_CONDITION_HEADER = 0,
    LB_CONDITION_COOKIE = 1,
    LB_CONDITION_ALPN = 2,
    LB_CONDITION_QUERY = 3,
    LB_CONDITION_METHOD = 4,      /* value: names apart by spaces */
    LB_CONDITION_HOST = 5,        /* value: as of a route; a wildcard without its star */
    LB_CONDITION_PATH = 6,        /* value: normal, as of a route */
    LB_CONDITION_PATH_PREFIX = 7, /* without its last slash */
    LB_CONDITION_PATH_SUFFIX = 8,
    LB_CONDITION_PATH_REGEX = 9,
    LB_CONDITION_SOURCE = 10, /* value: networks, each LB_SOURCE_NETWORK bytes, in their order, none within another */
    LB_CONDITION_SPLIT = 11,  /* present: enum lb_split; value, value_length: from and to, of LB_SPLIT_PLACES */
    LB_CONDITION_JSON = 12,   /* of the body */
    LB_CONDITION_ALL = 13,    /* of those inside */
    LB_CONDITION_ANY = 14,
};

/* What a split goes by. */
enum lb_split { LB_SPLIT_SOURCE = 0, LB_SPLIT_COOKIE = 1, LB_SPLIT_HEADER = 2 };

/* By what requests of a route are limited. */
enum lb_limit_key {
    LB_LIMIT_SOURCE = 0, /* the client's address; of IPv6 its first 64 bits */
    LB_LIMIT_ROUTE = 1,  /* all of them are one */
    LB_LIMIT_PATH = 2,
    LB_LIMIT_HEADER = 3,
    LB_LIMIT_COOKIE = 4,
    LB_LIMIT_API_KEY = 5, /* of Authorization: Bearer, X-Api-Key or Api-Key */
    LB_LIMIT_JWT = 6,     /* a claim of the token of Authorization: Bearer, which nobody has verified */
};

/* What a request's body said to the routes that ask (l7/json_condition.h). */
enum lb_json_why {
    LB_JSON_NOT_ASKED = 0, /* they did not, or its head was enough */
    LB_JSON_MATCHED = 1,
    LB_JSON_OTHER = 2,    /* a value that no route names, or none that is a string */
    LB_JSON_MISSING = 3,  /* a key is not there */
    LB_JSON_REPEATED = 4, /* a key is there twice */
    LB_JSON_BROKEN = 5,   /* it is no JSON */
    LB_JSON_TOO_FAR = 6,  /* a key is not in its first json_bytes */
    LB_JSON_NO_BODY = 7,  /* its head does not speak of JSON, or of a coding */
};

enum lb_datapath { LB_AUTO = 0, LB_COPY = 1, LB_SPLICE = 2, LB_OFFLOAD = 3 };

enum lb_loop_kind { LB_LOOP_EPOLL = 1, LB_LOOP_URING = 2 };

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
enum lb_avoided {
    LB_AVOIDED_NOT = 0,
    LB_AVOIDED_UNREACHABLE = 1,
    LB_AVOIDED_STOPPING = 2,
    LB_AVOIDED_ASKED = 3,    /* it has asked for a pause by Retry-After */
    LB_AVOIDED_REFUSING = 4, /* it gave several responses in a row that send requests to another backend */
};

/* Why a decision fell as it did. */
enum lb_why {
    LB_WHY_NONE = 0,         /* nobody could be picked */
    LB_WHY_TURN = 1,         /* it was its turn in the schedule, or the draw fell on it */
    LB_WHY_BETTER = 2,       /* of two candidates it had the lower score */
    LB_WHY_LEAST = 3,        /* of all it had the lowest score */
    LB_WHY_ALONE = 4,        /* no second candidate was found */
    LB_WHY_KEY = 5,          /* the key falls to it */
    LB_WHY_MOVED = 6,        /* the key's own backend was full, not usable, or ramping up */
    LB_WHY_SEARCH = 7,       /* the schedule offered nobody usable: the first of the members that was */
    LB_WHY_STICKY = 8,       /* the client's cookie names it */
    LB_WHY_LOGIN = 9,        /* the client has logged in on a connection to it */
    LB_WHY_RESERVE = 10,     /* a backup: nobody of the tier that takes turns could be had */
    LB_WHY_TRIAL = 11,       /* it is passed over after failures, but for single trials: this is one */
    LB_WHY_LAST = 12,        /* all others are passed over after failures, too */
    LB_WHY_ANSWER = 13,      /* no pool was asked: a route answers by itself */
    LB_WHY_NO_ROUTE = 14,    /* nor here: no route matches */
    LB_WHY_LIMITED = 15,     /* likewise: the request is over its route's rate */
    LB_WHY_DENIED = 16,      /* nor here: the client's address is not allowed */
    LB_WHY_UNKNOWN = 17,     /* nor here: no valid credentials came */
    LB_WHY_PREFIX = 18,      /* it served the text that this one continues */
    LB_WHY_SHARED = 19,      /* of load and what is known of the text's beginning it has the best */
    LB_WHY_NEW = 20,         /* nobody knows the beginning: the least loaded */
    LB_WHY_CROWDED = 21,     /* it goes elsewhere: who served the text that this one continues has too much under way */
    LB_WHY_AUTH = 23,        /* nor here: the service that decides on requests refuses it */
    LB_WHY_AUTH_FAILED = 24, /* likewise, or gave no answer */
    LB_WHY_WARM = 22,        /* it goes to a backend that is new and has next to nothing */
};

/* What is timed. */
enum lb_timing {
    LB_TIMING_RESPONSE =
        0, /* from a request's whole head to its response's; udp: from a datagram to the first one that responses */
    LB_TIMING_REQUEST = 1, /* from a request's whole head to the end of a backend's response */
    LB_TIMING_CONNECT = 2, /* of a connect to a backend that succeeded, TLS included */
    LB_TIMING_SESSION = 3, /* from the opening of a session to its end */
    LB_TIMING_QUEUE = 4,   /* a request's wait in its pool's queue, whatever ended it */
};

/* What a record is about. */
enum lb_record_kind { LB_RECORD_EXCHANGE = 0, LB_RECORD_SESSION = 1, LB_RECORD_DATAGRAMS = 2, LB_RECORD_REFUSED = 3 };

/* Why a session, an exchange or a client's connection ended, and what came of a decision: table/ending.c says what each means. */
enum lb_end {
    LB_ENDED_DONE = 0,
    LB_ENDED_CLIENT = 1,      /* the client left before it was done */
    LB_ENDED_BACKEND = 2,     /* the backend broke off, or gave a failed response */
    LB_ENDED_IDLE = 3,        /* nothing moved for too long */
    LB_ENDED_HALF = 4,        /* one side was over, the other did not follow in time */
    LB_ENDED_CUT = 5,         /* its backend was removed, and the drain time ran out */
    LB_ENDED_STOPPED = 6,     /* the balancer stopped */
    LB_ENDED_NO_BACKEND = 7,  /* the pool had none to offer */
    LB_ENDED_UNREACHABLE = 8, /* no backend accepted a connection */
    LB_ENDED_RESOURCE = 9,    /* the balancer had no place, descriptor, port or buffer left */
    LB_ENDED_LOCAL = 10,      /* it got a local response */
    LB_ENDED_LIMITED = 11,    /* its client has too many */
    LB_ENDED_SLOW = 12,       /* its client was slower than min_body_rate */
    LB_ENDED_OVERDUE = 20,    /* it took longer than its route's total_timeout */
    /* recorded as one of those */
    LB_ENDED_CLIENT_EARLY = 13, /* the client left before a backend was reached */
    LB_ENDED_TOO_FAST = 14,     /* its client opens too many a second */
    LB_ENDED_NO_BUFFER = 15,    /* of http: no buffer was left for what the client did not take */
    /* not recorded */
    LB_ENDED_PREREAD = 16,   /* no PROXY header or ClientHello came in time, or a bad one */
    LB_ENDED_HANDSHAKE = 17, /* no TLS session came about */
    LB_ENDED_MOVED = 18,     /* of udp: another worker has it now */
    LB_ENDED_TUNNEL = 19,    /* of http: it goes on as a session */
    LB_ENDED_DENIED = 21,    /* recorded: its client's address is not allowed */
    LB_ENDINGS = 22,
    LB_ENDED_NOT = 255, /* of decisions: what they led to is under way */
};

/* What a record says by a bit. */
enum lb_record_flag {
    LB_RECORD_REUSED = 1,     /* on a connection that was kept */
    LB_RECORD_TRUNCATED = 2,  /* its host or path is longer than there is room for */
    LB_RECORD_LOGGED = 4,     /* it is for the access log: not left out by sampling */
    LB_RECORD_TRACED = 8,     /* it is for the trace */
    LB_RECORD_TLS = 16,       /* the client spoke TLS with us */
    LB_RECORD_BY_CLIENT = 32, /* of a session that is done: this side finished first */
    LB_RECORD_BY_BACKEND = 64,
};

enum { LB_RECORD_HTTP2 = 20 }; /* in a record, for HTTP/1.minor */

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
