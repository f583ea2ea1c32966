"""The rules of a cluster over a virtual store and a virtual clock: after the last change and a quiet time all nodes agree."""

from __future__ import annotations

from itertools import pairwise

from cluster_worlds import BEAT_S, KEEP_S, LEASE_S, STORE_LEASE_S, World, backend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from lbcore.cluster.entry import Told

QUIET_S = 2 * (KEEP_S + LEASE_S + STORE_LEASE_S) + 60
BACKENDS = 4


class Cluster(RuleBasedStateMachine):
    """Anything may happen to nodes, the store and backends; then nothing does for a while."""

    @initialize(skews=st.lists(st.integers(-60_000, 60_000), min_size=3, max_size=3))
    def begin(self, skews: list[int]) -> None:
        self.world = World(3, skews)

    @rule(number=st.integers(0, BACKENDS - 1), at=st.integers(0, 2), status=st.sampled_from(["ready", "busy", "starting"]))
    def a_backend_speaks(self, number: int, at: int, status: str) -> None:
        self.world.beating[backend(number)] = Told(status)
        self.world.beat(backend(number), at)

    @rule(number=st.integers(0, BACKENDS - 1))
    def a_backend_dies(self, number: int) -> None:
        self.world.beating.pop(backend(number), None)

    @rule(number=st.integers(0, BACKENDS - 1), at=st.integers(0, 2))
    def a_backend_says_goodbye(self, number: int, at: int) -> None:
        self.world.beating.pop(backend(number), None)
        if self.world.up:
            self.world.up[at % len(self.world.up)].bye(backend(number))

    @rule(at=st.integers(0, 2))
    def a_node_is_killed(self, at: int) -> None:
        self.world.nodes[at].alive = False
        self.world.nodes[at].disconnect()

    @rule(at=st.integers(0, 2))
    def a_node_starts(self, at: int) -> None:
        if not self.world.nodes[at].alive:
            self.world.nodes[at].start()

    @rule(at=st.integers(0, 2))
    def a_node_loses_the_store(self, at: int) -> None:
        self.world.nodes[at].disconnect()

    @rule(at=st.integers(0, 2))
    def a_node_finds_the_store(self, at: int) -> None:
        if self.world.nodes[at].alive:
            self.world.nodes[at].connect()

    @rule(which=st.integers(0, 100))
    def the_store_is_restored_or_wiped(self, which: int) -> None:
        self.world.restore(self.world.store.snapshots[which % len(self.world.store.snapshots)])

    @rule(at=st.integers(0, 2), count=st.integers(1, 3))
    def a_watch_lags(self, at: int, count: int) -> None:
        if self.world.nodes[at].alive:
            self.world.nodes[at].deliver(count)

    @rule(seconds=st.integers(1, 40), spread=st.booleans(), deliver=st.booleans())
    def time_passes(self, seconds: int, spread: bool, deliver: bool) -> None:
        self.world.later(seconds, spread=spread, deliver=deliver)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.heal()
        world.later(QUIET_S)
        beating = set(world.beating)
        for node in world.nodes:
            assert node.rows == beating, (node.name, node.rows, beating)
            told = {key: node.rules.seen[key].entry.told for key in beating}
            assert told == world.beating, node.name
        assert set(world.store.entries) == beating
        world.later(2 * LEASE_S, spread=False)
        before = world.store.writes
        world.later(2 * LEASE_S, spread=False)
        assert world.store.writes == before, "a quiet cluster writes"


def test_after_a_quiet_time_all_nodes_agree() -> None:
    run_state_machine_as_test(
        Cluster,
        settings=settings(
            max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
        ),
    )


@given(count=st.integers(1, 30), spread=st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_node_dies_and_nobody_is_dropped(count: int, spread: bool) -> None:
    world = World()
    for number in range(count):
        world.beating[backend(number)] = Told()
        world.beat(backend(number), number)
    world.later(20, spread=spread)
    world.nodes[1].alive = False
    world.nodes[1].disconnect()
    world.later(4 * STORE_LEASE_S, spread=spread)
    assert world.dropped == []
    assert all(entry.owner.node != "n1" for entry in world.store.entries.values())


def test_a_wiped_store_is_written_again_and_nobody_is_dropped() -> None:
    world = World()
    for number in range(30):
        world.beating[backend(number)] = Told()
        world.beat(backend(number), number)
    world.later(10)
    world.restore({})
    world.later(2)
    assert set(world.store.entries) == set(world.beating)
    world.later(2 * KEEP_S)
    assert world.dropped == []


def test_what_nobody_writes_again_is_dropped_one_by_one() -> None:
    """Nodes that were started from their state files, in front of a store that is empty, and backends that are all gone."""
    world = World()
    for number in range(10):
        world.beating[backend(number)] = Told()
        world.beat(backend(number), 0)
    world.later(3)
    world.beating.clear()
    world.store.replace({})
    for node in world.nodes:
        node.start()
        node.connect()
    world.later(KEEP_S - 1)
    assert len(world.nodes[1].rows) == 10
    counts = []
    while world.nodes[1].rows:
        world.later(1)
        counts.append(len(world.nodes[1].rows))
    assert all(before - after <= 1 for before, after in pairwise(counts)), counts


def test_heartbeats_write_nothing() -> None:
    world = World()
    for number in range(50):
        world.beating[backend(number)] = Told()
        world.beat(backend(number), number)
    world.later(2 * LEASE_S, spread=False)
    before = world.store.writes
    world.later(60, spread=False)
    assert world.store.writes == before


def test_heartbeats_that_go_to_every_node_in_turn_are_told_in_summaries() -> None:
    """Each node hears a backend less than once in the length of its lease, and nobody is dropped or handed over."""
    world = World(7)
    for number in range(50):
        world.beating[backend(number)] = Told()
        world.beat(backend(number), number)
    world.later(3 * LEASE_S)
    before = world.store.writes
    world.later(120)
    assert world.store.writes == before
    assert world.dropped == []
    assert 0 < world.summaries < 7 * (120 + 3 * LEASE_S)
    gone = backend(7)
    del world.beating[gone]
    world.later(2 * LEASE_S + 12 + BEAT_S)
    assert all(gone not in node.rows for node in world.nodes)


def test_a_later_word_is_forgotten_by_its_author() -> None:
    """The store was wiped before the goodbye was written, and then restored to what it had long before."""
    world = World()
    world.beating[backend(0)] = Told()
    world.beat(backend(0), 1)
    world.later(15, spread=False)
    world.restore({})
    del world.beating[backend(0)]
    world.up[0].bye(backend(0))
    world.restore({})
    world.restore(world.store.snapshots[1])
    world.later(QUIET_S)
    assert not any(node.rows for node in world.nodes)
    assert not world.store.entries


def test_an_older_word_overwrites_a_later_one_whose_node_dies() -> None:
    """Two nodes write at once, the later word first, and its author dies before it can write again."""
    world = World(3, [0, 11_000, 0])
    for number in range(2):
        world.beating[backend(number)] = Told("ready")
        world.beat(backend(number), 0)
    world.later(15, spread=False, deliver=False)
    del world.beating[backend(1)]
    world.nodes[1].alive = False
    world.nodes[1].disconnect()
    world.heal()
    world.later(QUIET_S)
    assert all(node.rows == {backend(0)} for node in world.nodes)
    assert set(world.store.entries) == {backend(0)}
