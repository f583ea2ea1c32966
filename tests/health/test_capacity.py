"""Who gets how much: reported load, requests from elsewhere, what a request costs, slow start. On the real table and engine."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from filled_tables import fill
from harness import wait_for
from http_balancers import http
from http_peers import Backend, Client
from memberships import Bench, address

from lbcore.config.settings import RouteSettings
from lbcore.discovery.reports import Report
from lbcore.table import Table

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

POLICIES = ["round_robin", "random", "p2c", "least_conn", "ewma", "maglev"]
RAMP_MS = 10_000


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(name="t", version="0", workers=2, max_backends=100, datapath="auto")
    yield table
    table.close()


def share_of(table: Table, row: int, now_ms: int, picks: int = 6000) -> float:
    """The share of picks that falls to a row when each is given back at once."""
    picker = table.picker("p", seed=7)
    counts: Counter[int | None] = Counter()
    for number in range(picks):
        counts[picker.pick(key=number * 0x9E3779B97F4A7C15 & (1 << 64) - 1, now_ms=now_ms)] += 1
    return counts[row] / picks


@pytest.mark.parametrize("policy", POLICIES)
def test_slow_start_ramps_with_every_policy(table: Table, policy: str) -> None:
    rows = fill(table, policy, [1] * 5)
    new = table.by_index(rows[4])
    assert new is not None
    table.set_ramp(new, 1000.0, RAMP_MS)
    begun = 1_000_000
    shares = [share_of(table, new.index, begun + age) for age in (0, 2500, 5000, 10_000, 1_000_000)]
    assert shares[0] < 0.04
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert shares[3] == pytest.approx(0.2, abs=0.05)
    assert shares[4] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pool_that_ramps_as_a_whole_still_serves(table: Table, policy: str) -> None:
    for index in fill(table, policy, [1] * 3):
        row = table.by_index(index)
        assert row is not None
        table.set_ramp(row, 1000.0, RAMP_MS)
    picker = table.picker("p")
    assert all(picker.pick(now_ms=1_000_000, key=number << 40) is not None for number in range(500))


def test_maglev_ramps_by_keys_and_keeps_them(table: Table) -> None:
    """A key that went over to a ramping backend stays there while it ramps on."""
    rows = fill(table, "maglev", [1] * 4)
    new = table.by_index(rows[0])
    assert new is not None
    table.set_ramp(new, 1000.0, RAMP_MS)
    picker = table.picker("p")
    keys = [number * 0x9E3779B97F4A7C15 & (1 << 64) - 1 for number in range(2000)]
    early = {key for key in keys if picker.pick(key=key, now_ms=1_003_000) == new.index}
    late = {key for key in keys if picker.pick(key=key, now_ms=1_007_000) == new.index}
    assert early < late


@pytest.mark.parametrize("policy", ["p2c", "least_conn"])
def test_requests_from_elsewhere_count(table: Table, policy: str) -> None:
    first, second = fill(table, policy, [1, 1])
    row = table.by_index(first)
    assert row is not None
    table.set_load(row, None, 10.0)
    picker, counts = table.picker("p"), Counter[int]()
    for _ in range(12):
        picked = picker.pick()
        assert picked is not None
        assert picker.take(picked)
        counts[picked] += 1
    assert counts[second] in (10, 11)


@pytest.mark.parametrize("policy", ["p2c", "least_conn"])
def test_cost_counts_as_so_much_under_way(table: Table, policy: str) -> None:
    first, second = fill(table, policy, [1, 1])
    picker = table.picker("p")
    assert picker.take(first, cost=50)
    for _ in range(49):
        picked = picker.pick()
        assert picked == second
        assert picker.take(picked, worker=1)
    picker.give(first, cost=50)
    assert picker.pick() == first


def test_max_active_counts_requests_not_cost(table: Table) -> None:
    from lbcore.config.settings import PoolSettings

    (only,) = fill(table, "p2c", [1])
    table.set_pool(PoolSettings(name="p", max_active=2))
    picker = table.picker("p")
    assert picker.take(only, cost=1000)
    assert picker.pick() == only
    assert picker.take(only)
    assert not picker.take(only)


# --- membership: what backends say --------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(slow_start="10s")
    yield bench
    bench.table.close()


def test_load_is_aged_and_then_forgotten(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    bench.membership.leases.heartbeat("p", address(1), Report("alive", load=0.8))
    assert row.load == 0.8
    bench.later(6.1)
    assert row.load == 0.4
    bench.later(6)
    assert row.load is None  # stale is unknown, never idle
    assert bench.table.segment.backend(row.index).load < 0


def test_requests_in_flight_less_our_own_are_from_elsewhere(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    picker = bench.table.picker("p")
    assert picker.take(row.index)
    assert picker.take(row.index)
    bench.membership.leases.heartbeat("p", address(1), Report("alive", in_flight=7))
    assert row.elsewhere == 5
    bench.membership.leases.heartbeat("p", address(1), Report("alive", in_flight=1))
    assert row.elsewhere == 0
    bench.membership.leases.heartbeat("p", address(1), Report("alive", in_flight=12))
    bench.later(13)
    assert row.elsewhere == 0


def test_late_and_repeated_reports_change_nothing(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready", weight=1, seq=5))
    bench.membership.leases.heartbeat("p", address(1), Report("alive", weight=2, seq=6))
    bench.later(10)
    bench.membership.leases.heartbeat("p", address(1), Report("alive", weight=9, seq=6))
    bench.membership.leases.heartbeat("p", address(1), Report("draining", seq=2))
    assert (row.weight, row.state) == (2, "starting")
    bench.later(5.1)  # nor do they renew the lease
    assert row.leaving


def ramps(bench: Bench, row: object) -> bool:
    return bool(bench.table.segment.backend(row.index).ramp_ms)  # type: ignore[attr-defined]


def test_slow_start_is_skipped_when_the_pool_was_empty(bench: Bench) -> None:
    first = bench.membership.add("p", address(1))
    second = bench.membership.add("p", address(2))
    assert not ramps(bench, first)
    assert not ramps(bench, second)  # both came at once


def test_slow_start_of_one_that_comes_to_others_ends_in_time(bench: Bench) -> None:
    bench.membership.add("p", address(1))
    bench.later(5)
    row = bench.membership.add("p", address(2))
    assert ramps(bench, row)
    bench.later(10.1)
    assert not ramps(bench, row)


def test_slow_start_begins_again_after_a_flap(bench: Bench) -> None:
    bench.membership.add("p", address(1))
    row = bench.membership.add("p", address(2))
    bench.later(60)
    for _ in range(3):
        bench.membership.observations.probe_result(row, False, "connection refused")
    assert row.state == "down"
    for _ in range(2):
        bench.membership.observations.probe_result(row, True)
    assert row.state == "up"
    assert ramps(bench, row)


# --- requests -----------------------------------------------------------------------------------------------------------


def test_x_lb_cost_and_the_cost_of_a_route_are_charged_until_the_end() -> None:
    release = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            release.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def charge() -> int:
        table = lb._running().table
        return sum(table.segment.charges(0)[index] for index in range(2))

    routes = [RouteSettings(path_prefix="/heavy", pool="default", cost=30)]
    with (
        Backend(script) as one,
        Backend(script) as two,
        http(one, two, top={"routes": routes}, listener={"pool": "default", "cost_header": "any"}, max_cost=100) as lb,
    ):
        for path, extra, cost in (
            ("/slow", b"X-LB-Cost: 40\r\n", 40),
            ("/slow", b"X-LB-Cost: 4000\r\n", 100),  # the pool's max_cost
            ("/slow", b"X-LB-Cost: many\r\n", 1),
            ("/slow", b"", 1),
            ("/heavy/slow", b"", 30),
            ("/heavy/slow", b"X-LB-Cost: 7\r\n", 7),
        ):
            release.clear()
            with Client(lb.address) as client:
                client.send(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n")
                wait_for(lambda cost=cost: charge() == cost, f"{path} {extra!r} is charged {cost}")
                release.set()
                assert client.answer().status == 200
            wait_for(lambda: charge() == 0, "nothing is charged any more")


def test_a_costly_request_keeps_others_away() -> None:
    release = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            release.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with (
        Backend(script) as one,
        Backend(script) as two,
        http(one, two, listener={"cost_header": "any"}, policy="least_conn") as lb,
    ):
        with Client(lb.address) as costly, Client(lb.address) as cheap:
            costly.send(b"GET /slow HTTP/1.1\r\nHost: a\r\nX-LB-Cost: 500\r\n\r\n")
            wait_for(lambda: len(one.heads) + len(two.heads) == 1, "the costly one is under way")
            busy, idle = (one, two) if one.heads else (two, one)
            for _ in range(20):
                assert cheap.get("/quick").status == 200
            assert (len(busy.heads), len(idle.heads)) == (1, 20)
            release.set()
            assert costly.answer().status == 200
