"""Membership on the real table, with a clock of the test's own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from memberships import Bench, address, adopted

from lbcore.config.settings import BackendSettings, PoolSettings
from lbcore.discovery.membership import Membership
from lbcore.discovery.reports import Report
from lbcore.observe.metrics import render
from lbcore.observe.status import document
from lbcore.table import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.table.close()


def test_a_lease_starts_is_proven_lives_and_ends(bench: Bench) -> None:
    row, new = bench.membership.register("p", address(1), Report("ready"))
    assert (new, row.state, row.source) == (True, "starting", "lease")
    assert bench.picks() == set()
    bench.membership.probe_result(row, True)
    assert (row.state, bench.picks()) == ("up", {row.index})
    for _ in range(5):
        bench.later(10)
        assert bench.membership.heartbeat("p", address(1), Report("alive")) is row
    bench.later(14.9)
    assert row.state == "up"
    bench.later(0.2)
    assert (row.state, row.reason) == ("draining", "3 heartbeats missed")
    assert bench.picks() == set()
    assert bench.membership.heartbeat("p", address(1), Report("alive")) is None


def test_an_address_that_comes_back_is_somebody_new(bench: Bench) -> None:
    first, _ = bench.membership.register("p", address(1), Report("ready"))
    bench.later(16)
    second, new = bench.membership.register("p", address(1), Report("ready"))
    assert new
    assert second.generation > first.generation
    assert second.id != first.id


def test_registering_again_renews(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready"))
    bench.later(10)
    again, new = bench.membership.register("p", address(1), Report("ready", weight=7))
    assert (again, new, row.weight) == (row, False, 7)
    bench.later(10)
    assert not row.leaving


def test_busy_stops_new_sessions_without_ejection(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready"))
    bench.membership.probe_result(row, True)
    bench.membership.heartbeat("p", address(1), Report("busy", for_s=8))
    assert (row.state, bench.picks()) == ("busy", set())
    for _ in range(5):
        bench.membership.probe_result(row, False, "timed out")
    assert row.state == "busy"
    bench.membership.probe_result(row, True)
    bench.membership.probe_result(row, True)
    bench.later(8.1)
    assert row.state == "up"


def test_ready_ends_busy_early(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("busy", for_s=1000))
    assert row.state == "busy"
    bench.membership.heartbeat("p", address(1), Report("ready"))
    bench.membership.probe_result(row, True)
    assert row.state == "up"


def test_capacity_becomes_the_weight_where_none_is_given(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready", capacity=12.4))
    assert row.weight == 12
    bench.membership.heartbeat("p", address(1), Report("alive", weight=3, capacity=99))
    assert row.weight == 3


def test_load_is_written_and_forgotten_when_unsaid(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready", load=0.5))
    assert row.load == 0.5
    bench.membership.heartbeat("p", address(1), Report("alive"))
    assert row.load is None


def test_deregister_drains(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready"))
    assert bench.membership.deregister("p", address(1)) is row
    assert (row.state, row.reason, row.leaving) == ("draining", "deregistered", True)
    assert bench.membership.deregister("p", address(1)) is None


def test_dead_leave_and_good_probes_bring_them_back(bench: Bench) -> None:
    one, two = (bench.membership.add("p", address(number)) for number in (1, 2))
    for _ in range(3):
        bench.membership.probe_result(one, False, "connection refused")
    assert (one.state, one.reason) == ("down", "3 probes failed: connection refused")
    assert bench.picks() == {two.index}
    bench.membership.probe_result(one, True)
    assert one.state == "down"
    bench.membership.probe_result(one, True)
    assert bench.picks() == {one.index, two.index}


def test_the_last_good_set_is_kept_and_let_go(bench: Bench) -> None:
    one, two, three = bench.proven(1, 2, 3)
    for row in (one, two, three):
        for _ in range(3):
            bench.membership.probe_result(row, False, "timed out")
    assert {row.state for row in (one, two, three)} == {"up"}
    assert all(row.reason.startswith("kept: every usable backend") for row in (one, two, three))
    assert bench.picks() == {one.index, two.index, three.index}
    assert not bench.membership.usable()
    bench.membership.probe_result(two, True)
    bench.membership.probe_result(two, True)
    assert (one.state, two.state, three.state) == ("up", "up", "up")  # it doubts itself
    bench.later(5)
    assert (one.state, two.state, three.state) == ("down", "up", "down")
    assert bench.membership.usable()


def test_a_new_backend_lets_the_kept_ones_go(bench: Bench) -> None:
    (one,) = bench.proven(1)
    for _ in range(3):
        bench.membership.probe_result(one, False, "timed out")
    assert one.reason.startswith("kept")
    two = bench.membership.add("p", address(2))
    assert one.state == "down"
    assert bench.picks() == {two.index}


def test_removing_the_last_good_one_keeps_the_dead(bench: Bench) -> None:
    one, two = bench.proven(1, 2)
    for _ in range(3):
        bench.membership.probe_result(one, False, "timed out")
    bench.membership.remove(two)
    assert one.state == "up"
    assert one.reason.startswith("kept")


def test_a_stall_of_the_balancer_costs_no_lease(bench: Bench) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready"))
    bench.later(10)
    bench.clock.now += 60  # the process was stopped, or its machine slept
    bench.membership.tick(bench.clock.now)
    assert not row.leaving
    bench.later(16)
    assert row.leaving


def test_heartbeats_leave_no_pile_of_deadlines(bench: Bench) -> None:
    for number in range(10):
        bench.membership.register("p", address(number), Report("ready"))
    for _ in range(1000):
        for number in range(10):
            bench.membership.heartbeat("p", address(number), Report("alive"))
    assert len(bench.membership._deadlines._heap) < 200


def test_configured_addresses_heartbeats_count_but_hold_no_lease(bench: Bench) -> None:
    row = bench.membership.add("p", address(1), source="config")
    again, new = bench.membership.register("p", address(1), Report("ready", load=0.25, weight=9))
    assert (again, new, row.load, row.weight, row.source) == (row, False, 0.25, 1, "config")
    bench.later(100)
    assert not row.leaving


def test_reload_touches_only_what_changed(bench: Bench) -> None:
    first = bench.pool.replace(backends=[BackendSettings(address=address(number)) for number in (1, 2)])
    bench.membership.apply({"p": first}, 1000)
    one, two = bench.table.find("p", address(1)), bench.table.find("p", address(2))
    api = bench.membership.add("p", address(8))
    lease, _ = bench.membership.register("p", address(9), Report("ready"))
    for _ in range(3):
        bench.membership.probe_result(one, False, "timed out")
    changed = [BackendSettings(address=address(1), weight=5), BackendSettings(address=address(3))]
    bench.membership.apply({"p": bench.pool.replace(backends=changed)}, 1000)
    assert bench.table.find("p", address(1)) is one
    assert (one.state, one.weight) == ("down", 5), "edits never resurrect the dead"
    assert two.leaving
    assert not api.leaving
    assert not lease.leaving
    assert bench.table.find("p", address(3)) is not None


def test_pools_come_and_go_with_reload(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    other = PoolSettings(name="q", backends=[BackendSettings(address=address(2))])
    bench.membership.apply({"q": other}, 0)
    assert bench.membership.pools() == ["q"]
    assert row.leaving
    with pytest.raises(KeyError):
        bench.membership.add("p", address(3))


def test_full_table_is_refused_by_name() -> None:
    table = Table(name="t", version="0", workers=1, max_backends=2, datapath="auto")
    pool = PoolSettings(name="p")
    membership = Membership(table, {"p": pool}, drain_ms=0, log=lambda line: None)
    membership.apply({"p": pool}, 0)
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
    with bench.membership._lock, bench.table.batch():
        for number in range(10_000):
            bench.membership.register("p", address(number), Report("ready"))
    began = time.process_time()
    for number in range(10_000):
        bench.membership.heartbeat("p", address(number), Report("alive", load=0.1))
    assert time.process_time() - began < 5, "a heartbeat costs more than half a millisecond: something grows with the pool"


def test_many_threads_at_once(bench: Bench) -> None:
    def work(base: int) -> None:
        for number in range(100):
            where = address(base * 256 + number)
            row, _ = bench.membership.register("p", where, Report("ready"))
            bench.membership.probe_result(row, number % 3 != 0, "x")
            bench.membership.heartbeat("p", where, Report("alive"))
            if number % 2:
                bench.membership.deregister("p", where)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not row.leaving for row in bench.table.rows()) == 200


# --- ejection ---------------------------------------------------------------------------------------------------------------


def fail(bench: Bench, row: Row, answers: int) -> None:
    """A worker reports that so many responses of a backend failed in a row."""
    outcome = bench.table.segment.health(0)[row.index]
    outcome.generation, outcome.failed_responses_in_row, outcome.last_status = row.generation, answers, 503
    bench.membership.failing(row.index, 1)


def test_at_most_max_ejected_of_a_pool_are_out_for_being_worse(bench: Bench) -> None:
    rows = [bench.membership.add("p", address(number)) for number in range(4)]
    for row in rows:
        fail(bench, row, 10)
    assert [row.state for row in rows] == ["down", "down", "up", "up"]
    assert any("max_ejected is reached" in line for line in bench.lines)
    bench.later(10.1)
    assert [row.state for row in rows] == ["up"] * 4


def test_the_only_backend_is_never_ejected(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    fail(bench, row, 10)
    assert row.state == "up"


def test_a_balancer_that_loses_most_of_a_pool_at_once_doubts_itself_for_a_while(bench: Bench) -> None:
    rows = bench.proven(*range(5))
    for row in rows[:3]:
        for _ in range(3):
            bench.membership.probe_result(row, False, "timed out after 0.5s")
    assert [row.state for row in rows] == ["up"] * 5
    assert "more than half of the pool failed at once (3 probes failed: timed out" in rows[0].reason
    assert any("the fault may be ours" in line for line in bench.lines)
    bench.later(5)
    assert [row.state for row in rows] == ["down", "down", "down", "up", "up"]


def test_doubt_ends_though_probes_go_on_failing(bench: Bench) -> None:
    """Each further failure changes the reason; that is no new death."""
    rows = bench.proven(*range(5))
    for second in range(12):
        for row in rows[:3]:
            bench.membership.probe_result(row, False, "timed out after 0.5s")
        assert [row.state for row in rows] == (["up"] * 5 if second < 7 else ["down"] * 3 + ["up"] * 2)
        bench.later(1)
    assert len([line for line in bench.lines if "the fault may be ours" in line]) == 1


def test_refused_connections_leave_no_doubt(bench: Bench) -> None:
    rows = [bench.membership.add("p", address(number)) for number in range(3)]
    for row in rows[:2]:
        for _ in range(3):
            bench.membership.probe_result(row, False, "connection refused")
    assert [row.state for row in rows] == ["down", "down", "up"]


def test_a_backend_that_flaps_is_held_down_and_says_so(bench: Bench) -> None:
    bench.membership.add("p", address(1))
    row = bench.membership.add("p", address(2))
    for flap in range(3):
        for _ in range(3):
            bench.membership.probe_result(row, False, "connection refused")
        for _ in range(2):
            bench.membership.probe_result(row, True)
        assert row.state == ("up" if flap == 0 else "down")
        if flap:
            assert "held down" in row.reason
            bench.later(8)
            assert row.state == "up"


@pytest.mark.parametrize("wrong", [{"capacity": "much"}, {"weight": None}, {"pool": "q"}, {"address": "nowhere"}])
def test_a_saved_backend_that_makes_no_sense_is_left_out_and_the_others_come(bench: Bench, wrong: dict[str, object]) -> None:
    good = {"pool": "p", "address": address(1), "source": "lease", "weight": 2, "capacity": 2.0, "drained": False, "up": True}
    assert bench.membership.restore([good | {"address": address(2)} | wrong, good]) == 1
    assert [row.address for row in bench.table.rows()] == [address(1)]
    assert any("is ignored" in line for line in bench.lines)


# --- a pool of which exactly one may serve -----------------------------------------------------------------------------------


STRICT = {"initial": "down", "when_none": "refuse", "on_down": "cut"}


@pytest.fixture
def strict() -> Iterator[Bench]:
    bench = Bench(**STRICT)
    yield bench
    bench.table.close()


def all_bad(bench: Bench, *rows: Row, why: str = "timed out after 0.5s", times: int = 3) -> None:
    for row in rows:
        for _ in range(times):
            bench.membership.probe_result(row, False, why)


@pytest.mark.parametrize("way", ["add", "source", "config", "restart", "restart of a lease"])
def test_who_begins_down_is_up_with_its_first_good_probe(strict: Bench, way: str) -> None:
    saved = {"pool": "p", "address": address(1), "weight": 1, "capacity": None, "drained": False, "up": True}
    if way == "add":
        strict.membership.add("p", address(1))
    elif way == "source":
        strict.membership.follow_source("p", "dns:x", [(address(1), 1)])
    elif way == "config":
        strict.membership.apply({"p": strict.pool.replace(backends=[BackendSettings(address=address(1))])}, 1000)
    else:
        assert strict.membership.restore([saved | {"source": "lease" if "lease" in way else "api"}]) == 1
    row = strict.table.find("p", address(1))
    assert row is not None
    assert row.state == ("starting" if "lease" in way else "down")
    assert strict.picks() == set()
    all_bad(strict, row)
    assert (row.state, strict.picks()) == ("down", set())
    strict.later(10)
    for _ in range(2):
        strict.membership.probe_result(row, True)
    assert (row.state, strict.picks()) == ("up", {row.index})


def test_who_was_drained_is_proven_anew_where_backends_begin_down(strict: Bench) -> None:
    """Nobody probed it while it was drained: its role may be another's by now."""
    poked: list[Row] = []
    strict.membership.on_new.subscribe(poked.append)
    (row,) = strict.proven(1)
    strict.membership.drain(row)
    strict.membership.ready(row)
    assert row.state == "down"
    assert poked[-1] is row, "it is probed at once"
    strict.membership.probe_result(row, True)
    assert row.state == "up"


def test_who_was_drained_is_up_again_where_backends_begin_up(bench: Bench) -> None:
    (row,) = bench.proven(1)
    bench.membership.drain(row)
    bench.membership.ready(row)
    assert row.state == "up"


@pytest.mark.parametrize("why", ["timed out after 0.5s", "status 503", "connection refused"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_pool_that_refuses_keeps_nobody(strict: Bench, why: str, count: int) -> None:
    """Neither when all fail at once, nor when most do: no doubt of the balancer's own sends sessions there."""
    rows = strict.proven(*range(count + 1))
    all_bad(strict, *rows[:count], why=why)
    assert {row.state for row in rows[:count]} == {"down"}
    assert strict.picks() == {rows[-1].index}
    all_bad(strict, rows[-1], why=why)
    assert strict.picks() == set()
    assert not strict.membership.usable()


def test_the_last_good_one_of_a_pool_that_refuses_is_never_ejected(strict: Bench) -> None:
    """Being worse than the rest takes a rest: two are no primary, and the third is slow."""
    rows = strict.proven(1, 2, 3)
    all_bad(strict, *rows[:2], why="status 503")
    strict.membership._states.eject(strict.membership._members[rows[2].id], "it is slow", strict.clock.now)
    assert strict.picks() == {rows[2].index}


def test_who_was_never_good_is_not_kept(bench: Bench) -> None:
    never = bench.membership.add("p", address(1))
    good, other = bench.proven(2, 3)
    all_bad(bench, good, other, never)
    assert (good.state, other.state, never.state) == ("up", "up", "down")
    assert bench.picks() == {good.index, other.index}


def test_a_reload_lets_the_kept_ones_go_and_keeps_them_again(bench: Bench) -> None:
    rows = bench.proven(1, 2)
    all_bad(bench, *rows)
    assert len(bench.picks()) == 2
    bench.membership.apply({"p": bench.pool.replace(when_none="refuse")}, 1000)
    assert bench.picks() == set()
    bench.membership.apply({"p": bench.pool}, 1000)
    assert len(bench.picks()) == 2


def test_a_reload_to_initial_down_asks_for_a_probe_of_whom_none_has_seen(bench: Bench) -> None:
    unseen = bench.membership.add("p", address(1))
    (seen,) = bench.proven(2)
    bench.membership.apply({"p": bench.pool.replace(initial="down")}, 1000)
    assert (unseen.state, seen.state) == ("down", "up")


def test_an_adopted_one_that_began_down_goes_down_with_its_first_bad_probe(strict: Bench) -> None:
    """The role may have moved while nobody probed; until then it serves on, since an upgrade must not refuse anybody."""
    (row,) = strict.proven(1)
    after = adopted(strict)
    assert row.state == "up"
    after.membership.probe_result(row, False, "status 503")
    assert row.state == "down"


def test_an_outage_stays_one_over_an_adoption(bench: Bench) -> None:
    rows = bench.proven(1, 2)
    never = bench.membership.add("p", address(3))
    all_bad(bench, *rows, never)
    after = adopted(bench)
    assert [row.state for row in (*rows, never)] == ["up", "up", "down"], "kept ones are kept"
    assert after.membership.outages() == ["p"]
    assert not after.membership.usable()
    assert rows[0].reason.count("kept") == 1
    for _ in range(2):
        after.membership.probe_result(rows[0], True)
    assert after.membership.outages() == []


def test_one_that_died_and_was_drained_is_down_when_it_is_ready_after_an_adoption(bench: Bench) -> None:
    dead, good = bench.proven(1, 2)
    for _ in range(3):
        bench.membership.probe_result(dead, False, "connection refused")
    for row in (dead, good):
        bench.membership.drain(row)
    after = adopted(adopted(bench))
    assert (dead.state, good.state) == ("draining", "draining")
    for row in (dead, good):
        after.membership.ready(row)
    assert (dead.state, dead.reason, good.state) == ("down", "it was down before", "up")
    after.membership.probe_result(dead, True)
    assert dead.state == "down"
    after.membership.probe_result(dead, True)
    assert dead.state == "up"


def test_one_that_died_and_says_that_it_is_busy_is_down_after_that(bench: Bench) -> None:
    """Likewise whatever else hides the verdict from the next control plane."""
    row, _ = bench.membership.register("p", address(1), Report(status="alive"))
    for _ in range(3):
        bench.membership.probe_result(row, False, "connection refused")
    bench.membership.heartbeat("p", address(1), Report(status="busy", for_s=10))
    assert row.state == "busy"
    after = adopted(bench)
    assert row.state == "busy"
    after.membership.heartbeat("p", address(1), Report(status="alive"))
    assert row.state == "down"


def test_one_that_was_never_good_is_not_kept_because_it_was_drained_over_an_adoption(bench: Bench) -> None:
    never, good = bench.membership.add("p", address(1)), bench.proven(2)[0]
    bench.membership.drain(never)
    after = adopted(bench)
    after.membership.ready(never)
    all_bad(after, never, good)
    assert (never.state, good.state, good.kept) == ("down", "up", True)


# --- total outage ----------------------------------------------------------------------------------------------------------


def outage_of(bench: Bench) -> bool:
    (pool,) = [pool for pool in document(bench.table.segment)["pools"] if pool["name"] == "p"]
    assert bool(bench.membership.outages()) is pool["outage"]
    return bool(pool["outage"])


def test_an_outage_is_told_once_and_costs_a_probe_no_more_than_any(bench: Bench) -> None:
    """500 backends: 250 lines a second, and every row written with every probe, was a third of a core."""
    rows = bench.proven(*range(500))
    all_bad(bench, *rows, why="status 503")
    assert outage_of(bench)
    said, writes = len(bench.lines), []
    bench.table.set_state = lambda row, *_, **__: writes.append(row)  # type: ignore[method-assign]
    for _ in range(3):
        all_bad(bench, *rows, why="status 503", times=1)
    assert len(bench.lines) == said
    assert len(writes) == 1500, "each probe writes its own backend"
    assert len([line for line in bench.lines if "outage" in line]) == 1
    del bench.table.set_state
    bench.later(60)
    for _ in range(2):
        bench.membership.probe_result(rows[7], True)
    assert not outage_of(bench)
    assert len([line for line in bench.lines if "outage" in line]) == 2
    assert bench.picks() == {rows[7].index}


def test_no_weight_anywhere_is_an_outage(bench: Bench) -> None:
    one, two = bench.proven(1, 2)
    bench.membership.set_weight(one, 0)
    assert not outage_of(bench)
    all_bad(bench, two, why="connection refused")
    assert outage_of(bench), "who has no weight takes no sessions"
    assert (two.state, two.kept) == ("up", True), "so the other is kept"
    bench.membership.set_weight(one, 1)
    assert not outage_of(bench)
    assert (two.state, two.kept) == ("down", False)
    bench.membership.follow_source("p", "file:x", [(address(3), 0)])
    bench.membership.set_weight(one, 0)
    assert outage_of(bench)
    bench.membership.follow_source("p", "file:x", [(address(3), 5)])
    assert not outage_of(bench)


@pytest.mark.parametrize("way", ["drain", "busy", "remove"])
def test_whatever_takes_the_last_one_out_is_an_outage(bench: Bench, way: str) -> None:
    row, _ = bench.membership.register("p", address(1), Report("ready"))
    bench.membership.probe_result(row, True)
    assert not outage_of(bench)
    if way == "drain":
        bench.membership.drain(row)
    elif way == "busy":
        bench.membership.heartbeat("p", address(1), Report("busy", for_s=5))
    else:
        bench.membership.remove(row)
    assert outage_of(bench)
    assert len([line for line in bench.lines if "outage" in line]) == 1


def test_a_pool_that_never_had_a_good_one_is_told_after_a_while(strict: Bench) -> None:
    """Not at once: the first probes are under way."""
    row = strict.membership.add("p", address(1))
    assert outage_of(strict)
    assert not [line for line in strict.lines if "outage" in line]
    all_bad(strict, row)
    strict.later(10)
    assert len([line for line in strict.lines if "outage" in line]) == 1
    for _ in range(2):
        strict.membership.probe_result(row, True)
    assert len([line for line in strict.lines if "the outage is over" in line]) == 1


def test_metrics_tell_kept_backends_from_good_ones(bench: Bench) -> None:
    rows = bench.proven(1, 2)
    all_bad(bench, *rows)
    text = render(document(bench.table.segment)).decode()
    assert 'lbcore_pool_outage{pool="p"} 1.0' in text
    assert 'lbcore_pool_backends{pool="p",state="kept"} 2.0' in text
    assert 'lbcore_pool_backends{pool="p",state="up"} 0.0' in text
    for state, value in (("kept", "1.0"), ("up", "0.0")):
        labels = {'pool="p"', f'backend="{address(1)}"', f'state="{state}"'}
        found = [
            line
            for line in text.splitlines()
            if line.startswith("lbcore_backend_state{") and all(label in line for label in labels)
        ]
        assert [line.rpartition(" ")[2] for line in found] == [value]
    for row in rows:
        for _ in range(2):
            bench.membership.probe_result(row, True)
    text = render(document(bench.table.segment)).decode()
    assert 'lbcore_pool_outage{pool="p"} 0.0' in text
    assert 'lbcore_pool_backends{pool="p",state="up"} 2.0' in text
