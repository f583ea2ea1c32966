"""The flight recorder: what each worker decided lately, read from a segment alone; also when its workers hang or have died."""

from __future__ import annotations

import time

from lbcore._layout import ffi
from lbcore.engine.codes import NO_ROW, POLICY_NAMES, PROTOCOL_NAMES
from lbcore.engine.segment import Segment, text
from lbcore.observe import ways

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RING: int = ffi.integer_const("LB_DECISIONS")
ANSWER: int = ffi.integer_const("LB_WHY_ANSWER")
NO_ROUTE: int = ffi.integer_const("LB_WHY_NO_ROUTE")
LIMITED: int = ffi.integer_const("LB_WHY_LIMITED")
WHY = {
    0: "nobody could be picked",
    1: "its turn",
    2: "the better of two",
    3: "the least loaded of all",
    4: "no second candidate",
    5: "the key is its",
    6: "the key's own backend was full, out, or ramping up",
    7: "found by search",
    8: "sticky cookie",
    9: "the client has logged in on a connection to it",
    10: "backup: no backend of the tier before it could be had",
    11: "a trial after failures",
    12: "all are passed over after failures",
    ANSWER: "a route answers by itself",
    NO_ROUTE: "no route matches",
    LIMITED: "over the route's rate",
    16: "the client's address is not allowed",
    17: "no valid credentials came",
    18: "it continues what this backend served",
    19: "the best by load and by what it knows of the beginning",
    20: "nobody knows the beginning: the best by load",
    21: "the backend that served what it continues has too much under way",
    23: "the service that decides on requests refuses it",
    24: "the service that decides on requests gave no answer",
    22: "a backend that has next to nothing is warmed up",
}
NO_POOL = 0xFFFF
SPOKEN_WHY = {
    1: "the pool's protocol",
    2: "a call of gRPC",
    3: "auto, without TLS",
    4: "agreed on by ALPN",
    5: "to be agreed on by ALPN",
    6: "a connection of its own, an upgrade, or HTTP_1_1_REQUIRED",
}
REFUSED: int = ffi.integer_const("LB_ENDED_DENIED")
JSON_WHY = {
    1: "matched",
    2: "a value that no route names",
    3: "the key is missing",
    4: "a key came twice",
    5: "the body is no JSON",
    6: "the key is not in the first json_bytes",
    7: "no body of JSON, by its head",
}
UNDER_WAY: int = ffi.integer_const("LB_ENDED_NOT")
OUTCOMES: dict[int, str] = {
    UNDER_WAY: "open",
    ffi.integer_const("LB_ENDED_DONE"): "done",
    ffi.integer_const("LB_ENDED_UNREACHABLE"): "unreachable",
    ffi.integer_const("LB_ENDED_BACKEND"): "failed",
    ffi.integer_const("LB_ENDED_CLIENT"): "client left",
    ffi.integer_const("LB_ENDED_CLIENT_EARLY"): "client left",
    ffi.integer_const("LB_ENDED_RESOURCE"): "no port, descriptor or memory here",
    ffi.integer_const("LB_ENDED_DENIED"): "refused",
}
"""Any other end is the balancer's: a time limit, a cut, a stop."""


def decisions(segment: Segment) -> list[dict[str, Any]]:
    """The decisions that are remembered, oldest first.

    Each: at (Unix seconds), worker ("0", or "pid 123" of a process that picks without the proxy), pool and policy (None: a
    route answered, or none matched), route (None: no route led there), backend (address, None: nobody), id, why, protocol and
    protocol_why (with the backend; None: not of HTTP),
    candidates [{"backend", "score"}], prefix {"blocks", "matched"} (of the text, and of these known to a backend; None: there
    was no text), cost, tried, outcome, status (None: not of HTTP),
    json (what the body said to routes that ask it; None: none asked),
    any (which alternative of the route held, or by what those of a route before it failed, as `ways.shown` has it),
    took_ms (None: under way).
    """
    names = _Names(segment)
    found = []
    for section in range(segment.sections):
        newest = segment.worker(section).decisions
        ring, beside = segment.decisions(section), segment.ways(section)
        for number in range(max(1, newest - RING + 1), newest + 1):
            seen = _copy(ring, number)
            if seen is not None:
                way = _way(beside, number)
                alternatives = None if way is None else ways.shown(segment, way, seen.route, seen.at_us)
                found.append((seen.at_us, {**_shown(seen, section, names), "any": alternatives}))
    return [decision for _, decision in sorted(found, key=lambda entry: entry[0])]


def _copy(ring: Any, number: int) -> Any:
    """A decision as it was, or None when it was overwritten meanwhile."""
    live = ring + number % RING
    copy = ffi.new("struct lb_decision *")
    ffi.memmove(copy, live, ffi.sizeof("struct lb_decision"))
    return copy if copy.number == number == live.number else None


def _way(ring: Any, number: int) -> Any:
    """How alternatives came out for a decision; None: there was nothing to tell, or it is overwritten."""
    live = ring + number % RING
    copy = ffi.new("struct lb_way_row *")
    ffi.memmove(copy, live, ffi.sizeof("struct lb_way_row"))
    return copy.way if copy.number == number == live.number else None


class _Names:
    """Names of pools, backends and sections, each read once."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._backends: dict[int, str] = {}
        self._pools: dict[int, str] = {}
        self.offset = time.time() - time.monotonic()

    def backend(self, row: int) -> str | None:
        if row == NO_ROW:
            return None
        if row not in self._backends:
            self._backends[row] = self._segment.texts(self._segment.backend(row))[0]
        return self._backends[row]

    def pool(self, row: int) -> str | None:
        if row == NO_POOL:
            return None
        if row not in self._pools:
            self._pools[row] = text(self._segment.pool(row).name)
        return self._pools[row]

    def route(self, number: int, at_us: int) -> str | None:
        """number: and 1; 0: none."""
        if not number:
            return None
        words = self._segment.route_words(number - 1, at_us)
        return f"route[{number - 1}]" + (f": {words}" if words is not None else " of earlier routes")

    def section(self, section: int) -> str:
        is_worker = section < self._segment.head.workers
        return str(section) if is_worker else f"pid {self._segment.worker(section).pid}"


def _outcome(seen: Any) -> str:
    if seen.why in (ANSWER, NO_ROUTE):
        return "answered"
    if seen.why == LIMITED:
        return "limited"
    if seen.backend == NO_ROW and seen.end != REFUSED:
        return "nobody"
    return OUTCOMES.get(seen.end, "ended")


def _shown(seen: Any, section: int, names: _Names) -> dict[str, Any]:
    candidates = [
        {"backend": names.backend(row), "score": round(score, 6) if score >= 0 else None}
        for row, score in zip(seen.candidate, seen.score, strict=True)
        if row != NO_ROW
    ]
    return {
        "at": round(names.offset + seen.at_us / 1e6, 6),
        "worker": names.section(section),
        "pool": names.pool(seen.pool),
        "policy": None if seen.pool == NO_POOL else POLICY_NAMES.get(seen.policy, "?"),
        "route": names.route(seen.route, seen.at_us),
        "backend": names.backend(seen.backend),
        "id": None if seen.backend == NO_ROW else f"{seen.backend}.{seen.generation}",
        "why": WHY.get(seen.why, "?"),
        "candidates": candidates,
        "prefix": {"blocks": seen.blocks, "matched": seen.matched} if seen.blocks else None,
        "cost": seen.cost,
        "tried": seen.tried,
        "outcome": _outcome(seen),
        "status": seen.status or None,
        "protocol": PROTOCOL_NAMES.get(seen.spoken),
        "protocol_why": SPOKEN_WHY.get(seen.spoken_why & 15),
        "json": JSON_WHY.get(seen.spoken_why >> 4),
        "took_ms": round(seen.took_us / 1000, 3) if seen.end != UNDER_WAY else None,
    }
