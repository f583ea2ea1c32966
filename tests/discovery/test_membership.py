"""Membership on the real table, with a clock of the test's own."""

from __future__ import annotations

import threading
import time

import pytest
from memberships import Bench, address

from lbcore.config.settings import BackendSettings, PoolSettings
from lbcore.discovery.membership import Membership
from lbcore.discovery.reports import Report
from lbcore.table import Table


def test_a_lease_starts_is_proven_lives_and_ends(bench: Bench) -> None:
    row, new = bench.membership.leases.register("p", address(1), Report("ready"))
    assert (new, row.state, row.source) == (True, "starting", "lease")
    assert bench.picks() == set()
    bench.membership.observations.probe_result(row, True)
    assert (row.state, bench.picks()) == ("up", {row.index})
    for _ in range(5):
        bench.later(10)
        assert bench.membership.leases.heartbeat("p", address(1), Report("alive")) is row
    bench.later(14.9)
    assert row.state == "up"
    bench.later(0.2)
    assert (row.state, row.reason) == ("draining", "3 heartbeats missed")
    assert bench.picks() == set()
    assert bench.membership.leases.heartbeat("p", address(1), Report("alive")) is None


def test_an_address_that_comes_back_is_somebody_new(bench: Bench) -> None:
    first, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.later(16)
    second, new = bench.membership.leases.register("p", address(1), Report("ready"))
    assert new
    assert second.generation > first.generation
    assert second.id != first.id


def test_registering_again_renews(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.later(10)
    again, new = bench.membership.leases.register("p", address(1), Report("ready", weight=7))
    assert (again, new, row.weight) == (row, False, 7)
    bench.later(10)
    assert not row.leaving


def test_busy_stops_new_sessions_without_ejection(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.membership.observations.probe_result(row, True)
    bench.membership.leases.heartbeat("p", address(1), Report("busy", for_s=8))
    assert (row.state, bench.picks()) == ("busy", set())
    for _ in range(5):
        bench.membership.observations.probe_result(row, False, "timed out")
    assert row.state == "busy"
    bench.membership.observations.probe_result(row, True)
    bench.membership.observations.probe_result(row, True)
    bench.later(8.1)
    assert row.state == "up"


def test_ready_ends_busy_early(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("busy", for_s=1000))
    assert row.state == "busy"
    bench.membership.leases.heartbeat("p", address(1), Report("ready"))
    bench.membership.observations.probe_result(row, True)
    assert row.state == "up"


def test_capacity_becomes_the_weight_where_none_is_given(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready", capacity=12.4))
    assert row.weight == 12
    bench.membership.leases.heartbeat("p", address(1), Report("alive", weight=3, capacity=99))
    assert row.weight == 3


def test_load_is_written_and_forgotten_when_unsaid(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready", load=0.5))
    assert row.load == 0.5
    bench.membership.leases.heartbeat("p", address(1), Report("alive"))
    assert row.load is None


def test_deregister_drains(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    assert bench.membership.leases.deregister("p", address(1)) is row
    assert (row.state, row.reason, row.leaving) == ("draining", "deregistered", True)
    assert bench.membership.leases.deregister("p", address(1)) is None


def test_dead_leave_and_good_probes_bring_them_back(bench: Bench) -> None:
    one, two = (bench.membership.add("p", address(number)) for number in (1, 2))
    for _ in range(3):
        bench.membership.observations.probe_result(one, False, "connection refused")
    assert (one.state, one.reason) == ("down", "3 probes failed: connection refused")
    assert bench.picks() == {two.index}
    bench.membership.observations.probe_result(one, True)
    assert one.state == "down"
    bench.membership.observations.probe_result(one, True)
    assert bench.picks() == {one.index, two.index}


def test_the_last_good_set_is_kept_and_let_go(bench: Bench) -> None:
    one, two, three = bench.proven(1, 2, 3)
    for row in (one, two, three):
        for _ in range(3):
            bench.membership.observations.probe_result(row, False, "timed out")
    assert {row.state for row in (one, two, three)} == {"up"}
    assert all(row.reason.startswith("kept: every usable backend") for row in (one, two, three))
    assert bench.picks() == {one.index, two.index, three.index}
    assert bench.membership.outages() == ["p"]
    bench.membership.observations.probe_result(two, True)
    bench.membership.observations.probe_result(two, True)
    assert (one.state, two.state, three.state) == ("up", "up", "up")  # it doubts itself
    bench.later(5)
    assert (one.state, two.state, three.state) == ("down", "up", "down")
    assert bench.membership.outages() == []


def test_a_new_backend_lets_the_kept_ones_go(bench: Bench) -> None:
    (one,) = bench.proven(1)
    for _ in range(3):
        bench.membership.observations.probe_result(one, False, "timed out")
    assert one.reason.startswith("kept")
    two = bench.membership.add("p", address(2))
    assert one.state == "down"
    assert bench.picks() == {two.index}


def test_removing_the_last_good_one_keeps_the_dead(bench: Bench) -> None:
    one, two = bench.proven(1, 2)
    for _ in range(3):
        bench.membership.observations.probe_result(one, False, "timed out")
    bench.membership.remove(two)
    assert one.state == "up"
    assert one.reason.startswith("kept")


def test_a_stall_of_the_balancer_costs_no_lease(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.later(10)
    bench.clock.now += 60  # the process was stopped, or its machine slept
    bench.membership.tick(bench.clock.now)
    assert not row.leaving
    bench.later(16)
    assert row.leaving


def test_heartbeats_leave_no_pile_of_deadlines(bench: Bench) -> None:
    for number in range(10):
        bench.membership.leases.register("p", address(number), Report("ready"))
    for _ in range(1000):
        for number in range(10):
            bench.membership.leases.heartbeat("p", address(number), Report("alive"))
    assert len(bench.membership.deadlines._heap) < 200


def test_configured_addresses_heartbeats_count_but_hold_no_lease(bench: Bench) -> None:
    row = bench.membership.add("p", address(1), source="config")
    again, new = bench.membership.leases.register("p", address(1), Report("ready", load=0.25, weight=9))
    assert (again, new, row.load, row.weight, row.source) == (row, False, 0.25, 1, "config")
    bench.later(100)
    assert not row.leaving


def test_reload_touches_only_what_changed(bench: Bench) -> None:
    first = bench.pool.replace(backends=[BackendSettings(address=address(number)) for number in (1, 2)])
    bench.membership.changes.apply({"p": first}, 1000)
    one, two = bench.table.find("p", address(1)), bench.table.find("p", address(2))
    api = bench.membership.add("p", address(8))
    lease, _ = bench.membership.leases.register("p", address(9), Report("ready"))
    for _ in range(3):
        bench.membership.observations.probe_result(one, False, "timed out")
    changed = [BackendSettings(address=address(1), weight=5), BackendSettings(address=address(3))]
    bench.membership.changes.apply({"p": bench.pool.replace(backends=changed)}, 1000)
    assert bench.table.find("p", address(1)) is one
    assert (one.state, one.weight) == ("down", 5), "edits never resurrect the dead"
    assert two.leaving
    assert not api.leaving
    assert not lease.leaving
    assert bench.table.find("p", address(3)) is not None


def test_pools_come_and_go_with_reload(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    other = PoolSettings(name="q", backends=[BackendSettings(address=address(2))])
    bench.membership.changes.apply({"q": other}, 0)
    assert bench.membership.pools() == ["q"]
    assert row.leaving
    with pytest.raises(KeyError):
        bench.membership.add("p", address(3))


def test_full_table_is_refused_by_name() -> None:
    table = Table(name="t", version="0", workers=1, max_backends=2, datapath="auto")
    pool = PoolSettings(name="p")
    membership = Membership(table, {"p": pool}, drain_ms=0, log=lambda line: None)
    membership.changes.apply({"p": pool}, 0)
    membership.add("p", address(1))
    membership.add("p", address(2))
    with pytest.raises(ValueError, match="max_backends=2"):
        membership.add("p", address(3))
    table.close()


def test_bad_and_doubled_addresses_are_refused(bench: Bench) -> None:
    bench.membership.add("p", address(1))
    for wrong in (address(1), "nonsense", "host:0", "10.0.0.1:70000", "::1:80", "no.such.host.invalid:80"):
        with pytest.raises(ValueError, match=r".+"):
            bench.membership.add("p", wrong)
    assert len(bench.table.rows()) == 1


def test_ten_thousand_leases_beat_in_good_time(bench: Bench) -> None:
    with bench.membership.lock, bench.table.batch():
        for number in range(10_000):
            bench.membership.leases.register("p", address(number), Report("ready"))
    began = time.process_time()
    for number in range(10_000):
        bench.membership.leases.heartbeat("p", address(number), Report("alive", load=0.1))
    assert time.process_time() - began < 5, "a heartbeat costs more than half a millisecond: something grows with the pool"


def test_many_threads_at_once(bench: Bench) -> None:
    def work(base: int) -> None:
        for number in range(100):
            where = address(base * 256 + number)
            row, _ = bench.membership.leases.register("p", where, Report("ready"))
            bench.membership.observations.probe_result(row, number % 3 != 0, "x")
            bench.membership.leases.heartbeat("p", where, Report("alive"))
            if number % 2:
                bench.membership.leases.deregister("p", where)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not row.leaving for row in bench.table.rows()) == 200
