"""Every node that knows the same backends sends the same keys to the same backends, however it came to know them."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import NodeOf, all_have, nodes
from etcd_members import etcd, needs_etcd
from harness import PATIENCE_S, wait_for
from http_peers import Backend
from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore.config.settings import LeaseSettings, PoolSettings
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEYS = range(0, 65_521, 37)
NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True)


def choices(policy: str, arrivals: Sequence[int], gone: Sequence[int], weights: dict[int, int]) -> list[str | None]:
    """What a node picks for each key, that has seen these come, and those of them go."""
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy=policy))
        rows = {}
        for number in [*gone, *arrivals]:
            rows[number] = table.add("p", f"10.0.0.{number}:80", weight=weights[number], source="lease")
            table.set_state(rows[number], "up", "")
        for number in gone:
            table.remove(rows[number], 0)
        table.sweep(1e12)
        table.sweep(2e12)
        names = {row.index: row.address for row in table.rows("p") if not row.leaving}
        picker = table.picker("p")
        return [names.get(picked) if picked is not None else None for picked in (picker.pick(key=key) for key in KEYS)]
    finally:
        table.close()


@given(numbers=NUMBERS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_maglev_is_the_same_in_any_order_of_arrival(numbers: list[int], data: st.DataObject) -> None:
    other = data.draw(st.permutations(numbers))
    gone = data.draw(st.lists(st.integers(41, 60), max_size=4, unique=True))
    weights = {number: data.draw(st.integers(1, 5)) for number in numbers} | dict.fromkeys(gone, 3)
    first = choices("maglev", numbers, [], weights)
    assert first == choices("maglev", other, gone, weights)
    assert None not in first


def answerer(node: NodeOf, path: str, **fields: str) -> bytes:
    """Which backend a request reaches."""
    connection = http.client.HTTPConnection(*node.lb.address, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=fields)
        return connection.getresponse().read()


@needs_etcd
@pytest.mark.parametrize("key", ["path", "header:X-Tenant", "cookie:user"])
def test_requests_reach_the_same_backends_by_every_node(tmp_path: Path, key: str) -> None:
    """Registered at different nodes, in different orders, with goodbyes and returns between, and at a node that came later."""
    pool = {"policy": "maglev", "hash": key}
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"%d" % at)) for at in range(5)]
        ports = {backend.port for backend in backends}
        servers = stack.enter_context(etcd(tmp_path))
        made = stack.enter_context(nodes(servers.urls, 2, pool=pool))
        for at, backend in enumerate(backends[:3]):
            made[at % 2].tell("register", backend.port, weight=1 + at)
        all_have(made, {backend.port for backend in backends[:3]})
        made[1].tell("deregister", backends[0].port)
        all_have(made, {backend.port for backend in backends[1:3]})
        for at, backend in enumerate(reversed(backends)):
            made[at % 2].tell("register", backend.port, weight=1 + backends.index(backend) % 3)
        all_have(made, ports)
        made += stack.enter_context(nodes(servers.urls, 1, pool=pool, node="late"))
        all_have(made, ports)
        reached = [choices_of(node) for node in made]
        assert reached[0] == reached[1] == reached[2]
        assert len(set(reached[0])) == len(backends)
        before = reached[0]
        made[2].order("drain", backends[4].port)
        wait_for(lambda: all(node.backends[backends[4].port]["state"] == "draining" for node in made), "it is drained")
        reached = [choices_of(node) for node in made]
        assert reached[0] == reached[1] == reached[2]
        stayed = [(old, new) for old, new in zip(before, reached[0], strict=True) if old != b"4"]
        assert sum(old != new for old, new in stayed) <= 2, "others keep theirs"


def choices_of(node: NodeOf) -> list[bytes]:
    """One request after the other, so that nobody is too full."""
    return [
        answerer(node, f"/{number}", **{"X-Tenant": f"t{number}", "Cookie": f"a=b; user=u{number}"}) for number in range(48)
    ]


@needs_etcd
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_picks_are_the_same_at_every_node_in_any_order_of_arrival(two: list[NodeOf], data: st.DataObject) -> None:
    """Two nodes and a store that go on: what came before has left its mark in the order of their tables."""
    present = set(two[0].backends)
    wanted = data.draw(st.permutations(data.draw(st.lists(st.integers(4000, 4030), min_size=1, max_size=10, unique=True))))
    for port in present - set(wanted):
        two[data.draw(st.integers(0, 1))].tell("deregister", port)
    for port in wanted:
        two[data.draw(st.integers(0, 1))].tell("register", port, weight=data.draw(st.integers(1, 5)))
    all_have(two, set(wanted))
    wait_for(lambda: len({shares(node) for node in two}) == 1, "weights are the same")
    first, second = (picked(node) for node in two)
    assert first == second


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NodeOf]]:
    lasting = {"policy": "maglev", "lease": LeaseSettings(heartbeat="1m", missed=3)}
    with etcd(tmp_path_factory.mktemp("etcd")) as servers, nodes(servers.urls, 2, pool=lasting, keep="1h") as made:
        yield made


def shares(node: NodeOf) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((port, entry["weight"]) for port, entry in node.backends.items()))


def picked(node: NodeOf) -> list[str]:
    """By the picks of applications."""
    pool = node.lb.pool("p")
    found = []
    for number in range(200):
        with pool.pick(f"key {number}") as pick:
            found.append(pick.address)
    return found
