"""Backends that begin down, and pools that refuse when none is good, with a clock of the test's own."""

from __future__ import annotations

import pytest
from memberships import Bench, address, adopted, all_bad

from lbcore.config.settings import BackendSettings
from lbcore.discovery.reports import Report
from lbcore.table import Row


@pytest.mark.parametrize("way", ["add", "source", "config", "restart", "restart of a lease"])
def test_who_begins_down_is_up_with_its_first_good_probe(strict: Bench, way: str) -> None:
    saved = {"pool": "p", "address": address(1), "weight": 1, "capacity": None, "drained": False, "up": True}
    if way == "add":
        strict.membership.add("p", address(1))
    elif way == "source":
        strict.membership.claims.follow_source("p", "dns:x", [(address(1), 1)])
    elif way == "config":
        strict.membership.changes.apply({"p": strict.pool.replace(backends=[BackendSettings(address=address(1))])}, 1000)
    else:
        assert strict.membership.restart.restore([saved | {"source": "lease" if "lease" in way else "api"}]) == 1
    row = strict.table.find("p", address(1))
    assert row is not None
    assert row.state == ("starting" if "lease" in way else "down")
    assert strict.picks() == set()
    all_bad(strict, row)
    assert (row.state, strict.picks()) == ("down", set())
    strict.later(10)
    for _ in range(2):
        strict.membership.observations.probe_result(row, True)
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
    strict.membership.observations.probe_result(row, True)
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
    assert strict.membership.outages() == ["p"]


def test_the_last_good_one_of_a_pool_that_refuses_is_never_ejected(strict: Bench) -> None:
    """Being worse than the rest takes a rest: two are no primary, and the third is slow."""
    rows = strict.proven(1, 2, 3)
    all_bad(strict, *rows[:2], why="status 503")
    strict.membership.states.eject(strict.membership.by_id[rows[2].id], "it is slow", strict.clock.now)
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
    bench.membership.changes.apply({"p": bench.pool.replace(when_none="refuse")}, 1000)
    assert bench.picks() == set()
    bench.membership.changes.apply({"p": bench.pool}, 1000)
    assert len(bench.picks()) == 2


def test_a_reload_to_initial_down_asks_for_a_probe_of_whom_none_has_seen(bench: Bench) -> None:
    unseen = bench.membership.add("p", address(1))
    (seen,) = bench.proven(2)
    bench.membership.changes.apply({"p": bench.pool.replace(initial="down")}, 1000)
    assert (unseen.state, seen.state) == ("down", "up")


def test_an_adopted_one_that_began_down_goes_down_with_its_first_bad_probe(strict: Bench) -> None:
    """The role may have moved while nobody probed; until then it serves on, since an upgrade must not refuse anybody."""
    (row,) = strict.proven(1)
    after = adopted(strict)
    assert row.state == "up"
    after.membership.observations.probe_result(row, False, "status 503")
    assert row.state == "down"


def test_an_outage_stays_one_over_an_adoption(bench: Bench) -> None:
    rows = bench.proven(1, 2)
    never = bench.membership.add("p", address(3))
    all_bad(bench, *rows, never)
    after = adopted(bench)
    assert [row.state for row in (*rows, never)] == ["up", "up", "down"], "kept ones are kept"
    assert after.membership.outages() == ["p"]
    assert rows[0].reason.count("kept") == 1
    for _ in range(2):
        after.membership.observations.probe_result(rows[0], True)
    assert after.membership.outages() == []


def test_one_that_died_and_was_drained_is_down_when_it_is_ready_after_an_adoption(bench: Bench) -> None:
    dead, good = bench.proven(1, 2)
    for _ in range(3):
        bench.membership.observations.probe_result(dead, False, "connection refused")
    for row in (dead, good):
        bench.membership.drain(row)
    after = adopted(adopted(bench))
    assert (dead.state, good.state) == ("draining", "draining")
    for row in (dead, good):
        after.membership.ready(row)
    assert (dead.state, dead.reason, good.state) == ("down", "it was down before", "up")
    after.membership.observations.probe_result(dead, True)
    assert dead.state == "down"
    after.membership.observations.probe_result(dead, True)
    assert dead.state == "up"


def test_one_that_died_and_says_that_it_is_busy_is_down_after_that(bench: Bench) -> None:
    """Likewise whatever else hides the verdict from the next control plane."""
    row, _ = bench.membership.leases.register("p", address(1), Report(status="alive"))
    for _ in range(3):
        bench.membership.observations.probe_result(row, False, "connection refused")
    bench.membership.leases.heartbeat("p", address(1), Report(status="busy", for_s=10))
    assert row.state == "busy"
    after = adopted(bench)
    assert row.state == "busy"
    after.membership.leases.heartbeat("p", address(1), Report(status="alive"))
    assert row.state == "down"


def test_one_that_was_never_good_is_not_kept_because_it_was_drained_over_an_adoption(bench: Bench) -> None:
    never, good = bench.membership.add("p", address(1)), bench.proven(2)[0]
    bench.membership.drain(never)
    after = adopted(bench)
    after.membership.ready(never)
    all_bad(after, never, good)
    assert (never.state, good.state, good.kept) == ("down", "up", True)
