"""Options of a pool's health rules: probes, leases, and backends that are worse than the rest."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import MINUTE_MS as _MINUTE
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option

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

SCRAPE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "off",
        "whose metrics are read as the load of the pool's backends; custom: those that in_flight and usage name",
        choices=("vllm", "sglang", "triton", "custom", "off"),
    ),
    Option("path", "text", "/metrics", "path of the metrics, in Prometheus' text format"),
    Option("port", "int", None, "port of the metrics; default: the backend's, and 8002 for triton", low=1, high=65_535),
    Option("tls", "flag", None, "read them over TLS; default: as the pool, and no where the port is another one"),
    Option("interval", "duration", _SECOND, "time between two reads of a backend", low=100, high=_MINUTE),
    Option("timeout", "duration", _SECOND, "how long one read may take", low=10, high=_MINUTE),
    Option("stale", "duration", 5 * _SECOND, "how long a read counts; then the backend's load is unknown", low=100, high=_HOUR),
    Option(
        "in_flight",
        "text",
        None,
        'custom: gauges whose sum is the requests that the backend has under way, such as "running,waiting"; of a gauge with'
        ' several series, a label may choose: waiting{kind="all"}',
    ),
    Option("usage", "text", None, "custom: gauge of how much of its capacity is in use, 0 to 1"),
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
