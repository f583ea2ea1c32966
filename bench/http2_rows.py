"""The rows of HTTP/2: by the preface, beside HAProxy and nginx; no forwarding fields, by none of them."""

from __future__ import annotations

from bench.http2_load import H2load, IdleHttp2, OpenStreams
from bench.origin import BIG_PATH, SMALL_PATH, TAKE_PATH
from bench.scenario import BASE, GIGABYTE, REQUEST, SESSION, Goal, Metric, Scenario, cpu, rate

TARGETS = ("lbcore-http-bare", "haproxy-http2", "nginx-http2")
BETTER = ("haproxy-http2", "nginx-http2")
BOTH = ("lbcore-http2-both", "haproxy-http2-both", "nginx-http2-both")
"""With backends of HTTP/2, too. nginx speaks it to them as gRPC, a connection a request."""
BOTH_BETTER = ("haproxy-http2-both", "nginx-http2-both")
MIB_PATH = f"/{1 << 20}"
MIB_LOAD = H2load(MIB_PATH, connections=4, streams=4)

HTTP2: tuple[Scenario, ...] = (
    Scenario(
        name="http2",
        title="HTTP/2: 2-byte responses of an HTTP/1.1 backend",
        what="16 connections of 10 streams each (h2load), by the preface; no forwarding fields, by none of them",
        origin="static",
        load=H2load(SMALL_PATH, connections=16, streams=10),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST)),
        targets=TARGETS,
        goals=(
            Goal("http2: worker CPU per request", "worker_cpu", 0.70, BETTER),
            Goal("http2: requests per second", "rate", 1.15, BETTER),
        ),
        in_quick=False,
    ),
    Scenario(
        name="http2-both",
        title="HTTP/2: 2-byte responses of an HTTP/2 backend",
        what="the same load; the origin is nginx with `http2`; nginx in front of it: `grpc_pass`, a connection a request",
        origin="http2",
        load=H2load(SMALL_PATH, connections=16, streams=10),
        unit=REQUEST,
        metrics=(rate(REQUEST), *cpu(REQUEST)),
        targets=BOTH,
        goals=(
            Goal("http2, both sides: worker CPU per request", "worker_cpu", 0.70, ("haproxy-http2-both",)),
            Goal("http2, both sides: requests per second", "rate", 1.15, BOTH_BETTER),
        ),
        in_quick=False,
    ),
    Scenario(
        name="http2-mib",
        title="HTTP/2: 1 MiB responses of an HTTP/1.1 backend",
        what="4 connections of 4 streams each (h2load)",
        origin="static",
        load=MIB_LOAD,
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=TARGETS,
        goals=(Goal("http2, 1 MiB: worker CPU per GB", "worker_cpu", 0.80, BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="http2-both-mib",
        title="HTTP/2: 1 MiB responses of an HTTP/2 backend",
        what="4 connections of 4 streams each (h2load)",
        origin="http2",
        load=MIB_LOAD,
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=BOTH,
        goals=(Goal("http2, both sides, 1 MiB: worker CPU per GB", "worker_cpu", 0.80, BOTH_BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="http2-upload",
        title="HTTP/2: 1 MiB requests to an HTTP/1.1 backend",
        what="4 connections of 4 streams each (h2load), POST; the origin reads each body to its end and answers 2 bytes",
        origin="static",
        load=H2load(TAKE_PATH, connections=4, streams=4, upload=1 << 20),
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=TARGETS,
        goals=(Goal("http2, 1 MiB requests: worker CPU per GB", "worker_cpu", 0.80, BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="http2-big",
        title="HTTP/2: 10 MB responses",
        what="4 connections of one stream each (h2load)",
        origin="static",
        load=H2load(BIG_PATH, connections=4, streams=1),
        unit=GIGABYTE,
        metrics=(*cpu(GIGABYTE), rate(GIGABYTE)),
        targets=TARGETS,
        goals=(Goal("http2, big: worker CPU per GB", "worker_cpu", 0.80, BETTER),),
        in_quick=False,
    ),
    Scenario(
        name="http2-idle",
        title="HTTP/2: idle client connections",
        what="2,500 connections after the first 500, each has done one request; private memory",
        origin="static",
        load=IdleHttp2(SMALL_PATH, first=500, more=2500),
        unit=SESSION,
        metrics=(Metric("memory_b", "user memory per idle connection", "B", "lower"), BASE),
        targets=TARGETS,
        goals=(Goal("http2, idle: user memory per connection, B", "memory_b", 1500),),
        in_quick=False,
    ),
    Scenario(
        name="http2-open",
        title="HTTP/2: open streams",
        what="2,500 streams whose answers do not come, after the first 500; 50 a connection; private memory",
        origin="waiting",
        load=OpenStreams(first=10, more=50, each=50),
        unit=SESSION,
        metrics=(Metric("memory_b", "user memory per open stream", "B", "lower"), BASE),
        targets=TARGETS,
        goals=(Goal("http2, open: user memory per stream, B", "memory_b", 400),),
        in_quick=False,
    ),
)
