"""lbcore why: the recent decisions of a balancer, as a table or as JSON lines."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from lbcore.cli.show import table
from lbcore.control import runtime
from lbcore.engine.segment import Segment
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Callable


def main(name: str, wanted: dict[str, str | None], last: int, as_json: bool) -> int:
    """Print the last so many that fit `wanted` (pool, backend, outcome, worker). Raises NotRunning or OSError."""
    with Segment.attach(runtime.segment_of(name)) as segment:
        found = [decision for decision in decisions(segment) if _fits(decision, wanted)][-last:]
    if as_json:
        for decision in found:
            print(json.dumps(decision))
    else:
        table([title for title, _ in _COLUMNS], [[show(decision) for _, show in _COLUMNS] for decision in found])
    return 0


def _fits(decision: dict[str, Any], wanted: dict[str, str | None]) -> bool:
    return all(value is None or str(decision[key]) == value for key, value in wanted.items())


def _time(decision: dict[str, Any]) -> str:
    at = decision["at"]
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at * 1000) % 1000:03}"


def _compared(decision: dict[str, Any]) -> str:
    parts = [f"{entry['backend']}={entry['score']}" for entry in decision["candidates"] if entry["score"] is not None]
    if decision["prefix"]:
        parts.append(f"blocks={decision['prefix']['matched']}/{decision['prefix']['blocks']}")
    return " ".join(parts)


def _protocol(decision: dict[str, Any]) -> str:
    return f"{decision['protocol']}: {decision['protocol_why']}" if decision["protocol"] else ""


def _any(decision: dict[str, Any]) -> str:
    told = decision["any"] or {}
    held, passed = told.get("held"), told.get("passed")
    parts = [f"{held['alternative']} of any: {', '.join(held['asks'])}"] if held else []
    if passed:
        more = f" and {passed['more']} more" if passed["more"] else ""
        parts.append(f"past {passed['route'].partition(':')[0]}: no {' | '.join(passed['failed'])}{more}")
    return "; ".join(parts)


_COLUMNS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("time", _time),
    ("worker", lambda decision: decision["worker"]),
    ("route", lambda decision: decision["route"] or ""),
    ("any", _any),
    ("json", lambda decision: decision["json"] or ""),
    ("pool", lambda decision: decision["pool"] or ""),
    ("backend", lambda decision: decision["backend"] or ("(nobody)" if decision["pool"] else "(lbcore)")),
    ("why", lambda decision: decision["why"]),
    ("protocol", _protocol),
    ("compared", _compared),
    ("cost", lambda decision: decision["cost"]),
    ("tried", lambda decision: decision["tried"]),
    ("outcome", lambda decision: decision["outcome"]),
    ("status", lambda decision: decision["status"] or ""),
    ("ms", lambda decision: "" if decision["took_ms"] is None else decision["took_ms"]),
]
