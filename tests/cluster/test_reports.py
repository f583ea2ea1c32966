"""`trust = "reports"`: loads that backends report to one node count at every node that asks for them."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import PREFIX, all_have, nodes
from etcd_keys import etcd_keys
from etcd_members import each_version, etcd, needs_etcd, put
from harness import stays, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from memberships import Bench, Clock, address

from lbcore.cluster import loads
from lbcore.cluster.entry import Node as NodeEntry
from lbcore.cluster.entry import Owner
from lbcore.cluster.following import Following
from lbcore.cluster.keys import Backend
from lbcore.cluster.loads import LOAD_CHANGE, MOST_RECORDS, NOTHING, Load, Loads
from lbcore.cluster.marks import mark_of
from lbcore.cluster.view import View
from lbcore.cluster.words import NotOurs
from lbcore.discovery.leases import RELAYED_S
from lbcore.discovery.reports import Report
from lbcore.store.interface import Change

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEAT_S, LEASE_S = 5, 15
LOADS = st.builds(Load, st.none() | st.floats(0, 1), st.none() | st.integers(0, 70_000))


# --- what is written -------------------------------------------------------------------------------------------------


@given(found=st.lists(st.tuples(st.integers(0, (1 << 64) - 1), LOADS, st.floats(0, 25)), max_size=30))
def test_what_is_written_is_read(found: list[tuple[int, Load, float]]) -> None:
    told = [one for value in loads.written(found) for one in loads.read(value)]
    assert [one.mark for one in told] == [mark for mark, _, _ in found]
    for one, (_, load, age_s) in zip(told, found, strict=True):
        assert abs(one.age_s - age_s) <= 0.051
        assert (one.load.load is None) == (load.load is None)
        assert abs((one.load.load or 0) - (load.load or 0)) <= 1 / 400 + 1e-9
        assert one.load.in_flight == (None if load.in_flight is None else min(load.in_flight, 65_534))


@given(value=st.binary(max_size=64) | st.binary(max_size=48).map(base64.b64encode))
def test_damaged_values_are_refused_whole(value: bytes) -> None:
    try:
        told = loads.read(value)
    except NotOurs:
        return
    assert all(one.load.load is None or 0 <= one.load.load <= 1 for one in told)


def test_a_value_that_is_too_long_is_refused() -> None:
    with pytest.raises(NotOurs):
        loads.read(base64.b64encode(bytes(12 * (MOST_RECORDS + 1))))


# --- how much is written ---------------------------------------------------------------------------------------------


def beaten(count: int, seconds: int, load_of: list[Load], nodes: int = 3) -> tuple[int, int, int]:
    """Backends that report one of these each time, in turn: transactions, keys and bytes of a node that heard them all."""
    clock = Clock()
    one = Loads(clock)
    one.wanted = True
    transactions = keys = size = 0
    for step in range(seconds * 4):
        clock.now += 0.25
        for at in range(step % (BEAT_S * 4), count, BEAT_S * 4):
            load = load_of[(step // (BEAT_S * 4)) % len(load_of)]
            one.hear("p", address(at), *load)
        if values := one.take(clock.now, nodes):
            transactions, keys, size = transactions + 1, keys + len(values), size + sum(map(len, values))
    return transactions, keys, size


def test_writes_are_bounded_however_loads_change() -> None:
    transactions, keys, _ = beaten(10_000, 30, [Load(0.2, 3), Load(0.9, 70)])
    assert transactions <= 31
    assert keys <= transactions * loads.MOST_KEYS
    assert beaten(1000, 30, [Load(0.2, 3), Load(0.9, 70)], nodes=100)[0] <= 30 / 4 + 1


def test_small_changes_and_unchanged_loads_are_told_now_and_then() -> None:
    *_, jumping = beaten(1000, 60, [Load(0.2, 3), Load(0.9, 70)])
    *_, still = beaten(1000, 60, [Load(0.5, 8), Load(0.52, 9)])
    assert still < 0.6 * jumping
    assert beaten(1000, 60, [NOTHING]) == (0, 0, 0)


def test_nobody_asks_and_nothing_is_kept() -> None:
    clock = Clock()
    one = Loads(clock)
    one.hear("p", address(1), 0.5, 3)
    assert one.take(clock.now, 3) == []


def test_a_report_that_waited_for_too_long_is_not_told() -> None:
    clock = Clock()
    one = Loads(clock)
    one.wanted = True
    one.hear("p", address(1), 0.5, 3)
    clock.now += loads.OLD_S + 1
    one.hear("p", address(2), 0.5, 3)
    told = [record for value in one.take(clock.now, 3) for record in loads.read(value)]
    assert [record.mark for record in told] == [mark_of(Backend("p", address(2)))]


# --- what a node makes of it -----------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.table.close()


def test_the_fresher_report_counts(bench: Bench) -> None:
    leases = bench.membership.leases
    row, _ = leases.register("p", address(1), Report(load=0.2, in_flight=4))
    member = bench.membership.by_id[row.id]
    assert not leases.heed(member, 0.9, 20, bench.clock.now - 1)
    assert not leases.heed(member, 0.9, 20, bench.clock.now + 0.5)
    assert (row.load, row.elsewhere) == (0.2, 4.0)
    bench.later(3)
    assert leases.heed(member, 0.9, 20, bench.clock.now)
    assert (row.load, row.elsewhere) == (0.9, 20.0)
    leases.heartbeat("p", address(1), Report(load=0.3))
    assert (row.load, row.elsewhere) == (0.3, 0.0)


def test_a_relayed_report_gets_old(bench: Bench) -> None:
    row = bench.membership.add("p", address(1))
    member = bench.membership.by_id[row.id]
    assert bench.membership.leases.heed(member, 0.8, 10, bench.clock.now)
    bench.later(RELAYED_S - 1)
    assert (row.load, row.elsewhere) == (0.8, 10.0)
    bench.later(2)
    assert (row.load, row.elsewhere) == (0.4, 5.0)
    bench.later(RELAYED_S)
    assert (row.load, row.elsewhere) == (None, 0.0)


class LoadNode:
    """A membership, its rules and the loads that it tells and is told."""

    def __init__(self, name: str, clock: Clock, *, asks: bool) -> None:
        self.bench = Bench()
        self.bench.clock = self.bench.membership.clock = clock  # type: ignore[assignment]
        self.lines: list[str] = []
        self.view = View(Owner(name, "1"), PREFIX, 60, self.lines.append, asks=asks)
        self.view.loads = Loads(clock)
        self.following = Following(self.bench.membership, self.lines.append)
        self.bench.membership.on_report.subscribe(self.view.loads.hear)
        self.cursor = 0

    def load(self, number: int) -> Load:
        row = self.bench.table.find("p", address(number))
        assert row is not None
        return Load(row.load, int(row.elsewhere))


class LoadWorld:
    """Nodes that all know the same backends, and the history of a store."""

    def __init__(self, asks: list[bool], backends: int) -> None:
        self.clock = Clock()
        self.history: list[Change] = []
        self.nodes = [LoadNode(f"n{at}", self.clock, asks=one) for at, one in enumerate(asks)]
        entries = {node.view.me.node: NodeEntry("1", "", "0", 0, False, node.view.asks) for node in self.nodes}
        for node in self.nodes:
            node.view.changed([Change(node.view.keys.node(name), told.write(), 1) for name, told in entries.items()], 0, 0)
            for number in range(backends):
                node.bench.membership.add("p", address(number))

    def step(self, *, deliver: bool = True) -> None:
        self.clock.now += 0.5
        for node in self.nodes:
            for pending in node.view.reported(self.clock.now):
                self.history.append(Change(pending.key, pending.value, len(self.history)))
        for node in self.nodes if deliver else []:
            node.view.changed(self.history[node.cursor :], self.clock.now, 0)
            node.cursor = len(self.history)
            node.following.heed(node.view.take_loads())
        for node in self.nodes:
            node.bench.membership.tick(self.clock.now)

    def close(self) -> None:
        for node in self.nodes:
            node.bench.table.close()


@given(
    beats=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 1), st.integers(0, 90), st.booleans()), max_size=40
    ),
    last=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1), st.integers(0, 90)), min_size=4, max_size=4),
)
@settings(max_examples=20, deadline=None)
def test_after_a_quiet_time_nodes_that_ask_know_the_last_reports(
    beats: list[tuple[int, int, float, int, bool]], last: list[tuple[int, float, int]]
) -> None:
    """Whichever nodes heard what before, and however watches lagged; the third node does not ask."""
    world = LoadWorld([True, True, False], 4)
    try:
        for number, at, load, in_flight, deliver in beats:
            world.nodes[at].bench.membership.leases.heartbeat("p", address(number), Report(load=load, in_flight=in_flight))
            for _ in range(4):
                world.step(deliver=deliver)
        for _ in range(3):
            for number, (at, load, in_flight) in enumerate(last):
                world.nodes[at].bench.membership.leases.heartbeat("p", address(number), Report(load=load, in_flight=in_flight))
            for _ in range(2 * BEAT_S):
                world.step()
        for number, (at, load, in_flight) in enumerate(last):
            for node in world.nodes[:2]:
                found = node.load(number)
                assert found.load is not None
                assert abs(found.load - load) <= LOAD_CHANGE + 0.005
                assert found.in_flight is not None
                assert abs(found.in_flight - in_flight) <= max(1, in_flight // 7)
            if at != 2:
                assert world.nodes[2].following.used == 0
    finally:
        world.close()


def test_a_read_of_everything_brings_no_loads() -> None:
    """Nobody knows how old they are."""
    from lbcore.store.interface import Item

    node = LoadNode("n0", Clock(), asks=True)
    value = loads.written([(mark_of(Backend("p", address(1))), Load(0.9, 3), 0.0)])[0]
    items = [Item(node.view.keys.loads("n1", 0), value, 1), Item(f"{PREFIX}loads/n1/1", b"damaged", 1)]
    node.view.reread([*items, Item(f"{PREFIX}format", b"lbcore 1", 1)], 0, 0)
    assert node.view.take_loads() == []
    assert node.view.ignored == {f"{PREFIX}loads/n1/1"}
    node.bench.table.close()


# --- with etcd -------------------------------------------------------------------------------------------------------


@each_version
def test_a_load_that_one_node_hears_counts_at_those_that_ask(tmp_path: Path, version: str) -> None:
    with (
        etcd(tmp_path, version) as servers,
        nodes(servers.urls, 2, trust="reports") as made,
        nodes(servers.urls, 1, node="own") as own,
    ):
        wait_for(lambda: all(len(node.cluster["nodes"]) == 3 for node in [*made, *own]), "all are seen")
        own[0].tell("register", 4001, load=0.8, in_flight=12)
        made[0].tell("register", 4002, load=0.6)
        all_have([*made, *own], {4001, 4002})

        def told() -> bool:
            own[0].tell("heartbeat", 4001, load=0.8, in_flight=12)
            made[0].tell("heartbeat", 4002, load=0.6)
            return all(node.backends[4001]["load"] == 0.8 for node in made) and made[1].backends[4002]["load"] == 0.6

        wait_for(told, "the loads are known where they are asked for")
        assert own[0].backends[4002]["load"] is None
        assert own[0].cluster["reports"]["used"] == 0
        assert own[0].cluster["reports"]["sent"] >= 1
        assert made[1].cluster["reports"]["used"] >= 2
        assert made[0].cluster["trust"] == "reports"
        made[0].tell("heartbeat", 4001, load=0.2)  # what is heard here is fresher
        assert made[0].backends[4001]["load"] == 0.2


@needs_etcd
def test_nobody_asks_and_no_load_is_written(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001, load=0.8)
        all_have(made, {4001})
        stays(lambda: not etcd_keys(servers.urls[0], f"{PREFIX}loads/"), "nothing is told", 1.5)
        assert made[1].backends[4001]["load"] is None


@needs_etcd
def test_damaged_loads_are_counted_and_named_once(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 2, trust="reports") as made:
        made[0].tell("register", 4001, load=0.8)
        all_have(made, {4001})
        record = base64.b64encode(mark_of(Backend("p", "127.0.0.1:4001")).to_bytes(8, "big") + bytes([201, 0, 0, 0])).decode()
        for turn in range(3):
            put(servers.urls[0], f"{PREFIX}loads/n0/7", record)
            put(servers.urls[0], f"{PREFIX}loads/odd/{turn}", "no base64!")
        wait_for(lambda: made[1].cluster["ignored"] == 4, f"counted: {made[1].cluster}")
        assert len([line for line in made[1].log if "none of lbcore's" in line]) == 1

        def told() -> bool:
            made[0].tell("heartbeat", 4001, load=0.8)
            return made[1].backends[4001]["load"] == 0.8

        wait_for(told, "others are used all the same")


@needs_etcd
def test_loads_are_told_again_when_the_store_is_back(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 2, trust="reports") as made:
        made[0].tell("register", 4001, load=0.8)
        all_have(made, {4001})
        servers.stop()
        wait_for(lambda: not any(node.cluster["connected"] for node in made), "all have seen it")
        servers.members[0].wipe()
        servers.start()
        began = time.monotonic()

        def told() -> bool:
            made[0].tell("heartbeat", 4001, load=0.3)
            return made[1].backends[4001]["load"] == 0.3

        wait_for(told, f"they are known again, after {time.monotonic() - began:.1f} s", 20)
