"""What a row of the table is: a load against an origin through targets, the figures of it, and what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.http2_load import H2load, IdleHttp2, OpenStreams
from bench.load import Datagrams, Idle, Paced, Resumed, Sequential, Wrk

Load = Wrk | H2load | Paced | Sequential | Idle | IdleHttp2 | OpenStreams | Datagrams | Resumed
OriginKind = Literal["static", "many", "uvicorn", "datagrams", "secured", "http2", "waiting"]


@dataclass(frozen=True)
class Metric:
    """One figure of a sample: its key there, its column title, its unit, and which way is better."""

    key: str
    title: str
    unit: str
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class Unit:
    """What a load does many of. `scale`: how many make a shown one; `cpu_ns`: nanoseconds in a `cpu_unit`."""

    name: str
    title: str
    cpu_unit: str
    cpu_ns: float
    scale: float = 1.0


@dataclass(frozen=True)
class Goal:
    """A limit on a figure of lbcore: a ratio to the best of `rivals`, or absolute when there are none.

    target: which lbcore is meant; empty: the scenario's first.
    """

    text: str
    metric: str
    limit: float
    rivals: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class Scenario:
    """A row: `load` against `origin` through each of `targets`, as often as there are rounds.

    workers, backends: of each target. sweep, mode, at: of a row that a sweep made (sweeps.py), its place there.
    """

    name: str
    title: str
    what: str
    origin: OriginKind
    load: Load
    unit: Unit
    metrics: tuple[Metric, ...]
    targets: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    in_quick: bool = True
    workers: int = 1
    backends: int = 1
    sweep: str = ""
    mode: str = ""
    at: int = 0


REQUEST = Unit("request", "requests/s", "µs", 1e3)
CONNECTION = Unit("connection", "connections/s", "µs", 1e3)
GIGABYTE = Unit("GB", "GB/s", "ms", 1e6, scale=1e9)
DATAGRAM = Unit("datagram", "datagrams/s", "µs", 1e3)
HANDSHAKE = Unit("handshake", "handshakes/s", "µs", 1e3)
SESSION = Unit("session", "sessions/s", "µs", 1e3)

P50 = Metric("p50_us", "p50", "µs", "lower")
P99 = Metric("p99_us", "p99", "µs", "lower")
P999 = Metric("p999_us", "p99.9", "µs", "lower")


def rate(unit: Unit) -> Metric:
    """Units per second of wall clock."""
    return Metric("rate", unit.title, "", "higher")


def cpu(unit: Unit) -> tuple[Metric, Metric]:
    """CPU per unit: of the balancer's data-path process, and of the machine (load and origin included)."""
    return (
        Metric("worker_cpu", f"worker CPU per {unit.name}", unit.cpu_unit, "lower"),
        Metric("machine_cpu", f"machine CPU per {unit.name}", unit.cpu_unit, "lower"),
    )


MEMORY = Metric("memory_b", "user memory per idle session", "B", "lower")
BASE = Metric("base_mb", "memory of all processes before load", "MB", "lower")
