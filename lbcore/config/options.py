"""Every option, declared once.

From these tables come the TOML keys (toml.py), the flags (cli), the arguments of the settings, the texts of errors and the
tables of tools/docs/options.md.
"""

from __future__ import annotations

from lbcore.config.option import Option

_SECOND, _MINUTE, _HOUR = 1000, 60_000, 3_600_000

TOP: tuple[Option, ...] = (
    Option("name", "name", "lbcore", "name of this balancer; commands find it by this name"),
    Option("workers", "int", None, "number of workers; default: the cores that this process may use", low=1, high=64),
    Option(
        "datapath",
        "choice",
        "auto",
        "how bytes are forwarded: auto copies or splices each direction as fits at the time; copy and splice always"
        " do; offload has the kernel forward",
        choices=("auto", "copy", "splice", "offload"),
    ),
    Option(
        "offload_local",
        "flag",
        False,
        "requires datapath auto or offload: sessions of small messages to backends on this host go from socket to"
        " socket in the kernel; backends must not splice(2) out of their sockets, nor set SO_RCVLOWAT; backends whose"
        " sockets block are left alone",
    ),
    Option(
        "worker_timeout",
        "duration",
        30 * _SECOND,
        "how long a worker process may hang until another takes its place; 0: for ever. The log, status, metrics and"
        " readyz report a hang within 5 s",
        low=0,
        high=_HOUR,
    ),
    Option(
        "drain_timeout",
        "duration",
        30 * _SECOND,
        "how long sessions may continue when the balancer stops or a backend is removed",
        low=0,
        high=_HOUR,
    ),
    Option(
        "drain_delay",
        "duration",
        0,
        "how long readyz says 503 before the balancer stops accepting, so that a balancer in front of it can stop"
        " sending in time",
        low=0,
        high=_HOUR,
    ),
    Option(
        "state_file",
        "text",
        None,
        "file that keeps registered and added backends over a restart, which begins with them on probation; default: none",
    ),
    Option(
        "access_log",
        "text",
        "off",
        "where a line for each request and session that has ended is written: off, a file, stdout, stderr, syslog,"
        " syslog:/SOCKET, or syslog:HOST:PORT (UDP)",
    ),
    Option("access_log_format", "choice", "json", "format of the lines of the access log", choices=("json", "text")),
    Option(
        "access_log_sample",
        "int",
        1,
        "the access log gets one of so many requests and sessions; failures are always written",
        low=1,
        high=1_000_000,
    ),
    Option(
        "traces",
        "text",
        "off",
        "where spans of sampled requests are sent: off, or an OTLP endpoint over HTTP such as"
        " http://127.0.0.1:4318/v1/traces; requires lbcore[otel]. Each request then carries a traceparent to its"
        " backend",
    ),
    Option(
        "trace_sample",
        "int",
        100,
        "of requests without a traceparent, one of so many is sampled; other requests are sampled as their traceparent says",
        low=1,
        high=1_000_000,
    ),
    Option(
        "max_sessions",
        "int",
        0,
        "sessions of each worker; 0: as many as the descriptor limit allows",
        low=0,
        high=1_000_000,
    ),
    Option(
        "max_handshakes",
        "int",
        1024,
        "TLS handshakes under way at once, each worker; further clients wait",
        low=1,
        high=100_000,
    ),
    Option(
        "ticket_rotation",
        "duration",
        _HOUR,
        "how often the keys of TLS session tickets change; a ticket is valid for at least one and at most three such periods",
        low=_MINUTE,
        high=24 * _HOUR,
    ),
    Option("max_backends", "int", 16_384, "backends in all pools; a change requires a restart", low=1, high=1_000_000),
    Option(
        "user",
        "text",
        None,
        "lbcore run, started by root: the user to become, by name or number, before it binds; the control plane keeps"
        " CAP_NET_BIND_SERVICE, and with offload the capabilities that offload requires; default: no change",
    ),
    Option(
        "group",
        "text",
        None,
        "lbcore run, started by root: the group to become; requires user; default: the groups of that user",
    ),
    Option(
        "seccomp",
        "choice",
        "auto",
        "auto: where libseccomp is installed, worker processes may make only the system calls that they need; off:"
        " any system call",
        choices=("auto", "off"),
    ),
    Option("pin", "flag", False, "pin each worker to a core"),
    Option("log_format", "choice", "text", "format of the control plane's log lines", choices=("text", "json")),
)
DEFAULT_NAME = str(next(option.default for option in TOP if option.name == "name"))

LISTENER: tuple[Option, ...] = (
    Option("name", "name", None, 'name of the listener; default: "listener-1", "listener-2", ...'),
    Option("bind", "text", None, "MODE://HOST:PORT, port 0 for any free port"),
    Option(
        "pool",
        "name",
        None,
        'pool for traffic that no route matches; default without routes: the only pool, or "default"; default with'
        " routes: none, so that it gets a 404",
    ),
    Option(
        "idle_timeout",
        "duration",
        None,
        "a session that moves no byte for so long is closed; default: 10min, udp: 30s",
        low=100,
        high=24 * _HOUR,
    ),
    Option(
        "half_closed_timeout",
        "duration",
        30 * _SECOND,
        "a session of which one side has finished sending is closed when it moves no byte for so long",
        low=100,
        high=_HOUR,
    ),
    Option(
        "header_timeout",
        "duration",
        10 * _SECOND,
        "the time in which the head of a request, a ClientHello or a PROXY header must arrive",
        low=100,
        high=_HOUR,
    ),
    Option(
        "body_timeout",
        "duration",
        30 * _SECOND,
        "http: a client that sends or takes no byte of a body for so long is disconnected; time in which lbcore waits"
        " for the backend does not count",
        low=100,
        high=_HOUR,
    ),
    Option(
        "min_body_rate",
        "size",
        0,
        "http: bytes a second of a body that a client must send or take, over each body_timeout in which lbcore waits"
        " for the client only; a slower client gets a 408 or is disconnected; 0: no limit",
        low=0,
        high=1 << 30,
    ),
    Option(
        "keepalive_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a client's connection is kept between requests; responses tell the client (Keep-Alive: timeout=60)",
        low=100,
        high=24 * _HOUR,
    ),
    Option(
        "lingering_time",
        "duration",
        30 * _SECOND,
        "http: after a response that ends the connection, such as an early 413, lbcore reads and discards for so long"
        " what the client still sends, so that the response is not lost; 2s while lbcore drains or when many clients"
        " linger; 0: not at all",
        low=0,
        high=_HOUR,
    ),
    Option(
        "lingering_timeout",
        "duration",
        5 * _SECOND,
        "http: a connection that lingers is closed when the client sends nothing for so long",
        low=10,
        high=_HOUR,
    ),
    Option(
        "health_path",
        "text",
        None,
        "http: lbcore responds to a GET of this path itself, as readyz does: 200, or 503 while it drains or no"
        " backend can serve",
    ),
    Option(
        "max_header_bytes",
        "size",
        16 << 10,
        "http: bytes of a request's head; Kerberos tickets may require 64k",
        low=1 << 10,
        high=64 << 10,
    ),
    Option("max_target", "size", 8 << 10, "http: bytes of a request's target", low=64, high=64 << 10),
    Option("max_headers", "int", 100, "http: headers of a request", low=1, high=1000),
    Option("max_body", "size", 0, "http: bytes of a request's body; 0: no limit", low=0, high=1 << 50),
    Option(
        "forwarded",
        "choice",
        "both",
        "http: headers that tell backends about the client: x (X-Forwarded-For, -Proto and -Host), rfc7239"
        " (Forwarded), both, or off",
        choices=("both", "x", "rfc7239", "off"),
    ),
    Option(
        "trusted_proxies",
        "cidrs",
        None,
        "peers whose word about the client is taken: their X-Forwarded-*, Forwarded, X-Request-Id and similar headers"
        " are kept and added to, those of other peers are dropped; with accept_proxy, their connections begin with a"
        " PROXY header",
    ),
    Option(
        "pass_client_headers",
        "headers",
        None,
        "http: headers such as X-Real-IP that pass from any client; from peers outside trusted_proxies, all other"
        " headers that say who the client is are dropped (tools/docs/headers.md)",
    ),
    Option(
        "cost_header",
        "choice",
        "trusted",
        "http: whose X-LB-Cost is read and passed on: only that of trusted_proxies, or that of any client",
        choices=("trusted", "any"),
    ),
    Option(
        "accept_proxy",
        "flag",
        False,
        "tcp, tls, http, https: connections of trusted_proxies must begin with a PROXY header, version 1 or 2, which names the"
        " client",
    ),
    Option(
        "early_hints",
        "choice",
        "browsers",
        "http: requests whose interim responses (1xx except 100 and 101) are passed on: browsers (those with Sec-"
        "Fetch-Mode: navigate), always, or never; many other clients take a 103 for the response",
        choices=("browsers", "always", "never"),
    ),
    Option("request_id", "flag", True, "http: give each request an X-Request-Id"),
    Option(
        "half_close",
        "flag",
        False,
        "http: a client may finish sending before it has its response; without this a FIN means that the client has left",
    ),
    Option("error_body", "text", None, "http: body of local responses; {status} and {reason} are filled in"),
    Option("error_type", "text", None, "http: media type of error_body; default: text/plain; charset=utf-8"),
    Option(
        "responses",
        "int",
        0,
        "udp: replies to each datagram, such as 1 for DNS; after the last one the session ends; 0: not known",
        low=0,
        high=1_000_000,
    ),
    Option(
        "max_client_sessions",
        "int",
        0,
        "open connections (udp: sessions) of one client address (IPv6: its /64), over all workers; further ones are"
        " closed at once; 0: no limit. Peers of trusted_proxies are not limited, but the clients that their PROXY"
        " headers name are",
        low=0,
        high=1_000_000,
    ),
    Option(
        "client_session_rate",
        "int",
        0,
        "new connections (udp: sessions) a second of one client address; 0: no limit",
        low=0,
        high=1_000_000,
    ),
    Option(
        "client_session_burst",
        "int",
        None,
        "new connections that one client address may open at once; requires client_session_rate, which is the default",
        low=1,
        high=1_000_000,
    ),
    Option(
        "client_request_rate",
        "int",
        0,
        "http: requests a second of one client address; further ones get a 429 with Retry-After; 0: no limit",
        low=0,
        high=1_000_000,
    ),
    Option(
        "client_request_burst",
        "int",
        None,
        "http: requests that one client address may send at once; requires client_request_rate, which is the default",
        low=1,
        high=1_000_000,
    ),
    Option("backlog", "int", 4096, "connections that may wait to be accepted, each worker", low=1, high=65_535),
    Option(
        "client_cert",
        "choice",
        None,
        "https, and tls with a certificate: whether clients must show a certificate (required), may (optional), or"
        " are not asked (off); default: off",
        choices=("off", "optional", "required"),
    ),
    Option(
        "client_ca",
        "text",
        None,
        "https, and tls with a certificate: PEM file of the CAs that sign certificates of clients; requires client_cert",
    ),
    Option(
        "tls_min",
        "choice",
        None,
        "https, and tls with a certificate: the oldest version of TLS; default: 1.2",
        choices=("1.2", "1.3"),
    ),
    Option(
        "tls_ciphers",
        "text",
        None,
        "https, and tls with a certificate: ciphers of TLS 1.2, in OpenSSL's words; default: Mozilla's intermediate ones",
    ),
    Option(
        "alpn",
        "texts",
        None,
        "tls with a certificate: ALPN protocols to agree on, the best first; default: none (https: always http/1.1 or 1.0)",
    ),
)

CERTIFICATE: tuple[Option, ...] = (
    Option("cert", "text", None, "PEM file of the certificate, then its chain"),
    Option("key", "text", None, "PEM file of the private key, not encrypted; default: the key is in the cert file"),
    Option("ocsp", "text", None, "DER file of an OCSP response to staple"),
)

POOL: tuple[Option, ...] = (
    Option("name", "name", "default", "name of the pool"),
    Option(
        "policy",
        "choice",
        "p2c",
        "how a backend is picked",
        choices=("round_robin", "least_conn", "p2c", "ewma", "random", "maglev"),
    ),
    Option(
        "hash",
        "text",
        "address",
        "the key by which maglev picks: address, path, header:NAME or cookie:NAME (address where a request lacks the"
        " header or cookie)",
    ),
    Option(
        "max_active",
        "int",
        0,
        "sessions or requests that one backend gets at once, over all workers; 0: no limit",
        low=0,
        high=1_000_000,
    ),
    Option(
        "queue",
        "int",
        None,
        "http: requests that may wait until a backend can take them, each worker; default: 0, with max_active 1024",
        low=0,
        high=1_000_000,
    ),
    Option(
        "queue_timeout",
        "duration",
        5 * _SECOND,
        "http: how long a request may wait in the queue; then it gets a 503 with Retry-After",
        low=10,
        high=_HOUR,
    ),
    Option(
        "response_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a backend may take from the end of the request to the end of the head of its final response",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "send_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a backend may take no byte of a request",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "backend_idle_timeout",
        "duration",
        _SECOND,
        "http: how long an idle connection to a backend is kept when the backend does not say how long it keeps it;"
        " 0: connections are not kept, and requests say Connection: close",
        low=0,
        high=_HOUR,
    ),
    Option(
        "max_idle_connections",
        "int",
        256,
        "http: idle connections to one backend, each worker; those that a burst leaves beyond it are kept for a"
        " second at most (never more than max_sessions in all); 0: connections are not kept",
        low=0,
        high=100_000,
    ),
    Option(
        "max_failed_responses",
        "int",
        10,
        "http: failed responses in a row (broken, late, or of failed_statuses) that take a backend out, unless its http or grpc"
        " probe then succeeds; 0: never",
        low=0,
        high=100_000,
    ),
    Option(
        "failed_statuses",
        "text",
        "502-504",
        'http: statuses that count towards max_failed_responses, such as "500,502-504"; a 4xx never counts, since'
        " clients cause those",
    ),
    Option("sticky", "text", None, "http: name of a cookie that keeps a client with its backend; default: no cookie"),
    Option("sticky_secret", "secret", None, "http: secret that signs the sticky cookie; default: a new one at each start"),
    Option(
        "sticky_drain",
        "choice",
        "keep",
        "http: while a backend drains or has weight 0, the clients that the sticky cookie binds to it stay (keep) or"
        " move at once (move)",
        choices=("keep", "move"),
    ),
    Option(
        "sticky_samesite",
        "choice",
        "lax",
        "http: SameSite of the sticky cookie; none also makes it Secure, as it always is on https",
        choices=("lax", "strict", "none"),
    ),
    Option(
        "sticky_domain", "text", None, "http: Domain of the sticky cookie; default: none, so only the host that set it gets it"
    ),
    Option("sticky_path", "text", "/", "http: Path of the sticky cookie"),
    Option(
        "sticky_max_age",
        "duration",
        None,
        "http: Max-Age of the sticky cookie, in whole seconds from when it is set; default: none, it ends with the"
        " browser's session",
        low=_SECOND,
        high=400 * 24 * _HOUR,
    ),
    Option(
        "connect_timeout",
        "duration",
        2 * _SECOND,
        "how long one attempt to connect to a backend may take",
        low=10,
        high=_MINUTE,
    ),
    Option(
        "slow_start",
        "duration",
        0,
        "how long a backend that joins others, or comes back, takes to get its whole share; 0: it gets its share at once",
        low=0,
        high=_HOUR,
    ),
    Option(
        "send_proxy",
        "choice",
        "off",
        "tcp, tls, http, https: the PROXY header that each backend connection begins with; v2 also tells the server"
        " name of tls clients; in http and https such a connection serves one client only",
        choices=("off", "v1", "v2"),
    ),
    Option(
        "max_response_header_bytes",
        "size",
        64 << 10,
        "http: bytes of a response's head, from its status line to its empty line; a larger head becomes a 502",
        low=1 << 10,
        high=128 << 10,
    ),
    Option("max_response_headers", "int", 500, "http: headers of a response; more become a 502", low=1, high=1000),
    Option(
        "trailers",
        "flag",
        False,
        "http: pass on trailers of requests; without this they are read and dropped, since several servers mishandle them",
    ),
    Option(
        "max_cost",
        "int",
        1000,
        "http: the highest cost that X-LB-Cost may give a request (see cost_header); 0: the header is not read",
        low=0,
        high=65_535,
    ),
    Option(
        "hold_down",
        "duration",
        _SECOND,
        "how long a backend stays out at least after its second failure; each further failure about doubles it, up to"
        " hold_down_max; the first failure has no hold-down; a failure counts half after each hold_down_max without"
        " one",
        low=0,
        high=_HOUR,
    ),
    Option("hold_down_max", "duration", _MINUTE, "the longest hold_down", low=100, high=24 * _HOUR),
    Option("retries", "int", 2, "further backends that a session or request may try", low=0, high=7),
    Option("retry_budget", "int", 20, "retries allowed, in percent of recent sessions", low=0, high=100),
    Option("retry_floor", "int", 10, "retries a second that are allowed whatever retry_budget says", low=0, high=10_000),
    Option(
        "max_connect_failures",
        "int",
        3,
        "connect failures in a row that take a backend out at once; 0: never",
        low=0,
        high=1000,
    ),
    Option(
        "initial",
        "choice",
        "up",
        "state of a backend before its first probe: up gets sessions at once, down waits until a probe succeeds; a"
        " backend that registers itself always waits",
        choices=("up", "down"),
    ),
    Option(
        "when_none",
        "choice",
        "keep",
        "while no backend is usable: keep sends sessions to those that were good last, since the fault may be the balancer's;"
        " refuse sends no session to a backend that failed, also when most of the pool fails at once",
        choices=("keep", "refuse"),
    ),
    Option(
        "on_down",
        "choice",
        "keep",
        "sessions of a backend that goes down: keep lets them continue, cut resets them",
        choices=("keep", "cut"),
    ),
    Option(
        "retry_after",
        "duration",
        10 * _SECOND,
        "pools without probes: how long a backend that was taken out waits until it is tried again",
        low=100,
        high=_HOUR,
    ),
    Option(
        "tcp_keepalive",
        "duration",
        60 * _SECOND,
        "idle time before TCP keep-alive probes; 0: off",
        low=0,
        high=2 * _HOUR,
    ),
    Option(
        "user_timeout",
        "duration",
        30 * _SECOND,
        "the connection of a client or backend that acknowledges nothing for so long ends; a peer that acknowledges"
        " and reads nothing is not affected; 0: off",
        low=0,
        high=_HOUR,
    ),
    Option("tls", "flag", False, "speak TLS to the backends"),
    Option("tls_verify", "flag", True, "tls: check the certificates of backends"),
    Option("tls_ca", "text", None, "tls: PEM file of the CAs that sign certificates of backends; default: the system's"),
    Option(
        "tls_name",
        "text",
        None,
        "tls: the name that certificates of backends must carry, also sent as SNI; default: the host of each backend's address",
    ),
    Option("tls_cert", "text", None, "tls: PEM file of a client certificate, for backends that ask for one"),
    Option("tls_key", "text", None, "tls: PEM file of the private key of tls_cert; default: the key is in the tls_cert file"),
)

ROUTE: tuple[Option, ...] = (
    Option("listener", "name", None, "the http, https or tls listener that the route belongs to; default: all of them"),
    Option(
        "host", "text", None, 'the host, "api.example.com", or "*.example.com" for all names below; port and case do not matter'
    ),
    Option("path", "text", None, "the whole path"),
    Option("path_prefix", "text", None, 'the beginning of the path, by segments: "/v2/" matches /v2 and /v2/x, not /v2x'),
    Option("path_regex", "text", None, "a POSIX extended regular expression that the path must contain"),
    Option("pool", "name", None, "pool for traffic that the route matches"),
    Option("alpn", "text", None, 'tls: a protocol that the client offers, such as "h2"'),
    Option("cost", "int", None, "cost of a request without X-LB-Cost while it is under way; default: 1", low=1, high=65_535),
)

OUTLIER: tuple[Option, ...] = (
    Option("interval", "duration", 5 * _SECOND, "how often backends are compared with each other", low=100, high=_HOUR),
    Option("min_requests", "int", 20, "a backend with fewer requests in an interval is not compared", low=1, high=1_000_000),
    Option(
        "success_gap",
        "int",
        25,
        "a backend whose success rate is so many percentage points below the rest of the pool is ejected; 0: never",
        low=0,
        high=100,
    ),
    Option(
        "latency_factor",
        "int",
        0,
        "http: a backend whose latency is so many times the median of the rest of the pool is ejected; 0: never",
        low=0,
        high=1000,
    ),
    Option("ejection", "duration", 10 * _SECOND, "how long an ejected backend stays out the first time", low=100, high=_HOUR),
    Option(
        "max_ejected",
        "int",
        50,
        "percent of a pool that may be ejected at once; of a small pool, always one of several backends",
        low=0,
        high=100,
    ),
)

PROBE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "tcp",
        "what a probe does: tcp connects without a trace at the server, or speaks as greeting, send and expect say;"
        " the others speak their protocol to a clean end; default of a pool that only udp listeners use: off",
        choices=("tcp", "http", "grpc", "mysql", "postgres", "redis", "smtp", "mqtt", "amqp", "udp", "off"),
    ),
    Option(
        "greeting", "bytes", None, "tcp: text that the server's first words must contain, before anything is sent to the server"
    ),
    Option(
        "send",
        "bytes",
        None,
        'udp, tcp: what is sent, as text or as "hex:0001...."; the server must reply',
    ),
    Option(
        "expect", "bytes", None, "udp, tcp: text that the first 64 KiB of the reply must contain; default: any reply will do"
    ),
    Option(
        "user",
        "text",
        None,
        "mysql, postgres, redis, mqtt, amqp: the user that the probe logs in as; it requires no rights. Without a"
        " user, MySQL and MariaDB log a denied access and RabbitMQ a client that left, and PostgreSQL only proves that"
        " it runs, not that it is ready",
    ),
    Option("password", "secret", None, "mysql, redis, mqtt, amqp: password of user; better kept in a file (password_file)"),
    Option("password_file", "text", None, "mysql, redis, mqtt, amqp: file whose first line is the password of user"),
    Option(
        "send_proxy",
        "choice",
        None,
        "the PROXY header that a probe's connection begins with (v2: LOCAL, v1: UNKNOWN); default: the pool's, and"
        " off for a probe with a port of its own",
        choices=("off", "v1", "v2"),
    ),
    Option("path", "text", "/health", "http: path of the request; * with method OPTIONS"),
    Option("method", "text", "GET", "http: method of the request, such as HEAD or OPTIONS"),
    Option(
        "headers", "header_map", None, "http: further headers of the request; Host, User-Agent and Accept may be among them"
    ),
    Option("status", "text", "200-399", 'http: statuses that are good, such as "200,204,300-399"'),
    Option("body", "text", None, "http: text that the first 64 KiB of the body must contain"),
    Option(
        "host",
        "text",
        None,
        "the Host (http), the authority (grpc) or the name in EHLO (smtp); with tls also the name that the"
        " certificate must carry; default: the pool's tls_name, or the backend's address",
    ),
    Option("service", "text", None, "grpc: the service whose health is asked for (grpc.health.v1); default: the whole server"),
    Option("tls", "flag", None, "probe over TLS; kind tcp: only a handshake; default: as the pool"),
    Option("tls_ca", "text", None, "PEM file of the CAs that sign the certificate; default: the pool's, or the system's"),
    Option("tls_verify", "flag", None, "check the certificate and its name; default: as the pool"),
    Option("interval", "duration", 2 * _SECOND, "time between two probes of a backend", low=50, high=_HOUR),
    Option("timeout", "duration", _SECOND, "how long one probe may take", low=10, high=_MINUTE),
    Option("rise", "int", 2, "good probes in a row that bring a backend back", low=1, high=100),
    Option("fall", "int", 3, "bad probes in a row that take a backend out", low=1, high=100),
    Option("port", "int", None, "port to probe; default: the backend's", low=1, high=65_535),
)

LEASE: tuple[Option, ...] = (
    Option(
        "heartbeat", "duration", 5 * _SECOND, "interval of heartbeats that registered backends are told", low=50, high=_HOUR
    ),
    Option("missed", "int", 3, "intervals without a heartbeat that end a lease", low=1, high=100),
    Option("port", "int", None, "port of registrations that name no port", low=1, high=65_535),
    Option("token", "secret", None, "token that registrations of this pool must show instead of the operators' token"),
    Option("token_file", "text", None, "file whose first line is the token of this pool"),
    Option(
        "hmac_key",
        "secret",
        None,
        "key that must sign registrations and heartbeats of this pool (lbcore/client/signature.py); better kept in a file"
        " (hmac_key_file)",
    ),
    Option("hmac_key_file", "text", None, "file whose first line is hmac_key"),
    Option("open", "flag", False, "backends may register without a token although the admin server has one"),
)

SOURCE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "dns",
        "where backends are named: dns (addresses of a name, A and AAAA), srv (services), or a watched file",
        choices=("dns", "srv", "file"),
    ),
    Option("name", "text", None, 'dns, srv: the name, such as "app.internal", for srv such as "_http._tcp.app.internal"'),
    Option("port", "int", None, "dns: the port of all addresses", low=1, high=65_535),
    Option(
        "path",
        "text",
        None,
        'file: a file with a backend a line, "IP:PORT" or "IP:PORT weight=N"; JSON when its name ends in .json',
    ),
    Option(
        "interval",
        "duration",
        _SECOND,
        "file: time between two looks at the file; dns, srv: the shortest time between two queries, whatever the time to live",
        low=50,
        high=_HOUR,
    ),
    Option("max_ttl", "duration", 5 * _MINUTE, "dns, srv: the longest time between two queries", low=100, high=24 * _HOUR),
    Option(
        "family",
        "choice",
        "auto",
        "dns, srv: family of the addresses; auto: IPv4, or IPv6 of a host without IPv4, so that a host with both is"
        " one backend; both: each address is one",
        choices=("auto", "ipv4", "ipv6", "both"),
    ),
    Option(
        "hold",
        "duration",
        5 * _SECOND,
        "dns, srv: an address that replies lack stays for so long, and until a second reply lacks it; 0: it goes at once",
        low=0,
        high=_HOUR,
    ),
    Option("server", "text", None, 'dns: the DNS server to ask, "IP:PORT"; default: the system\'s'),
)

BACKEND: tuple[Option, ...] = (
    Option("address", "text", None, "HOST:PORT"),
    Option("weight", "int", 1, "its share of new sessions, relative to other backends; 0: none", low=0, high=256),
    Option("backup", "flag", False, "it gets sessions only while no backend without this key can serve"),
)

ADMIN: tuple[Option, ...] = (
    Option("listen", "text", "127.0.0.1:9900", 'where the admin server listens: "HOST:PORT", "unix:/path", or "off"'),
    Option("token_file", "text", None, "file whose first line is the operators' token"),
    Option("token", "secret", None, "the operators' token; better kept in a file (token_file)"),
    Option(
        "read_token_file",
        "text",
        None,
        "file whose first line is a token that may only read: status, metrics, backends, the dashboard",
    ),
    Option("read_token", "secret", None, "a token that may only read; better kept in a file (read_token_file)"),
    Option("allow", "cidrs", None, "networks from which backends may register; default: loopback and private addresses"),
    Option("rate", "int", 1000, "calls a second from one address without the token; 0: no limit", low=0, high=1_000_000),
)
