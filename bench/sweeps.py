"""The sweeps: scenarios that differ in one number, to see how cost grows with it. One figure of the page each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load import Paced, Wrk
from bench.numbers import short
from bench.origin import SIZES, SMALL_PATH
from bench.scenario import CONNECTION, P50, P99, P999, REQUEST, Load, Scenario, Unit, cpu, rate

_TARGETS = {
    "tcp": ("direct", "lbcore", "lbcore-offload", "haproxy", "nginx"),
    "http": ("direct", "lbcore-http-bare", "haproxy-http", "nginx-http"),
}
_CPU = tuple((mode, "worker_cpu") for mode in _TARGETS)


@dataclass(frozen=True)
class Sweep:
    """One number that grows. `load`: of (mode, the number). `panels`: what is drawn, (mode, metric).

    axis: what the number is; words: the number with its unit.
    per: what `worker_cpu` and `rate` count, by mode. vary: "workers" or "backends" when it is
    the targets' number and not the load's.
    """

    name: str
    title: str
    axis: str
    words: str
    what: str
    points: tuple[int, ...]
    load: Callable[[str, int], Load]
    panels: tuple[tuple[str, str], ...] = _CPU
    per: Mapping[str, Unit] | None = None
    vary: str = ""
    direct: bool = True

    def scenarios(self) -> list[Scenario]:
        """A row a mode and point, the points of a mode one after the other."""
        return [self._scenario(mode, at) for mode in _TARGETS for at in self.points]

    def _scenario(self, mode: str, at: int) -> Scenario:
        unit = (self.per or {}).get(mode, REQUEST)
        load = self.load(mode, at)
        found = () if isinstance(load, Paced) else (rate(unit),)
        return Scenario(
            name=f"{self.name}-{mode}-{at}",
            title=f"{self.words.format(short(at))}, {mode}",
            what=self.what,
            origin="many" if self.vary == "backends" else "static",
            load=load,
            unit=unit,
            metrics=(*found, *cpu(unit), P50, P99, P999),
            targets=tuple(name for name in _TARGETS[mode] if self.direct or name != "direct"),
            in_quick=False,
            sweep=self.name,
            mode=mode,
            at=at,
            workers=at if self.vary == "workers" else 1,
            backends=at if self.vary == "backends" else 1,
        )


SWEEPS: tuple[Sweep, ...] = (
    Sweep(
        name="connections",
        title="More connections",
        axis="connections",
        words="{} connections",
        what="keep-alive requests, 2-byte responses (wrk)",
        points=(1, 16, 64, 256, 1024),
        load=lambda mode, at: Wrk(SMALL_PATH, connections=at),
    ),
    Sweep(
        name="size",
        title="Larger responses",
        axis="bytes of a response",
        words="responses of {} bytes",
        what="64 keep-alive connections (wrk), responses of 2 bytes to 1 MiB",
        points=(2, *SIZES),
        load=lambda mode, at: Wrk(SMALL_PATH if at == 2 else f"/{at}", connections=64),
    ),
    Sweep(
        name="workers",
        title="A second worker",
        axis="workers",
        words="{} workers",
        what="64 keep-alive connections, 2-byte responses (wrk); load and origin stay as they are and share the same cores",
        points=(1, 2),
        load=lambda mode, at: Wrk(SMALL_PATH, connections=64),
        panels=(("tcp", "rate"), ("http", "rate"), *_CPU),
        vary="workers",
        direct=False,
    ),
    Sweep(
        name="backends",
        title="More backends",
        axis="backends",
        words="{} backends",
        what="64 clients (wrk), round robin everywhere; tcp with a connection a request, since only those pick a backend;"
        " http with keep-alive, where every request does. All backends are one nginx on as many loopback addresses",
        points=(2, 100, 1000),
        load=lambda mode, at: Wrk(SMALL_PATH, connections=64, close=mode == "tcp"),
        per={"tcp": CONNECTION},
        vary="backends",
        direct=False,
    ),
    Sweep(
        name="rates",
        title="Latency as load grows",
        axis="load, % of HAProxy's most",
        words="{} % of HAProxy's most",
        what="64 connections, requests at a fixed rate whether or not responses come (bench/paced.c); latency counts from when"
        " a request was due, so it has in it what a stall held up (no coordinated omission)",
        points=(10, 30, 50, 70),
        load=lambda mode, at: Paced(
            SMALL_PATH, connections=64, share=at / 100, rival={"tcp": "haproxy", "http": "haproxy-http"}[mode]
        ),
        panels=tuple((mode, metric) for metric in ("p50_us", "p99_us") for mode in _TARGETS),
    ),
)
