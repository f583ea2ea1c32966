"""Reading the status document out of the shared table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.micro.conftest import Fill
from lbcore.observe.status import document
from lbcore.table import Table


@pytest.mark.parametrize("count", [10, 1000, 10_000])
def test_status(benchmark: Any, table: Table, fill: Fill, count: int) -> None:
    """The whole document as a dict."""
    fill(count, "p2c")
    benchmark.extra_info["title"] = f"status, {count:,} backends"
    found = benchmark(document, table.segment)
    assert len(found["pools"][0]["backends"]) == count


def test_status_json(benchmark: Any, table: Table, fill: Fill) -> None:
    """The document and its JSON, as `GET /status` answers."""
    fill(1000, "p2c")
    benchmark.extra_info["title"] = "status as JSON, 1,000 backends"
    benchmark(lambda: json.dumps(document(table.segment)))
