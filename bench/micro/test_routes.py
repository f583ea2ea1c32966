"""What finding the route of a request costs, with a thousand of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lbcore import _engine
from lbcore.config.settings import PoolSettings, RouteSettings
from lbcore.table import Table
from lbcore.table.routes import pack

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = 1000
HOSTS = 10_000
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


@pytest.mark.parametrize("host", ["tenant-9998.eu.example.com", "x.wild-9999.example.com"], ids=["exact", "wildcard"])
def test_map(benchmark: BenchmarkFixture, table: Table, tmp_path: Path, host: str) -> None:
    """The whole way of a request through a route with a map of 10,000 hosts."""
    table.set_pool(PoolSettings(name="p"))
    file = tmp_path / "hosts.map"
    file.write_text("".join(f"tenant-{number}.eu.example.com p\n*.wild-{number}.example.com p\n" for number in range(HOSTS)))
    table.set_routes(pack([RouteSettings(map=str(file))], {}, table.pool_rows()))
    router = _engine.Router(table._writer)
    head = b"GET /v1/items/42?page=3 HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode()
    assert router.match(head) == 0
    benchmark.extra_info.update(title=f"route by a map of 20,000 hosts, {host}", operations=TIMES, limit_ns=1000)
    benchmark(router.match, head, 0, TIMES)
