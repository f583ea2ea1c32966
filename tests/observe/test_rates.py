"""Rates and what top's table makes of them, by tables: no segment, no clock, no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from lbcore.cli.top import rows as table
from lbcore.observe.rates import History, Rate, between, sparkline

WORKER = {"accepted": 0, "requests": 0, "refused": 0, "responses_5xx": 0, "bytes_in": 0, "bytes_out": 0}


def backend(name: str, **figures: Any) -> dict[str, Any]:
    plain = {
        "state": "up",
        "reason": "probes succeed",
        "sessions": 0,
        "failures": 0,
        "latency_ms": 0.0,
        "active": 0,
        "weight": 1,
    }
    return {"id": name, "address": f"10.0.0.{name}:80", **plain, **figures}


def document(*backends: dict[str, Any], latency: dict[str, Any] | None = None, **worker: int) -> dict[str, Any]:
    pool = {"name": "app", "queued": 0, "backends": list(backends), **({"latency": latency} if latency else {})}
    return {"pools": [pool], "workers": [WORKER | worker]}


@pytest.mark.parametrize(
    ("before", "after", "elapsed_s", "per_s"),
    [
        (None, 10, 1.0, None),
        (10, 30, 2.0, 10.0),
        (10, 10, 1.0, 0.0),
        (10, 3, 1.0, None),  # it began anew
        (10, 30, 0.0, None),
        (10, 30, -1.0, None),
    ],
)
def test_a_backends_rate(before: int | None, after: int, elapsed_s: float, per_s: float | None) -> None:
    old = None if before is None else document(backend("1", sessions=before))
    assert between(old, document(backend("1", sessions=after)), elapsed_s).backends["1"].per_s == per_s


def test_a_backend_that_comes_has_no_rate_yet_and_its_pool_has() -> None:
    rates = between(document(backend("1")), document(backend("1", sessions=4), backend("2", sessions=9)), 2.0)
    assert (rates.backends["2"].per_s, rates.pools["app"].per_s) == (None, 2.0)


@pytest.mark.parametrize(
    ("members", "measured", "latency_ms", "p99_ms"),
    [
        ([(10, 5.0), (30, 1.0)], None, 2.0, None),  # each by its share: (10*5 + 30*1) / 40
        ([(0, 4.0), (0, 2.0)], None, 3.0, None),  # nobody serves: the plain mean
        ([(10, 0.0)], None, None, None),  # 0 is not known
        ([], None, None, None),
        ([(10, 5.0)], {"p50_ms": 1.5, "p99_ms": 9.0, "p999_ms": 12.0, "count": 7}, 1.5, 9.0),
        ([(10, 5.0)], {"p50_ms": 0.0, "p99_ms": 0.0, "p999_ms": 0.0, "count": 0}, 5.0, None),
    ],
)
def test_a_pools_latency(members: Any, measured: Any, latency_ms: float | None, p99_ms: float | None) -> None:
    names = [(str(number), served, ms) for number, (served, ms) in enumerate(members)]
    before = document(*(backend(name) for name, _, _ in names))
    after = document(*(backend(name, sessions=served, latency_ms=ms) for name, served, ms in names), latency=measured)
    rate = between(before, after, 1.0).pools["app"]
    assert (rate.latency_ms, rate.p99_ms) == (latency_ms, p99_ms)


def test_totals_are_of_all_workers() -> None:
    rates = between(document(bytes_in=100), document(bytes_in=300, responses_5xx=4), 2.0)
    assert (rates.totals["bytes_in"], rates.totals["responses_5xx"]) == (100.0, 2.0)


def test_a_history_is_bounded_and_forgets_who_left() -> None:
    history = History(3)
    for number in range(5):
        history.note({"a": float(number), "b": None})
    assert (history.of("a"), history.of("b"), history.of("c")) == ([2.0, 3.0, 4.0], [None, None, None], [])
    history.note({"b": 1.0})
    assert history.of("a") == []


@pytest.mark.parametrize(
    ("readings", "width", "drawn"),
    [
        ([], 4, "    "),
        ([0.0, 7.0], 4, "  ▁█"),
        ([1.0, 2.0, 3.0, 4.0], 2, "▆█"),
        ([None, 4.0], 2, " █"),
        ([0.0, 0.0], 2, "▁▁"),
        ([1.0], 0, ""),
    ],
)
def test_sparklines(readings: list[float | None], width: int, drawn: str) -> None:
    assert sparkline(readings, width) == drawn


def test_columns_never_overflow_and_go_by_need() -> None:
    row = table.Row("1", "app" * 9, "h" * 60, "draining", "why" * 40, Rate(1e9, None, 1e5), [1.0], 1, 1, 1)
    for width in range(1, 220):
        chosen = table.columns(width)
        text = table.line(row, chosen)
        assert all(len(cell) == column.width for cell, column in zip(text, chosen, strict=True))
        titles = [column.title for column in chosen]
        assert titles[0] == "backend"
        if width >= 46:
            assert titles[:3] == ["backend", "state", "rate/s"]
            assert len("  ".join(text)) <= width
        if width >= 150:
            assert len(titles) == len(table.COLUMNS) + 1


@pytest.mark.parametrize(
    ("order", "backwards", "text", "found"),
    [
        ("trouble", False, "", ["3", "10", "2"]),
        ("backend", False, "", ["2", "3", "10"]),
        ("backend", True, "", ["10", "3", "2"]),
        ("rate", False, "", ["10", "2", "3"]),
        ("latency", False, "", ["2", "10", "3"]),
        ("active", False, "", ["2", "3", "10"]),
        ("failed", False, "", ["3", "2", "10"]),
        ("backend", False, "REFUSED", ["3"]),
        ("backend", False, "app", ["2", "3", "10"]),
        ("backend", False, "nobody", []),
    ],
)
def test_orders_and_filters(order: str, backwards: bool, text: str, found: list[str]) -> None:
    before = document(backend("2"), backend("3"), backend("10"))
    after = document(
        backend("2", sessions=1, latency_ms=9.0, active=5),
        backend("3", state="down", reason="3 probes failed: connection refused", failures=4),
        backend("10", sessions=8, latency_ms=1.0, state="draining"),
    )
    rows = table.rows(after, between(before, after, 1.0), History(), order=order, backwards=backwards, text=text)
    assert [row.id for row in rows] == found


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (table.amount, None, "-"),
        (table.amount, 0.0, "0"),
        (table.amount, 3.25, "3.2"),
        (table.amount, 123.4, "123"),
        (table.amount, 9999.0, "9999"),
        (table.amount, 12_345.0, "12.3k"),
        (table.amount, 2.5e6, "2.5M"),
        (table.latency, None, "-"),
        (table.latency, 0.42, "0.42 ms"),
        (table.latency, 42.0, "42.0 ms"),
        (table.latency, 420.0, "420 ms"),
        (table.latency, 4200.0, "4.20 s"),
        (table.volume, 999.0, "999 B/s"),
        (table.volume, 1.5e9, "1.5 GB/s"),
    ],
)
def test_figures_in_few_cells(show: Any, value: float | None, text: str) -> None:
    assert show(value) == text
