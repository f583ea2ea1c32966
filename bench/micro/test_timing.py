"""What it costs a worker to note how long something took: a bucket, an addition, a sum."""

from __future__ import annotations

from typing import Any

from bench.micro.conftest import Fill
from lbcore.observe.timings import KINDS, timing
from lbcore.table import Table

TIMES = 10_000
LIMIT_NS = 20


def test_timing_is_noted(benchmark: Any, table: Table, fill: Fill) -> None:
    """`TIMES` notes a call, without Python between; each another time than the one before."""
    fill(10, "p2c")
    benchmark.extra_info |= {"title": "a time noted", "operations": TIMES, "limit_ns": LIMIT_NS}
    benchmark(lambda: table.time("default", KINDS["response"], 900, times=TIMES))
    assert benchmark.stats.stats.min / TIMES < LIMIT_NS * 1e-9
    assert timing(table.segment, table.pool_rows()["default"], "response").count >= TIMES
