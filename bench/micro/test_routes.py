"""What finding the route of a request costs, with a thousand of them."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lbcore import _engine
from lbcore.config.settings import PoolSettings, RouteSettings
from lbcore.table import Table
from lbcore.table.routes import pack

ROUTES = 1000
TIMES = 10_000
HEAD = b"GET /service-%d/v1/items/42?page=3 HTTP/1.1\r\nHost: tenant-%d.eu.example.com\r\nAccept: */*\r\n\r\n"
KINDS = {
    "by host": lambda number: {"host": f"tenant-{number}.eu.example.com"},
    "by wildcard host": lambda number: {"host": f"*.region-{number}.example.com" if number else "*.eu.example.com"},
    "by prefix": lambda number: {"path_prefix": f"/service-{number}/"},
    "by host and prefix": lambda number: {"host": f"tenant-{number}.eu.example.com", "path_prefix": f"/service-{number}/v1"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_match(benchmark: BenchmarkFixture, table: Table, kind: str) -> None:
    """One of 1,000 routes, the last but one; and nothing that fits."""
    table.set_pool(PoolSettings(name="p"))
    routes = [RouteSettings(pool="p", **KINDS[kind](number)) for number in range(ROUTES)]
    table.set_routes(pack(routes, {}, table.pool_rows()))
    router = _engine.Router(table._writer)
    head = HEAD % (998, 998)
    assert router.match(head) == 0
    benchmark.extra_info.update(title=f"route of 1,000 {kind}", operations=TIMES, limit_ns=1000)
    benchmark(router.match, head, 0, TIMES)
