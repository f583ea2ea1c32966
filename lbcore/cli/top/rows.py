"""What top's table holds: which backends, in which order, in which columns. Pure: no terminal, no segment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from lbcore.observe.rates import KEPT, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.observe.rates import History, Rate, Rates

TROUBLE = ("down", "starting", "busy", "draining", "up")
MIN_REASON = 16
"""Cells that a reason gets at least, if any."""


class Row(NamedTuple):
    """A backend. readings: its rate's history."""

    id: str
    pool: str
    address: str
    state: str
    reason: str
    rate: Rate
    readings: list[float | None]
    active: int
    weight: int
    failures: int


class Column(NamedTuple):
    """width: cells. need: columns of greater need stay on narrower terminals. right: set to the right."""

    title: str
    width: int
    need: int
    right: bool
    show: Callable[[Row], str]


def amount(value: float | None) -> str:
    """A rate in few cells."""
    if value is None:
        return "-"
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e6 if unit == 'M' else 1e3):.1f}{unit}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def latency(ms: float | None) -> str:
    """Milliseconds in few cells."""
    if ms is None:
        return "-"
    return (
        f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms" if ms >= 10 else f"{ms:.2f} ms"
    )


def volume(per_s: float | None) -> str:
    """Bytes a second in few cells."""
    if per_s is None:
        return "-"
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if per_s >= size:
            return f"{per_s / size:.1f} {unit}"
    return f"{per_s:.0f} B/s"


COLUMNS = (
    Column("backend", 22, 9, False, lambda row: row.address),
    Column("state", 9, 8, False, lambda row: row.state),
    Column("rate/s", 7, 7, True, lambda row: amount(row.rate.per_s)),
    Column("", 20, 3, False, lambda row: sparkline(row.readings, 20)),
    Column("latency", 8, 6, True, lambda row: latency(row.rate.latency_ms)),
    Column("active", 6, 4, True, lambda row: str(row.active)),
    Column("weight", 6, 4, True, lambda row: str(row.weight)),
    Column("failed", 6, 2, True, lambda row: amount(row.failures)),
    Column("pool", 10, 4, False, lambda row: row.pool),
)
REASON = Column("reason", MIN_REASON, 5, False, lambda row: row.reason)
GAP = 2


def columns(width: int) -> list[Column]:
    """The columns that fit so many cells, the most needed first; what is left goes to the reason."""
    left, chosen = width, set[Column]()
    for column in sorted((*COLUMNS, REASON), key=lambda column: -column.need):
        if column.width + GAP <= left or not chosen:
            chosen.add(column)
            left -= column.width + GAP
    shown = [column for column in COLUMNS if column in chosen]
    return [*shown, REASON._replace(width=REASON.width + left)] if REASON in chosen else shown


def line(row: Row, chosen: list[Column]) -> list[str]:
    """A cell for each column, of its width; a text that is too long ends with an ellipsis."""
    return [_fit(column.show(row), column.width, column.right) for column in chosen]


def _fit(text: str, width: int, right: bool) -> str:
    shown = text if len(text) <= width else f"{text[: width - 1]}…"
    return shown.rjust(width) if right else shown.ljust(width)


def title(chosen: list[Column]) -> list[str]:
    """The head of each column."""
    return [_fit(column.title, column.width, column.right) for column in chosen]


def source_lines(sources: list[tuple[str, dict[str, Any]]] | None, width: int, most: int) -> list[tuple[str, str]]:
    """(text, the state that colours it) for each (pool, source), those in trouble first; and for what is left out."""
    if sources is None:
        return [("sources of backends: the control plane does not respond"[:width], "stale")]
    lines = []
    for pool, source in sorted(sources, key=lambda one: one[1]["state"] == "up"):
        names = _fit(f"{source['kind']} {source['what']}", 24, False)
        skipped = f", {source['skipped']} skipped" if source["skipped"] else ""
        named = f"{source['entries']} {'backend' if source['entries'] == 1 else 'backends'}{skipped}"
        text = f"{_fit(pool, 12, False)}  {names}  {source['state']}: {source['trouble'] or named}"
        lines.append((text[:width], source["state"]))
    return lines if len(lines) <= most else [*lines[: most - 1], (f"and {len(lines) - most + 1} more sources", "up")]


_PARTS = re.compile(r"(\d+)")


def _natural(text: str) -> list[Any]:
    """10.0.0.9 before 10.0.0.10."""
    return [int(part) if number % 2 else part for number, part in enumerate(_PARTS.split(text))]


ORDERS: dict[str, Callable[[Row], Any]] = {
    "trouble": lambda row: TROUBLE.index(row.state) if row.state in TROUBLE else 0,
    "backend": lambda row: _natural(row.address),
    "rate": lambda row: -(row.rate.per_s or 0),
    "latency": lambda row: -(row.rate.latency_ms or 0),
    "active": lambda row: -row.active,
    "failed": lambda row: -row.failures,
}
"""By name: what rows are sorted by, then by pool and address."""


def rows(document: dict[str, Any], rates: Rates, history: History, *, order: str, backwards: bool, text: str) -> list[Row]:
    """The backends of a document whose pool, address, state or reason holds the text, in an order of ORDERS."""
    wanted = text.lower()
    found = [
        Row(
            entry["id"],
            pool["name"],
            entry["address"],
            entry["state"],
            entry["reason"] + (f", {entry['leaves_in_s']:.0f} s left" if entry.get("leaves_in_s") else ""),
            rates.backends[entry["id"]],
            history.of(entry["id"]),
            entry["active"],
            entry["weight"],
            entry["failures"],
        )
        for pool in document["pools"]
        for entry in pool["backends"]
    ]
    found = [row for row in found if wanted in f"{row.pool} {row.address} {row.state} {row.reason}".lower()]
    found.sort(key=lambda row: (row.pool, _natural(row.address)))
    return sorted(found, key=ORDERS[order], reverse=backwards)


_LOST = ("unavailable", "internal", "unknown", "deadline_exceeded")


def _calls(tally: dict[str, Any]) -> str:
    """How much of a pool's work went by HTTP/2, and what calls of gRPC came to that is nobody's intention."""
    share = f"  h2 {100 * tally['http2'] // tally['requests']}%" if tally.get("http2") and tally.get("requests") else ""
    lost = [f"{tally['grpc'][code]} {code}" for code in _LOST if tally.get("grpc", {}).get(code)]
    return share + (f"  gRPC: {', '.join(lost)}" if lost else "")


def pool_lines(document: dict[str, Any], rates: Rates, history: History, width: int, most: int) -> list[tuple[str, str]]:
    """(text, the state that colours it) for each pool, and for what is left out when there are more than `most`."""
    lines = []
    room = min(KEPT, max(0, width - 78))
    for pool in document["pools"]:
        counted = [(state, sum(entry["state"] == state for entry in pool["backends"])) for state in reversed(TROUBLE)]
        states = ", ".join(f"{count} {state}" for state, count in counted if count) or "no backend"
        worst = next((state for state in TROUBLE if any(entry["state"] == state for entry in pool["backends"])), "down")
        rate = rates.pools[pool["name"]]
        slow = f"p99 {latency(rate.p99_ms)}" if rate.p99_ms is not None else latency(rate.latency_ms)
        queued = f"  {pool['queued']} queued" if pool.get("queued") else ""
        parts = (
            _fit(pool["name"], 12, False),
            _fit(amount(rate.per_s), 7, True) + "/s",
            _fit(slow, 12, True),
            *([sparkline(history.of(f"pool {pool['name']}"), room)] if room >= 10 else []),
            f"{states}{queued}{_calls(pool.get('tally', {}))}",
        )
        lines.append(("  ".join(parts)[:width], worst))
    return lines if len(lines) <= most else [*lines[: most - 1], (f"and {len(lines) - most + 1} more pools", "up")]
