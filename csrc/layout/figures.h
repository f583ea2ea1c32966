/* The shared segment: what workers count and record, each in its own section. See segment.h. */
/* What a worker counts. Writer: the worker; the supervisor after its death. All but gauges only grow.
 *   accepted = active + closed + refused
 *   refused  = refused_no_backend + refused_connect + refused_client_aborts + refused_resource + refused_preread
 *              + refused_handshake + refused_client_sessions + refused_client_rate + refused_denied
 *   closed   = closed_done + closed_client_reset + closed_backend_reset + closed_idle + closed_half + closed_slow
 *              + closed_overdue + closed_cut + closed_stopped + closed_lost + closed_moved
 *   requests = requests_active + requests_done + requests_refused + requests_client_aborts + requests_failed
 *               + requests_stopped + requests_lost */
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
    uint64_t refused_no_backend;    /* the pool had none to offer */
    uint64_t refused_connect;       /* no backend could be reached */
    uint64_t refused_client_aborts; /* the client went before a backend answered */
    uint64_t refused_resource;      /* no descriptor or port was left */
    uint64_t closed_done;           /* both sides finished */
    uint64_t closed_client_reset;
    uint64_t closed_backend_reset;
    uint64_t closed_idle;
    uint64_t closed_half;    /* the second side did not finish in time */
    uint64_t closed_cut;     /* its backend was removed and the drain time ran out */
    uint64_t closed_stopped; /* the balancer stopped */
    uint64_t closed_lost;    /* the worker died */
    uint64_t connects;
    uint64_t connect_failures;
    uint64_t connect_timeouts; /* part of connect_failures */
    uint64_t retries;
    uint64_t retries_denied; /* the budget was spent */
    uint64_t accept_errors;
    uint64_t accept_pauses; /* times that a bound stopped accepting */
    uint64_t buffer_waits;  /* reads put off because every buffer was held */
    uint64_t pipe_misses;   /* streams that copied because no pipe was free */
    uint64_t quickacks;
    uint64_t buffers; /* gauge: buffers held */
    uint64_t pipes;   /* gauge: pipes held by sessions */
    uint64_t turns;
    uint64_t requests;               /* requests that a client began to send */
    uint64_t requests_active;        /* gauge */
    uint64_t requests_done;          /* a backend's response was delivered, or the connection went over to another protocol */
    uint64_t requests_refused;       /* it got a local response */
    uint64_t requests_client_aborts; /* the client went before its response was delivered */
    uint64_t requests_failed;        /* the response broke off */
    uint64_t requests_stopped;       /* the balancer stopped, or their backend was removed, in the middle */
    uint64_t requests_lost;          /* the worker died */
    uint64_t requests_queued;        /* had to wait for a backend */
    uint64_t queued;                 /* gauge: that wait now */
    uint64_t responses_1xx;          /* sent to clients, the balancer's own included */
    uint64_t responses_2xx;
    uint64_t responses_3xx;
    uint64_t responses_4xx;
    uint64_t responses_5xx;
    uint64_t requests_bad;  /* refused by the reader: what of an exchange broke the rules of HTTP or a limit */
    uint64_t responses_bad; /* likewise of backends */
    uint64_t response_timeouts;
    uint64_t connections_reused; /* exchanges on a connection that was kept */
    uint64_t connections_kept;   /* gauge: idle connections to backends */
    uint64_t connections_stale;  /* kept connections that were closed by the backend when a request came */
    uint64_t replays; /* requests sent again because of that, or because a fresh one ended before a byte of a response */
    uint64_t upgrades;
    uint64_t routes_refused;     /* times that new routes could not be compiled: out of memory */
    uint64_t decisions;          /* picks, and the number of the last one in the ring */
    uint64_t datagrams_in;       /* client to backend */
    uint64_t datagrams_out;      /* backend to client */
    uint64_t datagrams_dropped;  /* lost here: no place, no backend, or no room in a socket */
    uint64_t refused_preread;    /* no PROXY header or ClientHello came in time, or a bad one; part of refused */
    uint64_t refused_handshake;  /* no TLS session came about: refused by either side, or too late; part of refused */
    uint64_t handshakes;         /* TLS sessions of clients that came about */
    uint64_t handshakes_resumed; /* of these: by a ticket */
    uint64_t handshakes_active;  /* gauge: under way with clients, those that wait their turn apart */
    uint64_t backend_handshakes; /* TLS sessions with backends that came about */
    uint64_t backend_handshakes_resumed;
    uint64_t backend_handshakes_failed;
    uint64_t tls_refused;             /* times that new rules of TLS could not be taken: out of memory */
    uint64_t records;                 /* endings that were recorded, and the number of the last one in the ring */
    uint64_t refused_client_sessions; /* its client had max_client_sessions; part of refused */
    uint64_t refused_client_rate;     /* its client opened more than client_session_rate; part of refused */
    uint64_t requests_limited;        /* 429: its client asked more than client_request_rate; part of requests_refused */
    uint64_t clients_counted;         /* gauge: sessions that are counted by their client's address */
    uint64_t clients_uncounted;       /* could not be: all rows had sessions open */
    uint64_t offloads;                /* sessions that were handed to the kernel */
    uint64_t offloads_local;          /* part of offloads: to backends of this host */
    uint64_t offload_misses;          /* that were to be, and could not */
    uint64_t bytes_offloaded;         /* part of bytes_in and bytes_out: forwarded by the kernel */
    uint64_t requests_slow;           /* 408: its client sent the body more slowly than min_body_rate; part of requests_refused */
    uint64_t closed_slow;  /* likewise under a response that had begun, or took the response more slowly; part of closed */
    uint64_t closed_moved; /* of udp: it went over to the worker that replaces this one, where it was accepted; part of closed */
    uint32_t forwards;     /* what the kernel forwards for it: enum lb_offload_which (l4/offload), bits */
    uint32_t forwards_asked;          /* what it was to; more than that where its program could not be loaded */
    uint64_t connections_unsolicited; /* connections to backends that were closed for bytes that nothing was asked for */
    uint64_t http2_connections;       /* of clients that spoke HTTP/2 */
    uint64_t http2_streams;           /* that they opened; requests of these alone */
    uint64_t http2_streams_active;    /* gauge */
    uint64_t http2_streams_refused;   /* over max_streams, or no place was left */
    uint64_t http2_resets_received;   /* RST_STREAM on open streams */
    uint64_t http2_resets_sent;
    uint64_t http2_goaways;        /* connections that were told to go: idle, draining, or at fault */
    uint64_t http2_faults;         /* connections that broke the rules */
    uint64_t http2_floods_frames;  /* connections that sent more than their share of frames that ask for nothing, */
    uint64_t http2_floods_resets;  /* ... of streams that were reset, or had to be, */
    uint64_t http2_floods_headers; /* ... or a header block without end */
    uint64_t http2_stalls;         /* times that a response waited for its client to open a window */
    uint32_t loop;                 /* enum lb_loop_kind: by what it serves sockets */
    uint32_t pad0;
    uint64_t shortages;     /* connects that this host lacked a port, a descriptor or memory for: no backend's fault */
    uint64_t goaways;       /* connections to backends of HTTP/2 that were told to take nothing new */
    uint64_t calls_refused; /* requests that a backend of HTTP/2 said it did not look at */
    uint64_t calls_reset;   /* that it reset for another reason */
    uint64_t calls;         /* streams that were opened to backends */
    uint64_t calls_active;  /* gauge: those that are open, or wait for their connection */
    uint64_t calls_stalls;  /* times that a request waited for its backend to open a window */
    /* RST_STREAM by its code, 14: any other: LB_RESETS_CODES for each of enum lb_reset_by */
    uint64_t http2_resets[60];
    /* calls of gRPC by the status that their clients were told, in the order of its codes */
    uint64_t grpc_ok;
    uint64_t grpc_cancelled;
    uint64_t grpc_unknown;
    uint64_t grpc_invalid_argument;
    uint64_t grpc_deadline_exceeded;
    uint64_t grpc_not_found;
    uint64_t grpc_already_exists;
    uint64_t grpc_permission_denied;
    uint64_t grpc_resource_exhausted;
    uint64_t grpc_failed_precondition;
    uint64_t grpc_aborted;
    uint64_t grpc_out_of_range;
    uint64_t grpc_unimplemented;
    uint64_t grpc_internal;
    uint64_t grpc_unavailable;
    uint64_t grpc_data_loss;
    uint64_t grpc_unauthenticated;
    uint64_t responses_retried;     /* of backends, that no client got: the request went to another backend */
    uint64_t requests_overdue;      /* over their route's total_timeout: 504, or broken off */
    uint64_t closed_overdue;        /* connections of HTTP/1.1 that ended with such a one; part of closed */
    uint64_t requests_rate_limited; /* 429: their key asked more than their route's rate; part of requests_refused */
    uint64_t keys_forgotten;        /* keys that still owed time, in whose place another came */
    uint64_t requests_urgent;       /* part of requests_queued: with high priority */
    uint64_t mirrors;               /* copies of requests that were sent to a route's mirror */
    uint64_t mirrors_active;        /* gauge: those that are under way */
    uint64_t mirrors_failed;        /* those that got no whole response */
    uint64_t mirrors_missed;        /* requests of which there should have been one: not held whole, or too many were under way */
    uint64_t refused_denied;        /* its client's address is not allowed; part of refused */
    uint64_t requests_denied;       /* 403: likewise; part of requests_refused */
    uint64_t requests_unauthenticated; /* 401: no valid credentials came; part of requests_refused */
    uint64_t auth_requests;            /* questions to a service that decides on requests */
    uint64_t auth_cached;              /* requests that went on by an answer of before */
    uint64_t auth_refused;             /* of the questions: no */
    uint64_t auth_failed;              /* of them, and of those that could not be asked: no answer that counts */
    uint64_t hedges;                   /* requests that went to a second backend as well, since the first was late */
    uint64_t hedges_won;               /* ... which answered first */
    uint64_t hedges_denied;            /* that were to, and the pool's share was used up */
    uint64_t pad1[4];
};

/* Sessions and retries of a pool in the last seconds, as one worker saw them. Writer: the worker. */
struct lb_budget {
    uint32_t second[8]; /* which second an entry counts */
    uint32_t sessions[8];
    uint32_t retries[8];
    uint32_t active;        /* gauge: what sessions and exchanges on backends cost */
    uint32_t queued;        /* gauge: exchanges that wait for a backend */
    uint32_t tenant;        /* whose times these are: those of an earlier one are forgotten with the first of the next */
    uint32_t timed;         /* bit of each lb_timing that holds anything: the others' pages are not touched */
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

/* What ended at a listener, of a pool, or of a model. Writer: the worker. */
struct lb_tally {
    uint64_t accepted; /* of listeners: connections, and udp sessions */
    uint64_t sessions; /* of tcp, tls and udp, and upgraded ones: those that ended */
    uint64_t requests;
    uint64_t failed;          /* of both: ended by a backend that broke off or could not be had, or for want of something here */
    uint64_t client_aborts;   /* of both: the client went */
    uint64_t local_responses; /* exchanges that got a local response */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t responses[5]; /* 1xx (upgrades) to 5xx, the balancer's own included */
    uint64_t limited;      /* connections, udp sessions and exchanges that a limit per client address refused */
    uint64_t http2;        /* exchanges by HTTP/2: of a listener's with the client, of a pool's with the backend */
    uint64_t grpc[17];     /* calls of gRPC by the status that their clients were told */
    /* of pools, policy prefix: requests with a text that were sent to a backend; on a retry again */
    uint64_t prefix_continued; /* to the one that served the text before */
    uint64_t prefix_shared;    /* to one that knows its beginning */
    uint64_t prefix_new;       /* to one that does not */
    uint64_t prefix_moved;     /* of these two: continued, but its backend was crowded, or another one is warmed up */
    uint64_t prefix_bytes;     /* of the texts, in whole blocks */
    uint64_t prefix_matched;   /* of these: known to the backend */
    uint32_t tenant;           /* whose figures these are */
    uint8_t pad0[12];
};

/* One ending, in a section's ring: number n lies at n % LB_RECORDS. Writer: the worker, who never waits; whoever reads it copies it,
 * and sees by the worker's `records` that it was not overwritten meanwhile. Texts follow each other: method, host, path,
 * referer, agent, id, reason. */
struct lb_record {
    uint64_t number;     /* from 1 */
    uint64_t ended_us;   /* monotonic */
    uint64_t total_us;   /* since the request's head was whole, or the session opened */
    uint64_t bytes_in;   /* from the client */
    uint64_t bytes_out;  /* from the backend, or of our local response */
    uint64_t generation; /* of the backend */
    uint64_t trace[2];   /* trace id; 0: none */
    uint64_t span;       /* our own span in it */
    uint64_t parent;     /* the span of whoever asked; 0: none */
    uint32_t backend;    /* row, the last that was tried; UINT32_MAX: none */
    uint32_t accept_us;  /* from the accept to here: PROXY header, TLS; 0: not the connection's first exchange */
    uint32_t connect_us; /* until a connection to a backend was there, queue and failed attempts included; UINT32_MAX: never */
    uint32_t first_us;   /* until the backend's first byte, of exchanges its response's head; UINT32_MAX: never */
    uint32_t queue_us;   /* in its pool's queue; 0: it was not */
    uint8_t client[16];  /* IPv4 mapped into IPv6 */
    uint16_t client_port;
    uint16_t listener; /* row */
    uint16_t pool;     /* row; UINT16_MAX: none */
    uint16_t status;   /* 0: none */
    uint8_t kind;      /* enum lb_record_kind */
    uint8_t end;       /* enum lb_end */
    uint8_t flags;     /* enum lb_record_flag */
    uint8_t tried;     /* backends */
    uint8_t minor;     /* HTTP/1.minor; LB_RECORD_HTTP2 */
    uint8_t trace_flags;
    uint8_t method_length;
    uint8_t host_length;
    uint16_t path_length;
    uint8_t id_length;
    uint8_t reason_length;
    uint8_t grpc;   /* grpc-status and one; 0: none */
    uint8_t spoken; /* enum lb_protocol: with the backend; 0: with none, or not HTTP */
    uint8_t referer_length;
    uint8_t agent_length;
    uint8_t user_length; /* of the name that its credentials have; it follows the reason */
    uint8_t model;       /* row and one; 0: none */
    uint8_t text[370];
};

/* What a worker saw of a backend. Writer: the worker. Valid for the row's generation only. */
struct lb_backend_health {
    uint64_t generation;
    uint64_t sessions;        /* sessions, and exchanges that got a response */
    uint64_t failures;        /* connects and responses that failed */
    uint64_t last_success_ms; /* monotonic */
    uint32_t failures_in_row; /* of connects */
    int32_t last_errno;
    uint32_t latency_us;   /* of connects, or from request to response; exponentially weighted */
    uint32_t ack_credit;   /* responses for which TCP_QUICKACK is still tried; see l4/ack.h */
    uint32_t ack_trial_in; /* of these until one goes without */
    uint32_t ack_trial_gap;
    uint32_t failed_responses_in_row; /* failed responses, likewise */
    uint16_t last_status;             /* of the last failed response; 0: none came in time, or it broke off */
    uint8_t refusals_in_row;          /* responses that sent requests elsewhere, since it could not serve, a few at most */
    uint8_t pad0;
    float peak_us;             /* peak EWMA of the latency, for the policy ewma; see table/policy.h */
    uint32_t peak_ms;          /* monotonic, low 32 bits: when it was taken */
    uint32_t closes_after_ms;  /* the soonest that the backend closed an idle connection; 0: not seen */
    uint32_t keeps_ms;         /* how long it says that it keeps one; 0: it does not say */
    uint64_t good;             /* sessions whose connect succeeded, exchanges that got a good response */
    uint64_t last_response_ms; /* monotonic: of the last of these exchanges */
    uint32_t spoke_ms;         /* monotonic, low 32 bits: when it last sent bytes that nothing was asked for; 0: never */
    uint32_t lost_ms;          /* likewise: when a request that may not be sent again was lost on a kept connection */
    uint32_t avoid_until_ms;   /* table/avoid.h. Monotonic, low 32 bits: until then it is passed over ... */
    uint32_t avoid_ms;         /* ... which was to last so long */
    uint32_t pause_ms;         /* the last pause between two trials */
    uint8_t avoided;           /* enum lb_avoided: it is passed over but for trials */
    uint8_t on_trial;          /* one was begun, and has not ended */
    uint8_t kept_in_row;       /* responses that kept their connection since one did not, a few at most */
    uint8_t speaks;            /* enum lb_protocol: what it last agreed on by ALPN; 0: not known */
    uint32_t suspected_us;     /* monotonic, low 32 bits: of the last sign that it is stopping, or refuses */
    uint32_t open_for_ms;      /* the longest that an idle connection to it was seen to stay open */
};

/* A decision, in a section's ring: number n lies at n % LB_DECISIONS. Writer: the section's owner. Whoever reads it copies it and
 * sees that the number stayed the same. */
struct lb_decision {
    uint64_t number;       /* from 1; 0 while it is being written */
    uint64_t at_us;        /* monotonic */
    uint64_t generation;   /* of the backend */
    uint32_t backend;      /* row; UINT32_MAX: none */
    uint16_t pool;         /* row; UINT16_MAX: none was asked */
    uint8_t blocks;        /* policy prefix: blocks of the text; 0: there was none */
    uint8_t matched;       /* its first ones that a backend has had */
    uint32_t candidate[2]; /* rows that were compared; UINT32_MAX: none */
    float score[2];        /* theirs, lower is better; negative: not asked for */
    uint32_t took_us;      /* from the decision to its end */
    uint16_t status;       /* of the response; 0: none */
    uint8_t why;           /* enum lb_why */
    uint8_t end;           /* enum lb_end: what came of it */
    uint16_t cost;
    uint8_t policy;     /* enum lb_policy */
    uint8_t tried;      /* backends that were tried before */
    uint8_t spoken;     /* enum lb_protocol: what is spoken with it; 0: not HTTP, or not begun */
    uint8_t spoken_why; /* enum lb_spoken_why; and sixteen times enum lb_json_why: what the request's body said to its routes */
    uint16_t route;     /* that led there: its number in the configuration, and 1; 0: none */
};

/* How a request's routes came out that have alternatives (`any`). */
struct lb_way {
    uint16_t passed; /* the first route before its own that none of its alternatives held for: its number and 1; 0: none */
    uint8_t held;    /* of its own route: the alternative that held, from 1; 0: it has none */
    uint8_t count;   /* alternatives of the passed route; 255: or more */
    uint16_t failed[LB_TOLD]; /* of each: which of its conditions failed first, counted from the row of `any`; 0: not known */
};

/* That of a decision, in a ring beside that of the decisions. One that has another number's is of an older decision. */
struct lb_way_row {
    uint64_t number; /* of the decision; 0 while it is being written */
    struct lb_way way;
    uint32_t pad0;
};
