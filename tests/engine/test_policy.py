"""Policies against oracles written apart from them, on the real table through the real engine."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from filled_tables import fill
from filled_tables import table as table
from harness import Peer, balanced, dial, echo, named, read_exactly
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import choices, ewma, maglev
from oracle.schedule import webster
from oracle.siphash import siphash
from oracle.xorshift import Draws

from lbcore.table import Table

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 256), min_size=1, max_size=12))
def test_round_robin_follows_the_oracle(weights: list[int]) -> None:
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        rows = fill(table, "round_robin", weights)
        want = webster(weights)
        picker = table.picker("p")
        got = [rows.index(picker.pick()) for _ in range(len(want))]
        assert got == want
    finally:
        table.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 256), min_size=2, max_size=12))
def test_round_robin_is_smooth(weights: list[int]) -> None:
    """In every beginning of the cycle each backend has its share, give or take less than one turn and its rounding."""
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        rows = fill(table, "round_robin", weights)
        picker, total, seen = table.picker("p"), sum(weights), Counter[int]()
        for turn in range(1, min(total, 600) + 1):
            seen[rows.index(picker.pick())] += 1
            for at, weight in enumerate(weights):
                assert abs(seen[at] - turn * weight / total) < 1 + len(weights) / 2
    finally:
        table.close()


WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=8)
UNDER_WAY = st.lists(st.integers(0, 30), min_size=8, max_size=8)


@contextlib.contextmanager
def filled(policy: str, weights: list[int], under_way: Sequence[int] = ()) -> Iterator[tuple[Table, list[int]]]:
    """A table of one pool, and its backends' rows; so many sessions are under way on each."""
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        rows = fill(table, policy, weights)
        for row, count in zip(rows, under_way, strict=False):
            if count:
                assert table.picker("p").take(row, cost=count)
        yield table, rows
    finally:
        table.close()


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(1, 2**64 - 1))
def test_random_follows_the_oracle(weights: list[int], seed: int) -> None:
    with filled("random", weights) as (table, rows):
        picker, draws, turns = table.picker("p", seed=seed), Draws(seed), webster(weights)
        assert [rows.index(picker.pick()) for _ in range(50)] == [choices.random(turns, draws) for _ in range(50)]


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, UNDER_WAY, st.integers(1, 2**64 - 1))
def test_p2c_follows_the_oracle(weights: list[int], under_way: list[int], seed: int) -> None:
    with filled("p2c", weights, under_way) as (table, rows):
        picker, draws, turns = table.picker("p", seed=seed), Draws(seed), webster(weights)
        for _ in range(50):
            want = choices.better_of_two(turns, draws, lambda member: choices.busy(under_way[member], weights[member]))
            got = rows.index(picker.pick())
            even = choices.busy(under_way[got], weights[got]) == choices.busy(under_way[want], weights[want])
            assert got == want or even, "floats may tell equal fractions apart"


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, UNDER_WAY)
def test_least_conn_follows_the_oracle(weights: list[int], under_way: list[int]) -> None:
    with filled("least_conn", weights, under_way) as (table, rows):
        picker = table.picker("p")
        for _ in range(20):
            assert rows.index(picker.pick()) in choices.least_busy(under_way[: len(weights)], weights)


LATENCIES = st.lists(st.tuples(st.integers(1_000, 5_000_000), st.integers(1, 20_000)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(LATENCIES, min_size=2, max_size=6), UNDER_WAY, st.integers(0, 60_000), st.integers(1, 2**64 - 1))
def test_ewma_follows_the_oracle(seen: list[list[tuple[int, int]]], under_way: list[int], age_ms: int, seed: int) -> None:
    with filled("ewma", [1] * len(seen), under_way) as (table, rows):
        picker, draws, turns = table.picker("p", seed=seed), Draws(seed), webster([1] * len(seen))
        peaks, now_ms = [ewma.Peak() for _ in seen], 100_000 + age_ms
        for row, peak, latencies in zip(rows, peaks, seen, strict=True):
            at_ms = 1000
            for latency_us, later_ms in latencies:
                at_ms += later_ms
                picker.observe(row, latency_us, at_ms)
                peak.saw(latency_us, at_ms / 1000)

        def delay(member: int) -> float:
            return peaks[member].us * peaks[member].left(now_ms / 1000) * (under_way[member] + 1)

        for _ in range(30):
            want, got = choices.better_of_two(turns, draws, delay), rows.index(picker.pick(now_ms=now_ms))
            assert got == want or math.isclose(delay(got), delay(want), rel_tol=1e-3), "of floats of 32 bits"


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_maglev_follows_the_oracle(weights: list[int], chance: random.Random) -> None:
    keys = [chance.getrandbits(64) for _ in range(200)]
    with filled("maglev", weights) as (table, rows):
        names = [siphash(b"lbcore maglev 1\0", row.address.encode()) for row in table.rows("p")]
        slots, picker = maglev.table(names, weights), table.picker("p")
        assert [rows.index(picker.pick(key=key)) for key in keys] == [slots[key % maglev.SLOTS] for key in keys]


def test_the_oracles_hash_is_that_of_the_paper() -> None:
    """Appendix A of SipHash's."""
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.parametrize("policy", ["random", "p2c"])
def test_random_policies_follow_weights(table: Table, policy: str) -> None:
    weights = [1, 2, 3, 10]
    rows = fill(table, policy, weights)
    counts = table.picker("p", seed=42).picks(40_000)
    if policy == "random":
        chi = sum(
            (counts[row] - 40_000 * weight / 16) ** 2 / (40_000 * weight / 16)
            for row, weight in zip(rows, weights, strict=True)
        )
        assert chi < 16.3, "chi-square with 3 degrees of freedom, p = 0.001"
    else:
        assert counts[rows[3]] > counts[rows[2]] > counts[rows[1]] > counts[rows[0]] > 0


def test_least_conn_of_idle_backends_goes_round(table: Table) -> None:
    rows = fill(table, "least_conn", [1, 1, 1, 1])
    picker = table.picker("p")
    assert [picker.pick() for _ in range(8)] == rows * 2


@pytest.mark.parametrize("policy", ["round_robin", "least_conn", "p2c", "random"])
def test_the_tried_are_never_picked_and_the_rest_is_found(table: Table, policy: str) -> None:
    rows = fill(table, policy, [200, 1, 1])
    picker = table.picker("p")
    for _ in range(50):
        assert picker.pick(tried=rows[:1]) in rows[1:]
        assert picker.pick(tried=[rows[0], rows[2]]) == rows[1]
        assert picker.pick(tried=rows) is None


@pytest.mark.parametrize("policy", ["round_robin", "least_conn", "p2c", "random"])
def test_state_and_weight_are_seen_by_the_next_pick(table: Table, policy: str) -> None:
    fill(table, policy, [1] * 50)
    picker = table.picker("p")
    one, *others = table.rows("p")
    with table.batch():  # the schedule is stale until the batch ends: the state alone must do
        for row in others:
            table.set_state(row, "down", "test")
        assert {picker.pick() for _ in range(20)} == {one.index}
    assert {picker.pick() for _ in range(20)} == {one.index}
    table.set_weight(one, 0)
    assert picker.pick() is None
    table.set_state(others[7], "up", "test")
    assert picker.pick() == others[7].index


def test_load_shifts_p2c_and_least_conn() -> None:
    """Sessions that stay: a backend that reports that it is full gets half of what the idle one gets."""
    for policy in ("p2c", "least_conn"):
        with Peer(echo) as one, Peer(echo) as two, balanced(backends=[one.address, two.address], policy=policy) as lb:
            membership = lb._running().membership
            table = lb._running().table
            table.set_load(membership.find("default", two.address), 1.0)
            clients = [dial(lb.address) for _ in range(60)]
            for client in clients:
                client.sendall(b"x")
                read_exactly(client, 1)
            assert one.connections > 1.4 * two.connections, policy
            for client in clients:
                client.close()


def test_ten_thousand_backends(table: Table) -> None:
    rows = fill(table, "round_robin", [1 + at % 3 for at in range(10_000)])
    counts = table.picker("p").picks(sum(1 + at % 3 for at in range(10_000)))
    assert len(counts) == len(rows)
    assert Counter(counts.values()) == Counter(1 + at % 3 for at in range(10_000))


def test_more_weight_than_the_schedule_has_room_still_gives_everybody_a_turn(table: Table) -> None:
    weights = [256, 1] * 2000
    rows = fill(table, "round_robin", weights)
    counts = table.picker("p").picks(65_536 * 2)
    assert set(counts) == set(rows)
    heavy = [counts[row] for row, weight in zip(rows, weights, strict=True) if weight == 256]
    assert max(heavy) - min(heavy) <= 3


def test_weights_shape_real_traffic() -> None:
    with Peer(named(b"a")) as one, Peer(named(b"b")) as two:
        with balanced(backends=[f"{one.address},weight=3", two.address], policy="round_robin") as lb:
            for _ in range(80):
                with dial(lb.address) as client:
                    read_exactly(client, 1)
        assert (one.connections, two.connections) == (60, 20)


def test_least_conn_balances_sessions_that_stay() -> None:
    peers = [Peer(echo) for _ in range(4)]
    with balanced(backends=[peer.address for peer in peers], policy="least_conn") as lb:
        clients = [dial(lb.address) for _ in range(40)]
        for client in clients:
            client.sendall(b"x")
            read_exactly(client, 1)
        assert [peer.connections for peer in peers] == [10] * 4
        for client in clients:
            client.close()
    for peer in peers:
        peer.close()


def test_p2c_is_better_than_random() -> None:
    """Balls into bins (Azar et al., 1994): with two choices the fullest of n bins holds about ln ln n more than the mean."""
    peers = [Peer(echo) for _ in range(10)]
    with balanced(backends=[peer.address for peer in peers], policy="p2c") as lb:
        clients = [dial(lb.address) for _ in range(200)]
        for client in clients:
            client.sendall(b"x")
            read_exactly(client, 1)
        assert max(peer.connections for peer in peers) <= 20 + math.ceil(math.log(math.log(10)) / math.log(2)) + 4
        for client in clients:
            client.close()
    for peer in peers:
        peer.close()


def test_a_large_pools_view_follows_a_storm_of_changes(table: Table) -> None:
    """Its views are put off by a moment under a storm; states count at once, and the last view is made."""
    fill(table, "round_robin", [1] * 2000)
    wanted: list[float] = []
    table.views.on_put_off.subscribe(wanted.append)
    rows = table.rows("p")
    for row in rows[:1000]:
        table.set_state(row, "down", "storm")
    dead = {row.index for row in rows[:1000]}
    assert not dead & set(table.picker("p").picks(2000))
    assert wanted
    table.sweep(wanted[-1] + 1)
    assert set(table.picker("p").picks(1000)) == {row.index for row in rows[1000:]}
