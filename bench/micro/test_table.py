"""Writes of the control plane into the shared table."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bench.micro.conftest import Fill, address
from lbcore.table import Table

SIZES = [10, 1000, 10_000]


@pytest.mark.parametrize("count", SIZES)
def test_set_load(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """A field written in place."""
    row = fill(count, "p2c")[count // 2]
    loads = itertools.cycle([0.25, 0.75])
    benchmark.extra_info["title"] = f"set_load, pool of {count:,}"
    benchmark(lambda: table.set_load(row, next(loads)))


@pytest.mark.parametrize("count", SIZES)
def test_set_weight(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """A weight changes: written in place, and the pool's view is published."""
    row = fill(count, "p2c")[count // 2]
    weights = itertools.cycle([1, 2])
    benchmark.extra_info["title"] = f"set_weight, pool of {count:,}"
    benchmark(lambda: table.set_weight(row, next(weights)))


@pytest.mark.parametrize("count", SIZES)
def test_set_state(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """A backend goes down or comes up: its state and reason, and the view."""
    row = fill(count, "p2c")[count // 2]
    states = itertools.cycle([("down", "3 probes failed: connection refused"), ("up", "2 probes passed")])
    benchmark.extra_info["title"] = f"set_state, pool of {count:,}"
    benchmark(lambda: table.set_state(row, *next(states)))


@pytest.mark.parametrize("count", SIZES)
def test_add(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """A backend joins a pool: resolved, put, published."""
    fill(count, "p2c")
    fresh = itertools.count(count)

    def add() -> None:
        table.add("default", address(next(fresh)), source="api")

    benchmark.extra_info["title"] = f"add, pool of {count:,}"
    benchmark.pedantic(add, rounds=300, warmup_rounds=10)


def test_fill(benchmark: Any, table: Table, fill: Fill) -> None:
    """10,000 backends join as one batch: time for each."""
    benchmark.extra_info |= {"title": "add in a batch of 10,000, each", "operations": 10_000}
    benchmark.pedantic(fill, args=(10_000, "p2c"), rounds=1)
