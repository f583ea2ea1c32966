"""One pick, as a worker does it. It is not to grow with the pool; least_conn may: 2 µs at 1,000."""

from __future__ import annotations

from typing import Any

import pytest

from bench.micro.conftest import Fill
from lbcore._layout import ffi
from lbcore.api.picks import Picking, PickPool
from lbcore.engine.codes import POLICIES
from lbcore.table import Table

PICKS = 1000
LEAST_CONN_NS = 2000
PAIR_NS = 2000


@pytest.mark.parametrize("count", [10, 1000, 10_000])
@pytest.mark.parametrize("policy", list(POLICIES))
def test_pick(benchmark: Any, table: Table, fill: Fill, policy: str, count: int) -> None:
    """`PICKS` picks a call, without Python between."""
    fill(count, policy)
    _occupy(table, count)
    picker = table.picker("default")
    assert picker.pick() is not None
    benchmark.extra_info |= {"title": f"pick, {policy}, {count:,} backends", "operations": PICKS}
    if (policy, count) == ("least_conn", 1000):
        benchmark.extra_info["limit_ns"] = LEAST_CONN_NS
    benchmark(picker.spin, PICKS)


def _occupy(table: Table, count: int) -> None:
    """Sessions on every backend, as a worker would count them: among idle ones least_conn has nothing to look for."""
    head = table.segment.head
    for offset in (head.off_active, head.off_charged):
        figures = ffi.cast("uint32_t *", ffi.from_buffer(table.memory) + head.off_workers + offset)
        for index in range(count):
            figures[index] = 1 + index * 7 % 13


@pytest.mark.parametrize("count", [10, 1000, 10_000])
def test_pick_and_release_in_python(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """`pool.pick()` and `release()`, counted and recorded, as a program that goes to the backend by itself calls them."""
    fill(count, "p2c")
    picking = Picking(table.memory)
    pool = PickPool(picking, "default", lambda: table.pool_rows()["default"])
    pool.pick().release()

    def pairs() -> None:
        for _ in range(PICKS):
            pool.pick().release()

    benchmark.extra_info |= {"title": f"pool.pick() and release(), p2c, {count:,} backends", "operations": PICKS}
    benchmark.extra_info["limit_ns"] = PAIR_NS
    benchmark(pairs)
    picking.close()
