"""Options of listeners, their certificates, and routes."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option
from lbcore.config.options.access import LISTENER_ACCESS, ROUTE_ACCESS
from lbcore.config.options.pool import RETRIED

LISTENER: tuple[Option, ...] = (
    Option("name", "name", None, 'name of the listener; default: "listener-1", "listener-2", ...'),
    Option(
        "bind",
        "binds",
        None,
        "MODE://HOST:PORT, port 0 for any free port, host * for IPv4 and IPv6; MODE://unix:/PATH; or a list of these, each a"
        " listener with the same settings",
    ),
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
        flag=True,
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
    Option(
        "json_bytes",
        "size",
        64 << 10,
        "http: bytes of a request's body in which routes look for the keys of their json",
        low=1 << 10,
        high=96 << 10,
    ),
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
        "peers",
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
        "priority_header",
        "choice",
        "trusted",
        "http: whose X-LB-Priority is read and passed on: only that of trusted_proxies, or that of any client; high lets a"
        " request that waits in a pool's queue go before others",
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
        "protocols",
        "texts",
        None,
        "http: what clients may speak: h2 (https: by ALPN; http: a connection that begins with the preface of HTTP/2),"
        " http/1.1, or both; default: both",
    ),
    Option(
        "max_streams",
        "int",
        100,
        "http: requests that may be under way at once on one HTTP/2 connection; further ones are told to try again",
        low=1,
        high=10_000,
    ),
    Option(
        "grpc_web",
        "flag",
        False,
        "http: translate calls of gRPC-Web (content-type application/grpc-web or application/grpc-web-text), which browsers"
        " make, to gRPC; not for pools with protocol = http/1.1, whose backends get them as they are",
        flag=True,
    ),
    Option(
        "early_hints",
        "choice",
        "browsers",
        "http: requests whose interim responses (1xx except 100 and 101) are passed on: browsers (those with Sec-"
        "Fetch-Mode: navigate), always, or never; many other clients take a 103 for the response",
        choices=("browsers", "always", "never"),
    ),
    Option("hsts", "text", None, 'http: Strict-Transport-Security over TLS, "365d", perhaps with includeSubDomains, preload'),
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
        "error_format",
        "choice",
        "text",
        "http: how clients are told lbcore's own errors: text (a line, or error_body), or openai (JSON as the OpenAI API has"
        " it: error with message, type, param and code)",
        choices=("text", "openai"),
    ),
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
        flag=True,
    ),
    Option(
        "client_session_rate",
        "int",
        0,
        "new connections (udp: sessions) a second of one client address; 0: no limit",
        low=0,
        high=1_000_000,
        flag=True,
    ),
    Option(
        "client_session_burst",
        "int",
        None,
        "new connections that one client address may open at once; requires client_session_rate, which is the default",
        low=1,
        high=1_000_000,
        flag=True,
    ),
    Option(
        "client_request_rate",
        "int",
        0,
        "http: requests a second of one client address; further ones get a 429 with Retry-After; 0: no limit",
        low=0,
        high=1_000_000,
        flag=True,
    ),
    Option(
        "client_request_burst",
        "int",
        None,
        "http: requests that one client address may send at once; requires client_request_rate, which is the default",
        low=1,
        high=1_000_000,
        flag=True,
    ),
    *LISTENER_ACCESS,
    Option("backlog", "int", 4096, "connections that may wait to be accepted, each worker", low=1, high=65_535),
    Option(
        "socket_mode",
        "text",
        None,
        "of a unix socket: its file's mode, octal; clients need write permission; default: 660",
    ),
    Option("socket_user", "text", None, "of a unix socket: its file's owner, a name or number; takes root"),
    Option(
        "socket_group",
        "text",
        None,
        "of a unix socket: its file's group, a name or number; takes root, or lbcore's user in that group",
    ),
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
        "tls with a certificate: ALPN protocols to agree on, the best first; default: none (https: see protocols)",
    ),
)

CONDITION: tuple[Option, ...] = (
    Option(
        "host",
        "any_of",
        None,
        'the host, "api.example.com", or "*.example.com" for all names below; port and case do not matter',
    ),
    Option("path", "any_of", None, "the whole path"),
    Option("path_prefix", "any_of", None, 'the beginning of the path, by segments: "/v2/" matches /v2 and /v2/x, not /v2x'),
    Option(
        "path_suffix", "any_of", None, 'the end of the path, such as ".php"; may stand beside the other conditions of paths'
    ),
    Option(
        "grpc",
        "any_of",
        None,
        'a gRPC service, "pkg.Service", or one of its methods, "pkg.Service/Method"; in the place of path and path_prefix',
    ),
    Option("path_regex", "text", None, "a POSIX extended regular expression that the path must contain"),
    Option("source", "cidrs", None, "networks of clients: one of them has the client's address (that of its PROXY header)"),
    Option(
        "percent",
        "percent",
        None,
        'a share of the clients, such as 10 or 0.5, or a part of them, such as "10-30"; a client always falls to the same part',
    ),
    Option(
        "percent_by",
        "text",
        None,
        "what the share is of: source (addresses of clients), cookie:NAME or header:NAME (their values); default: source",
    ),
    Option("alpn", "text", None, 'tls: a protocol that the client offers, such as "h2"'),
)

ROUTE: tuple[Option, ...] = (
    Option("listener", "name", None, "the http, https or tls listener that the route belongs to; default: all of them"),
    *CONDITION,
    Option("pool", "name", None, "pool for traffic that the route matches"),
    Option(
        "map",
        "text",
        None,
        'instead of pool: a file of lines "HOST POOL", which lbcore follows as it changes; the route matches the hosts that it'
        ' names, also by "*.example.com"',
    ),
    Option(
        "redirect",
        "text",
        None,
        'instead of pool: where the route sends clients, such as "https://{host}{path}{query}"; '
        "the host is without its port, the query has its question mark",
    ),
    Option("status", "int", None, "status of a redirect: 301, 302, 303, 307 or 308; default: 301", low=301, high=308),
    Option("deny", "flag", False, "instead of pool: the route answers 403"),
    Option("strip_prefix", "prefix", None, "what backends do not get of a path: true for path_prefix, or a part of it"),
    Option("replace_prefix", "text", None, 'what stands in the place of strip_prefix, or of path_prefix or path: "/v2"'),
    Option("retry_on", "statuses", None, "as retry_on of the pool, in its place; an empty list: none", choices=RETRIED),
    Option("retry_post", "flag", None, "as retry_post of the pool, in its place"),
    *ROUTE_ACCESS,
    Option("cost", "int", None, "cost of a request without X-LB-Cost while it is under way; default: 1", low=1, high=65_535),
    Option(
        "response_timeout",
        "duration",
        None,
        "how long a backend may take from the end of the request to the end of the head of its final response; default:"
        " the pool's response_timeout",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "total_timeout",
        "duration",
        None,
        "how long a request may take in all, from its whole head to the end of the response, queue and retries included:"
        " then the client gets a 504, or a response that has begun is broken off; default: no limit",
        low=10,
        high=24 * _HOUR,
    ),
    Option(
        "max_body",
        "size",
        None,
        "bytes of a request's body, a larger one gets a 413; 0: no limit; default: the listener's max_body",
        low=0,
        high=1 << 50,
    ),
    Option(
        "rate",
        "text",
        None,
        "how many requests of each key the route lets pass, over all workers, such as 10/minute or 0.5/s; further ones get"
        " a 429 with Retry-After; default: no limit",
    ),
    Option(
        "burst",
        "int",
        None,
        "requests of one key that may come at once; requires rate; default: as many as rate names, 10 of 10/minute, at least 1",
        low=1,
        high=100_000,
    ),
    Option(
        "limit_key",
        "text",
        None,
        "what rate counts apart: source (the client's address, IPv6: its /64), route (all requests together), path, api_key"
        " (Authorization: Bearer, X-Api-Key or Api-Key), header:NAME, cookie:NAME or jwt:CLAIM (of a bearer token that lbcore"
        " does NOT verify: use it for limits only); a request without that is counted by its source; requires rate;"
        " default: source",
    ),
)

MIRROR: tuple[Option, ...] = (
    Option("pool", "name", None, "pool that gets copies of the route's requests; nobody gets its responses"),
    Option("percent", "int", 100, "share of the requests that are copied, in percent", low=1, high=100),
)

RESPOND: tuple[Option, ...] = (
    Option("status", "int", 200, "status of the response: 200 to 204, or 400 and above", low=200, high=599),
    Option("body", "body", None, "body of the response; default: none", high=32 << 10),
    Option("body_file", "text", None, "file that holds the body, read at the start and at each reload"),
    Option("content_type", "text", None, "media type of the body; default: text/plain; charset=utf-8"),
)
