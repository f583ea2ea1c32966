"""How the alternatives (`any`) of routes came out for a request, in words: struct lb_way of csrc/layout/figures.h."""

from __future__ import annotations

from lbcore._layout import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.engine.segment import Routes, Segment

TOLD: int = ffi.integer_const("LB_TOLD")
ALL: int = ffi.integer_const("LB_CONDITION_ALL")
ANY: int = ffi.integer_const("LB_CONDITION_ANY")
KINDS: dict[int, str] = {
    ffi.integer_const(f"LB_CONDITION_{word}"): word.lower()
    for word in (
        "HEADER",
        "COOKIE",
        "ALPN",
        "QUERY",
        "METHOD",
        "HOST",
        "PATH",
        "PATH_PREFIX",
        "PATH_SUFFIX",
        "PATH_REGEX",
        "SOURCE",
        "SPLIT",
        "JSON",
    )
} | {ffi.integer_const("LB_CONDITION_SPLIT"): "percent"}
MOST_COUNTED = 254
"""Alternatives: 255 is that one, or a later one."""
MOST_DEPTH: int = ffi.integer_const("LB_CONDITION_DEPTH")


def shown(segment: Segment, way: Any, route: int, at_us: int) -> dict[str, Any] | None:
    """{"held", "passed"}; None when the routes have changed since then, or there is nothing to tell.

    held: {"alternative" (from 1), "asks" (its conditions)} of the decision's own route; None: that has no `any`.
    passed: {"route", "failed" (a condition of each alternative), "more" (that are not told)} of the first route before it that
    no alternative held for; None: there is no such route.
    route: of the decision: its number and 1, 0: none. at_us: when it fell, monotonic.
    """

    def read(routes: Routes) -> dict[str, Any]:
        held = _alternatives(routes, route - 1)[1] if way.held and route else []
        return {
            "held": _held(routes, held, way.held) if held else None,
            "passed": _passed(routes, way) if way.passed else None,
        }

    found = segment.routes(at_us, read)
    return found if found is not None and any(found.values()) else None


def _held(routes: Routes, alternatives: list[int], held: int) -> dict[str, Any]:
    at = alternatives[held - 1] if held <= min(len(alternatives), MOST_COUNTED) else None
    return {"alternative": held, "asks": [] if at is None else [_named(routes, one) for one in _inside(routes, at)]}


def _passed(routes: Routes, way: Any) -> dict[str, Any]:
    group, _ = _alternatives(routes, way.passed - 1)
    told = [way.failed[at] for at in range(min(way.count, TOLD))]
    words = routes.said(way.passed - 1)
    return {
        "route": f"route[{way.passed - 1}]" + (f": {words}" if words is not None else ""),
        "failed": ["?" if group is None or not at else _named(routes, group + at) for at in told],
        "more": way.count - len(told),
    }


def _alternatives(routes: Routes, number: int) -> tuple[int | None, list[int]]:
    """Of a route of the configuration: the condition that is its `any`, and those inside it; None: there is none."""
    for row in range(routes.head.count):
        if routes.rows[row].number == number:
            first, count = routes.rows[row].condition, routes.rows[row].condition_count
            for at in _children(routes, first, count):
                if routes.conditions[at].kind == ANY and routes.conditions[at].present:
                    return at, _inside(routes, at)
            return None, []
    return None, []


def _inside(routes: Routes, group: int) -> list[int]:
    return _children(routes, group + 1, routes.conditions[group].inside)


def _children(routes: Routes, first: int, count: int) -> list[int]:
    """Conditions beside each other, without those inside them."""
    found, at, end = [], first, min(first + count, routes.head.conditions)
    while at < end:
        found.append(at)
        at += 1 + routes.conditions[at].inside
    return found


def _named(routes: Routes, at: int, depth: int = 0) -> str:
    """What a condition is about, without its values: "header:x-tenant", "not path", "any"."""
    if at >= routes.head.conditions or depth > MOST_DEPTH:
        return "?"
    condition = routes.conditions[at]
    inside = _inside(routes, at)
    negation = "not " if condition.negated else ""
    if condition.kind in KINDS:
        name = routes.text(condition.name, condition.name_length)
        return negation + KINDS[condition.kind] + (f":{name}" if name else "")
    if condition.kind == ANY and not any(routes.conditions[one].kind == ALL for one in inside) and inside:
        return negation + _named(routes, inside[0], depth + 1)  # a list of values
    if condition.kind == ALL and condition.negated:
        return "not(" + " ".join(_named(routes, one, depth + 1) for one in inside) + ")"
    return negation + "any"
