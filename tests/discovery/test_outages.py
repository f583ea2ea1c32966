"""Total outages: what counts as one, and who is told, with a clock of the test's own."""

from __future__ import annotations

import pytest
from memberships import Bench, address, all_bad

from lbcore.discovery.reports import Report
from lbcore.observe.metrics import render
from lbcore.observe.status import document


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
        bench.membership.observations.probe_result(rows[7], True)
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
    bench.membership.claims.follow_source("p", "file:x", [(address(3), 0)])
    bench.membership.set_weight(one, 0)
    assert outage_of(bench)
    bench.membership.claims.follow_source("p", "file:x", [(address(3), 5)])
    assert not outage_of(bench)


@pytest.mark.parametrize("way", ["drain", "busy", "remove"])
def test_whatever_takes_the_last_one_out_is_an_outage(bench: Bench, way: str) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.membership.observations.probe_result(row, True)
    assert not outage_of(bench)
    if way == "drain":
        bench.membership.drain(row)
    elif way == "busy":
        bench.membership.leases.heartbeat("p", address(1), Report("busy", for_s=5))
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
        strict.membership.observations.probe_result(row, True)
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
            bench.membership.observations.probe_result(row, True)
    text = render(document(bench.table.segment)).decode()
    assert 'lbcore_pool_outage{pool="p"} 0.0' in text
    assert 'lbcore_pool_backends{pool="p",state="up"} 2.0' in text
