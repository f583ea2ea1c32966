"""An operator's drain holds until `ready` or `remove`: while a backend is away, through a restart, when its name moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from file_sources import of_file, settings, write
from harness import balanced, command, wait_for
from memberships import Bench, address

from lbcore.config.settings import BalancerSettings
from lbcore.discovery import drains
from lbcore.discovery.drains import Drains
from lbcore.discovery.evidence import DRAINED
from lbcore.discovery.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.table.close()


def restarted(bench: Bench) -> Bench:
    """A balancer that begins with the other's state file, as JSON keeps it."""
    fresh = Bench()
    fresh.membership.restart.restore(json.loads(json.dumps(bench.membership.restart.snapshot())))
    return fresh


def test_a_source_that_flaps_forgets_no_drain(bench: Bench) -> None:
    follow = bench.membership.claims.follow_source
    follow("p", "file:x", [(address(1), 1), (address(2), 1)])
    row = bench.membership.find("p", address(1))
    assert row is not None
    bench.membership.drain(row)
    follow("p", "file:x", [(address(2), 1)])
    assert bench.membership.find("p", address(1)) is None
    follow("p", "file:x", [(address(1), 1), (address(2), 1)])
    back = bench.membership.find("p", address(1))
    assert back is not None
    assert back.id != row.id
    assert (back.state, back.reason) == ("draining", DRAINED)
    assert bench.picks() == {bench.membership.find("p", address(2)).index}  # type: ignore[union-attr]
    bench.membership.ready(back)
    follow("p", "file:x", [(address(2), 1)])
    follow("p", "file:x", [(address(1), 1), (address(2), 1)])
    assert bench.membership.find("p", address(1)).state == "up"  # type: ignore[union-attr]


def test_a_backend_that_registers_again_is_drained_still(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.membership.drain(row)
    bench.membership.leases.deregister("p", address(1))
    row, new = bench.membership.leases.register("p", address(1), Report("ready"))
    bench.membership.observations.probe_result(row, True)
    assert (new, row.state) == (True, "draining")


def test_a_backend_that_an_operator_removes_begins_anew(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    bench.membership.drain(row)
    bench.membership.remove(row)
    assert bench.membership.add("p", address(1)).state == "up"


@pytest.mark.parametrize("source", ["api", "file"])
def test_a_drain_survives_a_restart(bench: Bench, source: str) -> None:
    def enter(bench: Bench) -> None:
        if source == "file":
            bench.membership.claims.follow_source("p", "file:x", [(address(1), 1)])
        elif bench.membership.find("p", address(1)) is None:
            bench.membership.add("p", address(1))

    enter(bench)
    row = bench.membership.find("p", address(1))
    assert row is not None
    bench.membership.drain(row)
    fresh = restarted(bench)
    try:
        enter(fresh)
        again = fresh.membership.find("p", address(1))
        assert again is not None
        assert again.state == "draining"
        fresh.membership.ready(again)
        assert [entry for entry in fresh.membership.restart.snapshot() if entry["drained"]] == []
    finally:
        fresh.table.close()


def test_who_is_here_is_believed_before_the_state_file(bench: Bench) -> None:
    """A control plane that adopts workers: the file may be a second old."""
    entries = [{**entry, "address": where} for entry in [_drain_entry()] for where in (address(1), address(2))]
    bench.membership.add("p", address(1))
    bench.membership.restart.restore_drains([*entries, {"nonsense": True}])
    assert bench.membership.find("p", address(1)).state == "up"  # type: ignore[union-attr]
    assert bench.membership.add("p", address(2)).state == "draining"


def _drain_entry() -> dict[str, object]:
    from lbcore.discovery.saved import drain_of

    return drain_of("p", address(9))


def test_drains_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "MOST", 3)
    marks = Drains()
    for number in (1, 2, 3, 1, 4):
        marks.add("p", address(number))
    assert list(marks) == [("p", address(3)), ("p", address(1)), ("p", address(4))]


def test_a_configured_backend_stays_drained_over_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    config.write_text(
        'state_file = "state"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n'
        '[[pool]]\nname = "default"\n[pool.probe]\nkind = "off"\n'
        '[[pool.backend]]\naddress = "127.0.0.1:8"\n[[pool.backend]]\naddress = "127.0.0.1:9"\n'
    )

    def state(lb: object, where: str) -> str:
        backends = lb.status()["pools"][0]["backends"]  # type: ignore[attr-defined]
        return next(str(one["state"]) for one in backends if one["address"] == where)

    with command(tmp_path, "-c", str(config)) as lb:
        assert lb.call("/backends/drain", address="127.0.0.1:9")[0] == 200
    with command(tmp_path, "-c", str(config)) as lb:
        assert (state(lb, "127.0.0.1:8"), state(lb, "127.0.0.1:9")) == ("up", "draining")
        assert lb.call("/backends/ready", address="127.0.0.1:9")[0] == 200
        assert state(lb, "127.0.0.1:9") == "up"
    assert [entry for entry in json.loads((tmp_path / "state").read_text())["backends"] if entry["drained"]] == []


def test_a_file_that_loses_a_drained_backend_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    write(path, "127.0.0.1:8\n127.0.0.1:9\n")
    rules: BalancerSettings = settings(of_file(path))
    with balanced(settings=rules) as lb:
        wait_for(lambda: len(lb.pool().backends()) == 2, "both come")
        lb.pool().get("127.0.0.1:9").drain()
        write(path, "127.0.0.1:8\n")
        wait_for(lambda: lb.pool().get("127.0.0.1:9") is None, "it is gone")
        write(path, "127.0.0.1:8\n127.0.0.1:9\n")
        wait_for(lambda: lb.pool().get("127.0.0.1:9"), "it is back")
        assert lb.pool().get("127.0.0.1:9").state == "draining"
