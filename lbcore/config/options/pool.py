"""Options of pools and of the backends that they name."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import MINUTE_MS as _MINUTE
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option

RETRIED = ("403", "404", "408", "421", "425", "429", "500", "501", "502", "503", "504")
"""Statuses of retry_on: enum lb_retry_on of csrc/layout/words.h."""

POOL: tuple[Option, ...] = (
    Option("name", "name", "default", "name of the pool"),
    Option(
        "policy",
        "choice",
        "p2c",
        "how a backend is picked",
        choices=("round_robin", "least_conn", "p2c", "ewma", "random", "maglev", "prefix"),
        flag=True,
    ),
    Option(
        "hash",
        "text",
        None,
        "what maglev and prefix pick by: address, path, header:NAME, cookie:NAME, or json:NAME, a key of a JSON body (several"
        " names, apart by commas: the first in the body); prefix compares the beginnings of a json value, all else as a whole;"
        " a request without it goes by its address with maglev, and by p2c with prefix; default: address, with prefix"
        " json:messages,prompt",
    ),
    Option(
        "prefix_ttl",
        "duration",
        _HOUR,
        "policy prefix: how long a backend is taken to have what it was sent, unless it is sent again",
        low=10 * _SECOND,
        high=24 * _HOUR,
    ),
    Option(
        "prefix_cache",
        "size",
        0,
        "policy prefix: how much text a backend's cache of prompts holds, about four bytes a token: what it was sent before the"
        " last so many bytes that were new to it counts as forgotten; 0: not known",
        low=0,
        high=1 << 32,
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
        "http: requests that may wait until a backend can take them, each worker, and as many again with X-LB-Priority: high;"
        " default: 0, with max_active 1024",
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
    Option(
        "error_format",
        "choice",
        None,
        "http: how clients are told lbcore's own errors about requests for this pool: text or openai; default: as the listener"
        " says",
        choices=("text", "openai"),
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
        "protocol",
        "choice",
        "auto",
        "http: what backends are spoken to in; auto: HTTP/2 for requests of gRPC (content-type application/grpc), for"
        " all others HTTP/1.1, or with tls what the backend agrees on by ALPN; h2 without TLS is spoken at once, without an"
        " upgrade",
        choices=("auto", "http/1.1", "h2"),
        flag=True,
    ),
    Option(
        "repeat_calls",
        "choice",
        "lost",
        "http: gRPC calls that go to another backend when one gives no response; refused: those that the backend says it did"
        " not look at; lost: also those whose connection broke before a response began, though a backend that died may have"
        " executed them",
        choices=("lost", "refused"),
    ),
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
    Option(
        "retry_on",
        "statuses",
        None,
        "http: statuses of responses after which another backend is asked instead; the request has at most about 32 KiB, and"
        " its method is idempotent, or POST with retry_post; default: none",
        choices=RETRIED,
    ),
    Option(
        "retry_post",
        "flag",
        False,
        "http: retry_on is for POST, too: for applications that have done nothing when they answer so, as model servers do",
    ),
    Option(
        "hedge_after",
        "text",
        None,
        "http: how long a request without a body waits for a response until a second backend is asked as well: a duration, or a"
        ' percentile of the response times such as "p95"; the first response counts; default: never',
    ),
    Option("hedge_budget", "int", 5, "http: requests that hedge_after may send twice, in percent of all", low=1, high=100),
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

BACKEND: tuple[Option, ...] = (
    Option("address", "text", None, "HOST:PORT, unix:/PATH, or unix:@NAME for an abstract socket"),
    Option("weight", "int", 1, "its share of new sessions, relative to other backends; 0: none", low=0, high=256),
    Option("backup", "flag", False, "it gets sessions only while no backend without this key can serve"),
)
