"""Rates from two status documents, and their short history. Pure: no segment, no clock, no screen."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

KEPT = 60
"""Readings of a history."""

_TOTALS = ("accepted", "requests", "refused", "responses_5xx", "bytes_in", "bytes_out")


class Rate(NamedTuple):
    """Of a backend or a pool. per_s, failures_per_s: None when there is nothing to compare with. latency_ms: None: unknown.

    p99_ms: where the balancer measures it.
    """

    per_s: float | None
    failures_per_s: float | None
    latency_ms: float | None
    p99_ms: float | None = None


class Rates(NamedTuple):
    """backends: by id. pools: by name. totals: of all workers, what each counts a second."""

    backends: dict[str, Rate]
    pools: dict[str, Rate]
    totals: dict[str, float | None]


def between(before: Mapping[str, Any] | None, after: Mapping[str, Any], elapsed_s: float) -> Rates:
    """What happened a second between two documents of one balancer, in elapsed_s seconds.

    A counter that fell belongs to another life of the balancer or of the backend: its rate is not known.
    """
    known = {entry["id"]: entry for pool in before["pools"] for entry in pool["backends"]} if before else {}
    backends, pools = {}, {}
    for pool in after["pools"]:
        for entry in pool["backends"]:
            backends[entry["id"]] = _of_backend(known.get(entry["id"]), entry, elapsed_s)
        pools[pool["name"]] = _of_pool(pool, [backends[entry["id"]] for entry in pool["backends"]], before is not None)
    old, new = _sums(before) if before else {}, _sums(after)
    return Rates(backends, pools, {name: _speed(old.get(name), new[name], elapsed_s) for name in _TOTALS})


def _speed(before: float | None, now: float, elapsed_s: float) -> float | None:
    return None if before is None or elapsed_s <= 0 or now < before else (now - before) / elapsed_s


def _sums(document: Mapping[str, Any]) -> dict[str, float]:
    return {name: sum(worker.get(name, 0) for worker in document["workers"]) for name in _TOTALS}


def _of_backend(before: Mapping[str, Any] | None, after: Mapping[str, Any], elapsed_s: float) -> Rate:
    old = before or {}
    per_s, failures = (_speed(old.get(key), after[key], elapsed_s) for key in ("sessions", "failures"))
    return Rate(per_s, failures, after["latency_ms"] or None)


def _of_pool(pool: Mapping[str, Any], members: list[Rate], compared: bool) -> Rate:
    """The sum of its backends; its latency is theirs, each by its share of what was served, unless the balancer measures it."""
    per_s = sum(member.per_s or 0 for member in members) if compared else None
    failures = sum(member.failures_per_s or 0 for member in members) if compared else None
    measured = pool.get("latency")
    if measured and measured.get("count"):
        return Rate(per_s, failures, measured["p50_ms"], measured["p99_ms"])
    heard = [(member.latency_ms, member.per_s or 0) for member in members if member.latency_ms]
    weights = sum(weight for _, weight in heard)
    if weights:
        return Rate(per_s, failures, sum(latency * weight for latency, weight in heard) / weights)
    return Rate(per_s, failures, sum(latency for latency, _ in heard) / len(heard) if heard else None)


class History:
    """The last readings of whatever has a name; what is not told any more is forgotten."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._readings: dict[str, deque[float | None]] = {}

    def note(self, readings: Mapping[str, float | None]) -> None:
        """One more of each."""
        for name in self._readings.keys() - readings.keys():
            del self._readings[name]
        for name, value in readings.items():
            self._readings.setdefault(name, deque(maxlen=self._kept)).append(value)

    def of(self, name: str) -> list[float | None]:
        """Oldest first."""
        return list(self._readings.get(name, ()))


_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(readings: list[float | None], width: int) -> str:
    """The last `width` readings as blocks, the newest at the right; a space where nothing is known."""
    last = readings[-width:] if width > 0 else []
    most = max((value for value in last if value is not None), default=0.0)
    drawn = "".join(" " if value is None else _LEVELS[round(value / most * 7) if most else 0] for value in last)
    return drawn.rjust(max(width, 0))
