"""The table: what is measured, by which load, what is to be reached. A new row needs no other change."""

from __future__ import annotations

from dataclasses import replace

from bench.http2_rows import HTTP2
from bench.load import Datagrams, Idle, Paced, Resumed, Sequential, Wrk
from bench.origin import BIG_PATH, MEDIUM_PATH, SMALL_PATH
from bench.scenario import (
    BASE,
    CONNECTION,
    DATAGRAM,
    GIGABYTE,
    HANDSHAKE,
    MEMORY,
    P50,
    P99,
    P999,
    REQUEST,
    SESSION,
    Goal,
    Scenario,
    cpu,
    rate,
)

BALANCERS = ("lbcore", "haproxy", "nginx")
ALL = ("direct", *BALANCERS)
STREAMERS = ("direct", "lbcore", "lbcore-offload", "haproxy", "haproxy-splice", "nginx")
MESSAGES = ("direct", "lbcore", "lbcore-copy", "lbcore-offload", "lbcore-local", "haproxy", "nginx")
OFFLOAD = "lbcore-offload"
LOCAL = "lbcore-local"
"""Backends on this host."""
BETTER = ("haproxy", "nginx")
HTTP = ("direct", "lbcore-http-bare", "haproxy-http", "nginx-http")
HTTP_FIELDS = ("direct", "lbcore-http", "haproxy-http-fields", "nginx-http-fields")
HTTP_FIELDS_BETTER = ("haproxy-http-fields", "nginx-http-fields")
HTTP_BETTER = ("haproxy-http", "nginx-http")
HTTPS = ("lbcore-https", "haproxy-https", "nginx-https")
HTTPS_BETTER = ("haproxy-https", "nginx-https")
HTTP_STREAMERS = ("lbcore-http-bare", "haproxy-http", "haproxy-http-splice", "nginx-http")
HTTP_SPLICED = ("haproxy-http", "haproxy-http-splice", "nginx-http")


def _paced(percent: int) -> Scenario:
    """Latency while requests come at this share of the most that HAProxy serves."""
    return Scenario(
        name="http-paced" if percent == 20 else f"http-paced-{percent}",
        title=f"HTTP: latency at {percent}% of the load",
        what=f"64 connections, requests at a fixed rate: {percent}% of what HAProxy reaches when they do not wait"
        " (bench/paced.c); latency counts from when a request was due, so what a stall held up is in it",
        origin="static",
        load=Paced(SMALL_PATH, connections=64, share=percent / 100, rival="haproxy-http"),
        unit=REQUEST,
        metrics=(P50, P99, P999, *cpu(REQUEST)),
        targets=HTTP,
        goals=tuple(
            Goal(f"http, {percent}% load: {name} latency, beside {rival}", key, 1.0, (rival,))
            for name, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))
            for rival in HTTP_BETTER
        ),
        in_quick=percent == 20,
    )


_SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="keepalive",
        title="Keep-alive requests, 2-byte responses",
        what="64 connections, each sends its next request when the answer is there (wrk)",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=MESSAGES,
        goals=(
            Goal("keep-alive, copied: worker CPU per request", "worker_cpu", 0.85, BETTER, "lbcore-copy"),
            Goal("keep-alive: requests per second", "rate", 1.05, BETTER),
            Goal("keep-alive, offload: machine CPU per request", "machine_cpu", 0.85, ("haproxy",), OFFLOAD),
            Goal("keep-alive, offload_local: machine CPU per request, beside none", "machine_cpu", 1.25, ("direct",), LOCAL),
            Goal("keep-alive, offload_local: requests per second", "rate", 1.30, BETTER, LOCAL),
            Goal("keep-alive, offload_local: requests per second, absolute", "rate", 100_000, (), LOCAL),
        ),
    ),
    Scenario(
        name="single",
        title="One connection, one request at a time",
        what="1 keep-alive connection, 2-byte responses (wrk): what a balancer adds when nothing queues",
        origin="static",
        load=Wrk(SMALL_PATH, connections=1),
        unit=REQUEST,
        metrics=(P50, P99, P999, rate(REQUEST), *cpu(REQUEST)),
        targets=ALL,
        in_quick=False,
    ),
    Scenario(
        name="short",
        title="Short connections, one request each",
        what="64 at a time, `Connection: close`, 2-byte responses (wrk); latency counts once it is connected",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64, close=True),
        unit=CONNECTION,
        metrics=(rate(CONNECTION), *cpu(CONNECTION), P50, P99, P999),
        targets=ALL,
        goals=(Goal("short connections: worker CPU per connection", "worker_cpu", 0.95, BETTER),),
    ),
    Scenario(
        name="stream",
        title="Streaming, 10 MB responses",
        what="4 keep-alive connections (wrk); the origin sends a file of 10,000,000 bytes with sendfile",
        origin="static",
        load=Wrk(BIG_PATH, connections=4),
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=STREAMERS,
        goals=(
            Goal("streaming: worker CPU per GB", "worker_cpu", 0.80, ("haproxy", "haproxy-splice")),
            Goal("streaming, offload: machine CPU per GB, beside none", "machine_cpu", 1.15, ("direct",), OFFLOAD),
        ),
    ),
    Scenario(
        name="medium",
        title="Keep-alive requests, 64 KiB responses",
        what="64 connections (wrk): between a message and a stream, where a balancer has to choose",
        origin="static",
        load=Wrk(MEDIUM_PATH, connections=64),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=STREAMERS,
        in_quick=False,
    ),
    Scenario(
        name="idle",
        title="Idle sessions",
        what="2,500 sessions after the first 500, each has done one request, both sides open; private memory",
        origin="static",
        load=Idle(SMALL_PATH, first=500, more=2500),
        unit=SESSION,
        metrics=(MEMORY, BASE),
        targets=BALANCERS,
        goals=(Goal("idle: user memory per session, B", "memory_b", 640),),
    ),
    Scenario(
        name="uvicorn",
        title="Keep-alive latency behind `uvicorn --workers 2`",
        what="one client, one request after the other; loop asyncio, http h11 (Kludex/uvicorn #3149)",
        origin="uvicorn",
        load=Sequential("/"),
        unit=REQUEST,
        metrics=(P50, P99, rate(REQUEST)),
        targets=ALL,
        goals=(Goal("behind uvicorn: p50 latency, µs", "p50_us", 1000),),
    ),
    Scenario(
        name="http",
        title="HTTP: keep-alive requests, 2-byte responses",
        what="64 connections (wrk); no fields that tell of the client, by none of them",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=HTTP,
        goals=(
            Goal("http: worker CPU per request", "worker_cpu", 0.80, HTTP_BETTER),
            Goal("http: requests per second", "rate", 1.10, HTTP_BETTER),
        ),
    ),
    Scenario(
        name="http-fields",
        title="HTTP: the same, and backends are told of the client",
        what="each sets X-Forwarded-For, -Proto, -Host and X-Request-Id; lbcore as it comes, which adds Forwarded and Via",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=HTTP_FIELDS,
        goals=(
            Goal("http, forwarding fields: worker CPU per request", "worker_cpu", 0.80, HTTP_FIELDS_BETTER),
            Goal("http, forwarding fields: requests per second", "rate", 1.10, HTTP_FIELDS_BETTER),
        ),
        in_quick=False,
    ),
    Scenario(
        name="http-single",
        title="HTTP: one connection, one request at a time",
        what="1 keep-alive connection, 2-byte responses (wrk): what a balancer adds when nothing queues",
        origin="static",
        load=Wrk(SMALL_PATH, connections=1),
        unit=REQUEST,
        metrics=(P50, P99, P999, rate(REQUEST), *cpu(REQUEST)),
        targets=HTTP,
        in_quick=False,
    ),
    *(_paced(percent) for percent in (20, 50, 70)),
    Scenario(
        name="http-short",
        title="HTTP: a new client connection each request",
        what="64 at a time, `Connection: close`, 2-byte responses (wrk); latency counts once it is connected",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64, close=True),
        unit=CONNECTION,
        metrics=(rate(CONNECTION), *cpu(CONNECTION), P50, P99, P999),
        targets=HTTP,
        goals=(Goal("http, new connections: worker CPU per request", "worker_cpu", 0.95, HTTP_BETTER),),
    ),
    Scenario(
        name="http-medium",
        title="HTTP: 64 KiB responses",
        what="64 connections (wrk)",
        origin="static",
        load=Wrk(MEDIUM_PATH, connections=64),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=HTTP_STREAMERS,
        goals=(Goal("http, 64 KiB: worker CPU per request", "worker_cpu", 0.80, HTTP_SPLICED),),
        in_quick=False,
    ),
    Scenario(
        name="http-stream",
        title="HTTP: 10 MB responses",
        what="4 keep-alive connections (wrk); the origin sends a file of 10,000,000 bytes with sendfile",
        origin="static",
        load=Wrk(BIG_PATH, connections=4),
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=HTTP_STREAMERS,
        goals=(Goal("http, 10 MB: worker CPU per GB", "worker_cpu", 0.80, HTTP_SPLICED),),
    ),
    Scenario(
        name="http-idle",
        title="HTTP: idle client connections",
        what="2,500 clients after the first 500, each has done one request; private memory",
        origin="static",
        load=Idle(SMALL_PATH, first=500, more=2500),
        unit=SESSION,
        metrics=(MEMORY, BASE),
        targets=("lbcore-http-bare", "haproxy-http", "nginx-http"),
        goals=(Goal("http, idle: user memory per client, B", "memory_b", 768),),
        in_quick=False,
    ),
    Scenario(
        name="http-uvicorn",
        title="HTTP: keep-alive latency behind `uvicorn --workers 2`",
        what="one client, one request after the other; loop asyncio, http h11 (Kludex/uvicorn #3149)",
        origin="uvicorn",
        load=Sequential("/"),
        unit=REQUEST,
        metrics=(P50, P99, rate(REQUEST)),
        targets=HTTP,
        goals=(Goal("http, behind uvicorn: p50 latency, µs", "p50_us", 1000),),
        in_quick=False,
    ),
    Scenario(
        name="tls-passthrough",
        title="TLS passed through: keep-alive requests, 2-byte responses",
        what="64 connections of wrk over TLS to nginx; the balancer decrypts nothing",
        origin="secured",
        load=Wrk(SMALL_PATH, connections=64, tls=True),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99),
        targets=("lbcore-tls", "lbcore-tcp-of-tls"),
        goals=(Goal("tls by name: worker CPU per request, beside tcp", "worker_cpu", 1.05, ("lbcore-tcp-of-tls",)),),
        in_quick=False,
    ),
    *HTTP2,
    Scenario(
        name="https",
        title="HTTPS: keep-alive requests, 2-byte responses",
        what="64 connections (wrk), TLS 1.3 ends at the balancer; ECDSA P-256; no forwarding fields, by none of them",
        origin="static",
        load=Wrk(SMALL_PATH, connections=64, tls=True),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99, P999),
        targets=HTTPS,
        goals=(Goal("https: worker CPU per request", "worker_cpu", 0.85, HTTPS_BETTER),),
    ),
    Scenario(
        name="https-new",
        title="HTTPS: a full handshake each request",
        what="16 at a time, `Connection: close` (wrk): no ticket is used",
        origin="static",
        load=Wrk(SMALL_PATH, connections=16, close=True, tls=True),
        unit=HANDSHAKE,
        metrics=(*cpu(HANDSHAKE), rate(HANDSHAKE)),
        targets=HTTPS,
        goals=(Goal("https, full handshakes: worker CPU per handshake", "worker_cpu", 0.95, HTTPS_BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="https-resumed",
        title="HTTPS: a resumed handshake each request",
        what="4 threads of Python's ssl, each connection resumed by the ticket of the one before",
        origin="static",
        load=Resumed(SMALL_PATH, clients=4),
        unit=HANDSHAKE,
        metrics=(*cpu(HANDSHAKE), rate(HANDSHAKE)),
        targets=HTTPS,
        goals=(Goal("https, resumed handshakes: worker CPU per handshake", "worker_cpu", 0.95, HTTPS_BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="https-medium",
        title="HTTPS: 64 KiB responses",
        what="16 connections (wrk)",
        origin="static",
        load=Wrk(MEDIUM_PATH, connections=16, tls=True),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST), P50, P99),
        targets=HTTPS,
        in_quick=False,
    ),
    Scenario(
        name="udp",
        title="Datagrams of 64 bytes, echoed",
        what="64 clients, each sends its next datagram when the answer is there (bench/datagrams.c); counted with its answer",
        origin="datagrams",
        load=Datagrams(clients=64, size=64),
        unit=DATAGRAM,
        metrics=(rate(DATAGRAM), *cpu(DATAGRAM), P50, P99, P999),
        targets=("direct", "lbcore-udp", "nginx-udp"),
        goals=(Goal("udp: worker CPU per datagram", "worker_cpu", 0.60, ("nginx-udp",)),),
    ),
)

BY_EPOLL = {
    "lbcore": "lbcore-epoll",
    "lbcore-http-bare": "lbcore-http-epoll",
    "lbcore-https": "lbcore-https-epoll",
    "lbcore-http2-both": "lbcore-http2-both-epoll",
}
"""By target: the same with `loop = "epoll"`. The others have what `auto` chooses: io_uring where the kernel lets them."""

ONE_LOOP = ("uvicorn", "http-uvicorn", "https-resumed", "https-medium")
"""Scenarios whose figures hardly depend on how the balancer waits."""


BESIDE_EPOLL = {
    "keepalive": {"worker_cpu": 0.70, "rate": 1.20},
    "http": {"worker_cpu": 0.75, "rate": 1.15},
    "https": {"worker_cpu": 0.80},
    "short": {"worker_cpu": 0.90},
    "http-short": {"worker_cpu": 0.90},
    "single": {"worker_cpu": 1.02},
    "http-single": {"worker_cpu": 1.02},
    "stream": {"worker_cpu": 1.02},
    "http-stream": {"worker_cpu": 1.02},
    "idle": {"memory_b": 1.20},
    "http-idle": {"memory_b": 1.20},
}
"""By scenario and figure: what io_uring is to reach of epoll."""


def _on_both_loops(scenario: Scenario) -> Scenario:
    """Each of its balancers of ours that has a twin by epoll, with that twin behind it."""
    if scenario.name in ONE_LOOP:
        return scenario
    pairs = [(target, BY_EPOLL.get(target)) for target in scenario.targets]
    twin = next((twin for _, twin in pairs if twin), "")
    goals = (
        Goal(f"{scenario.name}: {metric.replace('_', ' ')}, beside epoll", metric, limit, (twin,))
        for metric, limit in BESIDE_EPOLL.get(scenario.name, {}).items()
    )
    return replace(scenario, targets=tuple(name for pair in pairs for name in pair if name), goals=(*scenario.goals, *goals))


SCENARIOS = tuple(_on_both_loops(scenario) for scenario in _SCENARIOS)
