"""Ejection of backends that are worse than others, with a clock of the test's own: how many at most, and when it is doubted."""

from __future__ import annotations

import pytest
from memberships import Bench, address

from lbcore.table import Row


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
            bench.membership.observations.probe_result(row, False, "timed out after 0.5s")
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
            bench.membership.observations.probe_result(row, False, "timed out after 0.5s")
        assert [row.state for row in rows] == (["up"] * 5 if second < 7 else ["down"] * 3 + ["up"] * 2)
        bench.later(1)
    assert len([line for line in bench.lines if "the fault may be ours" in line]) == 1


def test_refused_connections_leave_no_doubt(bench: Bench) -> None:
    rows = [bench.membership.add("p", address(number)) for number in range(3)]
    for row in rows[:2]:
        for _ in range(3):
            bench.membership.observations.probe_result(row, False, "connection refused")
    assert [row.state for row in rows] == ["down", "down", "up"]


def test_a_backend_that_flaps_is_held_down_and_says_so(bench: Bench) -> None:
    bench.membership.add("p", address(1))
    row = bench.membership.add("p", address(2))
    for flap in range(3):
        for _ in range(3):
            bench.membership.observations.probe_result(row, False, "connection refused")
        for _ in range(2):
            bench.membership.observations.probe_result(row, True)
        assert row.state == ("up" if flap == 0 else "down")
        if flap:
            assert "held down" in row.reason
            bench.later(8)
            assert row.state == "up"


@pytest.mark.parametrize("wrong", [{"capacity": "much"}, {"weight": None}, {"pool": "q"}, {"address": "nowhere"}])
def test_a_saved_backend_that_makes_no_sense_is_left_out_and_the_others_come(bench: Bench, wrong: dict[str, object]) -> None:
    good = {"pool": "p", "address": address(1), "source": "lease", "weight": 2, "capacity": 2.0, "drained": False, "up": True}
    assert bench.membership.restart.restore([good | {"address": address(2)} | wrong, good]) == 1
    assert [row.address for row in bench.table.rows()] == [address(1)]
    assert any("is ignored" in line for line in bench.lines)
