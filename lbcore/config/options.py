"""Every option, declared once.

From these tables come the TOML keys (toml.py), the flags (cli), the arguments of the settings, the texts of errors and the
tables of tools/docs/options.md.
"""

from __future__ import annotations

from lbcore.config.option import Option

_SECOND, _MINUTE, _HOUR = 1000, 60_000, 3_600_000

TOP: tuple[Option, ...] = (
    Option("name", "name", "lbcore", "name of this balancer, by which commands find it"),
    Option("workers", "int", None, "data-path workers; default: the cores this process may use", low=1, high=64),
    Option(
        "datapath",
        "choice",
        "auto",
        "how bytes move: copied, spliced, whichever fits a direction at the time, or forwarded by the kernel (offload)",
        choices=("auto", "copy", "splice", "offload"),
    ),
    Option(
        "offload_local",
        "flag",
        False,
        "datapath auto or offload: sessions of small messages to backends on this host skip the two connections between;"
        " backends must not splice(2) out of their sockets, nor set SO_RCVLOWAT; those whose sockets block are left alone",
    ),
    Option(
        "worker_timeout",
        "duration",
        30 * _SECOND,
        "how long a worker process may hang until another takes its place; 0: for ever. Within 5 s the log, status, metrics and"
        " readyz tell of it",
        low=0,
        high=_HOUR,
    ),
    Option(
        "drain_timeout",
        "duration",
        30 * _SECOND,
        "how long sessions may finish when the balancer stops or a backend is removed",
        low=0,
        high=_HOUR,
    ),
    Option(
        "drain_delay",
        "duration",
        0,
        "how long readyz says 503 before the balancer stops accepting, so that what stands in front of it leaves in time",
        low=0,
        high=_HOUR,
    ),
    Option(
        "state_file",
        "text",
        None,
        "where registered and added backends are kept over a restart, which begins with them on probation; default: nowhere",
    ),
    Option(
        "access_log",
        "text",
        "off",
        "where each request and session that has ended is written: off, a file, stdout, stderr, syslog, syslog:/SOCKET, or"
        " syslog:HOST:PORT (UDP)",
    ),
    Option("access_log_format", "choice", "json", "its lines", choices=("json", "text")),
    Option(
        "access_log_sample",
        "int",
        1,
        "one of so many is written; what failed always is",
        low=1,
        high=1_000_000,
    ),
    Option(
        "traces",
        "text",
        "off",
        "where spans of sampled requests are sent: off, or an OTLP endpoint over HTTP such as http://127.0.0.1:4318/v1/traces;"
        " needs lbcore[otel]. With it each request goes on with a traceparent",
    ),
    Option(
        "trace_sample",
        "int",
        100,
        "one of so many requests that bring no traceparent is sampled; of others its own flag decides",
        low=1,
        high=1_000_000,
    ),
    Option(
        "max_sessions",
        "int",
        0,
        "sessions a worker; 0: as many as the descriptor limit allows",
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
        "how often the keys of TLS session tickets change; a ticket is good for at least one and at most three of these",
        low=_MINUTE,
        high=24 * _HOUR,
    ),
    Option("max_backends", "int", 16_384, "backends in all pools; fixed at start", low=1, high=1_000_000),
    Option(
        "user",
        "text",
        None,
        "lbcore run, started by root: the user that it becomes, by name or number, before it binds; CAP_NET_BIND_SERVICE stays"
        " with the control plane, and what offload takes where that is asked for; default: it stays who it is",
    ),
    Option("group", "text", None, "lbcore run, started by root: the group that it becomes; default: those of the user"),
    Option(
        "seccomp",
        "choice",
        "auto",
        "worker processes may only call what they need, where libseccomp is there; off: they may call anything",
        choices=("auto", "off"),
    ),
    Option("pin", "flag", False, "pin each worker to a core"),
    Option("log_format", "choice", "text", "how the control plane's own log lines are written", choices=("text", "json")),
)
DEFAULT_NAME = str(next(option.default for option in TOP if option.name == "name"))

LISTENER: tuple[Option, ...] = (
    Option("name", "name", None, 'name of the listener; default: "listener-1", "listener-2", ...'),
    Option("bind", "text", None, "MODE://HOST:PORT, port 0 for any"),
    Option(
        "pool",
        "name",
        None,
        'pool that serves it; default: the only pool, or "default"; with routes: none, so that what fits no route is 404',
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
        "a session of which one side has finished sending, and that moves no byte for so long, is closed",
        low=100,
        high=_HOUR,
    ),
    Option(
        "header_timeout",
        "duration",
        10 * _SECOND,
        "a request's head, a ClientHello or a PROXY header must come within it",
        low=100,
        high=_HOUR,
    ),
    Option(
        "body_timeout",
        "duration",
        30 * _SECOND,
        "http: a client that sends or takes no byte of a body for so long is closed; time in which the backend is waited for"
        " does not count",
        low=100,
        high=_HOUR,
    ),
    Option(
        "min_body_rate",
        "size",
        0,
        "http: bytes a second that a client sends or takes of a body at least, over each body_timeout in which nothing but the"
        " client is waited for; else 408, or the end; 0: no limit",
        low=0,
        high=1 << 30,
    ),
    Option(
        "keepalive_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a client's connection is kept between requests; clients are told so (Keep-Alive: timeout=60)",
        low=100,
        high=24 * _HOUR,
    ),
    Option(
        "lingering_time",
        "duration",
        30 * _SECOND,
        "http: after a response that ends the connection, such as an early 413, lbcore reads and discards for so long what the"
        " client still sends, so that the response is not lost; 2s while it drains or when many clients linger; 0: not at all",
        low=0,
        high=_HOUR,
    ),
    Option(
        "lingering_timeout",
        "duration",
        5 * _SECOND,
        "http: the connection is closed before lingering_time is over if the client sends nothing for so long",
        low=10,
        high=_HOUR,
    ),
    Option(
        "health_path",
        "text",
        None,
        "http: a GET of this path is answered by lbcore itself, as readyz: 200, or 503 while it drains or no backend can serve",
    ),
    Option(
        "max_header_bytes",
        "size",
        16 << 10,
        "http: bytes of a request's head; Kerberos tickets may need 64k",
        low=1 << 10,
        high=64 << 10,
    ),
    Option("max_target", "size", 8 << 10, "http: bytes of a request's target", low=64, high=64 << 10),
    Option("max_headers", "int", 100, "http: header fields of a request", low=1, high=1000),
    Option("max_body", "size", 0, "http: bytes of a request's body; 0: no limit", low=0, high=1 << 50),
    Option(
        "forwarded",
        "choice",
        "both",
        "http: fields that tell backends of the client: X-Forwarded-For, -Proto and -Host, Forwarded (RFC 7239), both, or off",
        choices=("both", "x", "rfc7239", "off"),
    ),
    Option(
        "trusted_proxies",
        "cidrs",
        None,
        "peers whose word on the client is taken: their X-Forwarded-*, Forwarded, X-Request-Id and the like are kept and added"
        " to, those of others are dropped; with accept_proxy, whose connections begin with a PROXY header",
    ),
    Option(
        "pass_client_headers",
        "headers",
        None,
        "http: headers such as X-Real-IP that pass although their sender is not in trusted_proxies; all others that say who the"
        " client is, or how it came, are dropped (tools/docs/headers.md)",
    ),
    Option(
        "cost_header",
        "choice",
        "trusted",
        "http: whose X-LB-Cost counts and is passed on: that of trusted_proxies, or that of any client",
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
        "http: the requests that 103 and the like (1xx but 100 and 101) go on to: with Sec-Fetch-Mode: navigate, all, or"
        " none; many clients take a 103 for the response",
        choices=("browsers", "always", "never"),
    ),
    Option("request_id", "flag", True, "http: give each request an X-Request-Id"),
    Option("half_close", "flag", False, "http: a client may finish sending before its answer comes; else it counts as gone"),
    Option("error_body", "text", None, "http: body of the balancer's own answers; {status} and {reason} are filled in"),
    Option("error_type", "text", None, "http: its media type; default: text/plain; charset=utf-8"),
    Option(
        "responses",
        "int",
        0,
        "udp: answers to each datagram, after the last of which a session ends, such as 1 for DNS; 0: not known",
        low=0,
        high=1_000_000,
    ),
    Option(
        "max_client_sessions",
        "int",
        0,
        "open connections (udp: sessions) of one client address, of IPv6 of its /64, over all workers; further ones are closed"
        " at once; 0: no limit. Peers of trusted_proxies are not limited, clients that their PROXY headers name are",
        low=0,
        high=1_000_000,
    ),
    Option(
        "client_session_rate", "int", 0, "new connections (udp: sessions) a second of one client address", low=0, high=1_000_000
    ),
    Option(
        "client_session_burst",
        "int",
        None,
        "new connections that one client address may open at once; default: client_session_rate",
        low=1,
        high=1_000_000,
    ),
    Option(
        "client_request_rate",
        "int",
        0,
        "http: requests of one client address a second; further ones are answered 429 with Retry-After; 0: no limit",
        low=0,
        high=1_000_000,
    ),
    Option(
        "client_request_burst",
        "int",
        None,
        "http: requests that one client address may send at once; default: client_request_rate",
        low=1,
        high=1_000_000,
    ),
    Option("backlog", "int", 4096, "connections that may wait to be accepted, each worker", low=1, high=65_535),
    Option(
        "client_cert",
        "choice",
        None,
        "https, and tls with a certificate: is a certificate of the client asked for? default: off",
        choices=("off", "optional", "required"),
    ),
    Option(
        "client_ca",
        "text",
        None,
        "https, and tls with a certificate: PEM file of the CAs that may have signed the certificate of a client",
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
        "tls with a certificate: protocols that are agreed on, the best first; default: none (https: always http/1.1 or 1.0)",
    ),
)

CERTIFICATE: tuple[Option, ...] = (
    Option("cert", "text", None, "PEM file: the certificate, then its chain"),
    Option("key", "text", None, "PEM file of its private key, not encrypted; default: it is in the cert file"),
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
        "what maglev keeps together: address, path, header:NAME or cookie:NAME (the address where a request has none)",
    ),
    Option("max_active", "int", 0, "sessions or requests that a backend is given at once; 0: no limit", low=0, high=1_000_000),
    Option(
        "queue",
        "int",
        None,
        "http: requests that may wait until a backend can take them, each worker; default: 0, with max_active 1024",
        low=0,
        high=1_000_000,
    ),
    Option("queue_timeout", "duration", 5 * _SECOND, "http: how long they wait", low=10, high=_HOUR),
    Option(
        "response_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a backend may take from the end of the request until the head of its final response is there",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "send_timeout",
        "duration",
        60 * _SECOND,
        "http: how long a backend may take no byte of a request that waits for it",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "backend_idle_timeout",
        "duration",
        _SECOND,
        "http: how long an idle connection to a backend is kept when it does not say how long it keeps it; 0: none is, and"
        " requests say Connection: close",
        low=0,
        high=_HOUR,
    ),
    Option(
        "max_idle_connections",
        "int",
        256,
        "http: idle connections to a backend, each worker; those beyond it are kept for a second at most, as many as a burst "
        "left behind (never more than max_sessions together); 0: none is kept",
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
        'http: statuses that count towards max_failed_responses, such as "500,502-504"; 4xx never do: clients cause those',
    ),
    Option("sticky", "text", None, "http: name of a cookie that keeps a client with its backend; default: off"),
    Option("sticky_secret", "secret", None, "http: what signs that cookie; default: a new one at each start"),
    Option(
        "sticky_drain",
        "choice",
        "keep",
        "http: whether clients that are bound to a backend stay with it while it drains (or has weight 0), or move at once",
        choices=("keep", "move"),
    ),
    Option(
        "sticky_samesite",
        "choice",
        "lax",
        "http: SameSite of that cookie; none makes it Secure, too, as it is on https in any case",
        choices=("lax", "strict", "none"),
    ),
    Option("sticky_domain", "text", None, "http: Domain of that cookie; default: none, so only the host that set it gets it"),
    Option("sticky_path", "text", "/", "http: Path of that cookie"),
    Option(
        "sticky_max_age",
        "duration",
        None,
        "http: Max-Age of that cookie, in whole seconds from when it is set; default: none, it ends with the browser's session",
        low=_SECOND,
        high=400 * 24 * _HOUR,
    ),
    Option(
        "connect_timeout",
        "duration",
        2 * _SECOND,
        "limit of one attempt to reach a backend",
        low=10,
        high=_MINUTE,
    ),
    Option(
        "slow_start",
        "duration",
        0,
        "how long a backend that comes to others, or comes back, takes until it has its whole share; 0: at once",
        low=0,
        high=_HOUR,
    ),
    Option(
        "send_proxy",
        "choice",
        "off",
        "tcp, tls, http, https: the PROXY header that each backend connection begins with; v2 tells the server name of tls"
        " clients too; http, https: each of these connections serves one client only",
        choices=("off", "v1", "v2"),
    ),
    Option(
        "max_response_header_bytes",
        "size",
        64 << 10,
        "http: bytes of a response's head, from its status line to its empty line; larger ones are 502",
        low=1 << 10,
        high=128 << 10,
    ),
    Option("max_response_headers", "int", 500, "http: header fields of a response; more are 502", low=1, high=1000),
    Option(
        "trailers",
        "flag",
        False,
        "http: pass on trailers of requests; several servers mishandle them; without this they are read and dropped",
    ),
    Option(
        "max_cost",
        "int",
        1000,
        "http: the most that X-LB-Cost (see cost_header) may charge a request with; 0: the header is not read",
        low=0,
        high=65_535,
    ),
    Option(
        "hold_down",
        "duration",
        _SECOND,
        "after failures that follow each other: how long a backend stays out at least; 0 after the first, then so long, then "
        "about twice as long each time, up to hold_down_max; a failure counts half after each hold_down_max without one",
        low=0,
        high=_HOUR,
    ),
    Option("hold_down_max", "duration", _MINUTE, "the longest of these", low=100, high=24 * _HOUR),
    Option("retries", "int", 2, "further backends that a session may try", low=0, high=7),
    Option("retry_budget", "int", 20, "retries allowed, percent of recent sessions", low=0, high=100),
    Option("retry_floor", "int", 10, "retries a second allowed in any case", low=0, high=10_000),
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
        "what a backend is before its first probe: up takes sessions at once, down waits until a probe succeeds; a backend that"
        " registers itself always waits",
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
        "sessions of a backend that goes down: keep lets them go on, cut resets them",
        choices=("keep", "cut"),
    ),
    Option(
        "retry_after",
        "duration",
        10 * _SECOND,
        "without probes: when a backend that was taken out is tried again",
        low=100,
        high=_HOUR,
    ),
    Option(
        "tcp_keepalive",
        "duration",
        60 * _SECOND,
        "idle time before TCP keep-alive; 0: off",
        low=0,
        high=2 * _HOUR,
    ),
    Option(
        "user_timeout",
        "duration",
        30 * _SECOND,
        "a client or backend that leaves what it was sent unacknowledged for so long is dead, and its connection ends; one that"
        " acknowledges, but reads nothing, is not; 0: off",
        low=0,
        high=_HOUR,
    ),
    Option("tls", "flag", False, "TLS is spoken to the backends"),
    Option("tls_verify", "flag", True, "tls: their certificates are checked"),
    Option("tls_ca", "text", None, "tls: PEM file of the CAs that are trusted; default: the system's"),
    Option(
        "tls_name",
        "text",
        None,
        "tls: the name that they must carry, and that is asked for (SNI); default: the host of each backend's address",
    ),
    Option("tls_cert", "text", None, "tls: PEM file of our own certificate, for backends that ask for one"),
    Option("tls_key", "text", None, "tls: PEM file of its private key; default: it is in the tls_cert file"),
)

ROUTE: tuple[Option, ...] = (
    Option("listener", "name", None, "the http, https or tls listener that it belongs to; default: all of them"),
    Option("host", "text", None, '"api.example.com", or "*.example.com" for all below; port and case do not matter'),
    Option("path", "text", None, "the whole path"),
    Option("path_prefix", "text", None, 'a path by segments: "/v2/" takes /v2 and /v2/x, not /v2x'),
    Option("path_regex", "text", None, "a POSIX extended regular expression that the path contains"),
    Option("pool", "name", None, "pool that serves it"),
    Option("alpn", "text", None, 'tls: a protocol that the client offers, such as "h2"'),
    Option("cost", "int", None, "what a request counts as under way that brings no X-LB-Cost; default: 1", low=1, high=65_535),
)

OUTLIER: tuple[Option, ...] = (
    Option("interval", "duration", 5 * _SECOND, "how often backends are compared with each other", low=100, high=_HOUR),
    Option("min_requests", "int", 20, "a backend with fewer in an interval is not compared", low=1, high=1_000_000),
    Option(
        "success_gap",
        "int",
        25,
        "a success rate so many percentage points under that of the pool's rest ejects a backend; 0: never",
        low=0,
        high=100,
    ),
    Option(
        "latency_factor",
        "int",
        0,
        "http: a latency so many times the median of the pool's rest ejects a backend; 0: never",
        low=0,
        high=1000,
    ),
    Option("ejection", "duration", 10 * _SECOND, "how long an ejected backend stays out, at first", low=100, high=_HOUR),
    Option(
        "max_ejected", "int", 50, "percent of a pool that may be ejected at once, but always one of several", low=0, high=100
    ),
)

PROBE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "tcp",
        "what a probe does: tcp connects without the server hearing of it, or speaks as greeting, send and expect say; the"
        " others speak their protocol to a clean end; default of a pool that only udp listeners lead to: off",
        choices=("tcp", "http", "grpc", "mysql", "postgres", "redis", "smtp", "mqtt", "amqp", "udp", "off"),
    ),
    Option("greeting", "bytes", None, "tcp: what must occur in the server's first words, before anything is sent to it"),
    Option(
        "send",
        "bytes",
        None,
        'udp, tcp: what is sent, as text or as "hex:0001...."; a response must come',
    ),
    Option(
        "expect", "bytes", None, "udp, tcp: what must occur in the first 64 KiB of the response; default: any response will do"
    ),
    Option(
        "user",
        "text",
        None,
        "mysql, postgres, redis, mqtt, amqp: whom the probe logs in as; it needs no rights. Without one, MySQL and MariaDB log"
        " a denied access and RabbitMQ a client that left; PostgreSQL is seen to run, not to be ready",
    ),
    Option("password", "secret", None, "mysql, redis, mqtt, amqp: the user's password; better kept in a file"),
    Option("password_file", "text", None, "mysql, redis, mqtt, amqp: file whose first line is that password"),
    Option(
        "send_proxy",
        "choice",
        None,
        "the PROXY header that a probe's connection begins with (v2: LOCAL, v1: UNKNOWN); default: the pool's, and off with a"
        " port of the probe's own",
        choices=("off", "v1", "v2"),
    ),
    Option("path", "text", "/health", "http: what is asked for; * with method OPTIONS"),
    Option("method", "text", "GET", "http: how, such as HEAD or OPTIONS"),
    Option(
        "headers", "header_map", None, "http: further headers of the request; Host, User-Agent and Accept may be among them"
    ),
    Option("status", "text", "200-399", 'http: statuses that are good, such as "200,204,300-399"'),
    Option("body", "text", None, "http: what must occur in the first 64 KiB of the body"),
    Option(
        "host",
        "text",
        None,
        "the Host (http), the authority (grpc) or the name in EHLO (smtp); with tls also whom the certificate must be for;"
        " default: the pool's tls_name, the backend",
    ),
    Option("service", "text", None, "grpc: the service that is asked about (grpc.health.v1); default: all of the server"),
    Option("tls", "flag", None, "over TLS; kind tcp: a handshake; default: the pool's"),
    Option("tls_ca", "text", None, "PEM file of the CAs that are trusted; default: the pool's, or the system's"),
    Option("tls_verify", "flag", None, "check the certificate and its name; default: the pool's"),
    Option("interval", "duration", 2 * _SECOND, "between two probes of a backend", low=50, high=_HOUR),
    Option("timeout", "duration", _SECOND, "limit of one probe", low=10, high=_MINUTE),
    Option("rise", "int", 2, "good probes in a row that bring a backend back", low=1, high=100),
    Option("fall", "int", 3, "bad probes in a row that take it out", low=1, high=100),
    Option("port", "int", None, "port to probe; default: the backend's", low=1, high=65_535),
)

LEASE: tuple[Option, ...] = (
    Option("heartbeat", "duration", 5 * _SECOND, "interval that registered backends are told", low=50, high=_HOUR),
    Option("missed", "int", 3, "silent intervals that end a lease", low=1, high=100),
    Option("port", "int", None, "port of registrations that name none", low=1, high=65_535),
    Option("token", "secret", None, "what registrations of this pool must show instead of the operators' token"),
    Option("token_file", "text", None, "file whose first line is that token"),
    Option(
        "hmac_key",
        "secret",
        None,
        "key that must sign registrations and heartbeats (lbcore/client/signature.py); better kept in a file",
    ),
    Option("hmac_key_file", "text", None, "file whose first line is that key"),
    Option("open", "flag", False, "backends may register without a token although the admin server has one"),
)

SOURCE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "dns",
        "where it names backends: the addresses of a name (A, AAAA), services (SRV), or a file",
        choices=("dns", "srv", "file"),
    ),
    Option("name", "text", None, 'the name in DNS: "app.internal", or of services "_http._tcp.app.internal"'),
    Option("port", "int", None, "dns: the port of all its addresses", low=1, high=65_535),
    Option("path", "text", None, 'file: a line a backend, "IP:PORT" or "IP:PORT weight=N"; JSON when it ends in .json'),
    Option(
        "interval",
        "duration",
        _SECOND,
        "file: how often it is looked at; dns: the shortest time between two questions, whatever the time to live",
        low=50,
        high=_HOUR,
    ),
    Option("max_ttl", "duration", 5 * _MINUTE, "dns: the longest time between two questions", low=100, high=24 * _HOUR),
    Option(
        "family",
        "choice",
        "auto",
        "dns, srv: addresses of which family; auto: IPv4, or IPv6 of a host that has no other, so that a host with both is one"
        " backend; both: each address is one",
        choices=("auto", "ipv4", "ipv6", "both"),
    ),
    Option(
        "hold",
        "duration",
        5 * _SECOND,
        "dns, srv: an address that answers lack stays for so long, and until a second answer lacks it; 0: it goes at once",
        low=0,
        high=_HOUR,
    ),
    Option("server", "text", None, 'dns: the server to ask, "IP:PORT"; default: the system\'s'),
)

BACKEND: tuple[Option, ...] = (
    Option("address", "text", None, "HOST:PORT"),
    Option("weight", "int", 1, "its share of new sessions, beside the others'; 0: none", low=0, high=256),
    Option("backup", "flag", False, "it takes sessions only while no backend without this key can"),
)

ADMIN: tuple[Option, ...] = (
    Option("listen", "text", "127.0.0.1:9900", '"HOST:PORT" or "unix:/path"'),
    Option("token_file", "text", None, "file whose first line is the operators' token"),
    Option("token", "secret", None, "the token itself; better kept in a file"),
    Option(
        "read_token_file",
        "text",
        None,
        "file whose first line is a token that may only look: status, metrics, backends, the dashboard",
    ),
    Option("read_token", "secret", None, "the token that may only look; better kept in a file"),
    Option("allow", "cidrs", None, "networks that may register; default: loopback and private addresses"),
    Option(
        "rate", "int", 1000, "calls a second from one address without the token, at most; 0: no limit", low=0, high=1_000_000
    ),
)
