"""Stores, hosts and neighbours that behave badly: a node goes on, says what is wrong once, and keeps within its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from cluster_nodes import PREFIX, all_have, hurry, nodes
from cluster_worlds import START_MS, World, backend
from etcd_members import etcd, needs_etcd, put
from harness import free_port, wait_for
from http_peers import Backend as Answering
from memberships import Bench, address

from lbcore.api.clustering import make_cluster
from lbcore.cluster.drained_nodes import DrainedNodes
from lbcore.cluster.entry import Owner, Told
from lbcore.cluster.following import Following
from lbcore.cluster.keys import Backend, Keys
from lbcore.cluster.moves import Obey, Show
from lbcore.cluster.orders import FORGET_MS
from lbcore.cluster.stamp import StampClock
from lbcore.cluster.view import View
from lbcore.config.settings import ClusterSettings, LeaseSettings
from lbcore.store.etcd import EtcdStore
from lbcore.store.interface import Item, StoreError
from lbcore.table import resolved

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


ILLEGIBLE = [
    {},
    {"header": {}},
    {"header": {"cluster_id": "1"}, "kvs": [{}]},
    {"header": {"cluster_id": "1"}, "kvs": [{"key": "*", "mod_revision": "1"}]},
    {"header": {"cluster_id": "1"}, "kvs": [{"key": "YQ==", "mod_revision": "many"}]},
    {"header": {"cluster_id": "1"}, "kvs": 7},
    {"header": []},
]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.table.close()


@contextlib.contextmanager
def answers_with(document: object, *, and_then: bytes = b"") -> Iterator[str]:
    """A server that says the same to every call: its URL."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    def script(connection: socket.socket, head: bytes, _: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return False

    with Answering(script) as server:
        yield f"http://{server.address}"


@pytest.mark.parametrize("document", ILLEGIBLE)
def test_an_answer_that_no_etcd_gives(document: dict[str, Any]) -> None:
    async def ask(url: str) -> None:
        store = EtcdStore([url])
        try:
            for call in (lambda: store.read("/a/"), lambda: store.grant(5), lambda: store.renew(7)):
                with pytest.raises(StoreError):
                    await call()
        finally:
            await store.close()

    with answers_with(document) as url:
        asyncio.run(ask(url))


@pytest.mark.parametrize(
    "line", [b"no json\n", b"[]\n", b'{"result": 7}\n', b'{"result": {"events": [{}]}}\n', b'{"error": 7}\n']
)
def test_a_line_of_a_watch_that_no_etcd_sends(line: bytes) -> None:
    async def watch(url: str) -> None:
        store = EtcdStore([url])
        try:
            with pytest.raises(StoreError):
                async for _ in store.watch("/a/", 1):
                    pass
        finally:
            await store.close()

    with answers_with(line) as url:
        asyncio.run(watch(url))


def test_a_node_goes_on_whatever_the_store_answers() -> None:
    """Its thread is there, and says what is wrong once."""
    with answers_with({"ID": "7", "result": {"TTL": "9"}, "header": {"cluster_id": "1"}, "kvs": [{}]}) as url:
        with nodes([url], 1) as made:
            assert made[0].tell("register", 4001)[0] == 201
            wait_for(lambda: "it is no etcd" in made[0].cluster["error"], f"it says so: {made[0].cluster}")
            wait_for(lambda: made[0].cluster["unwritten"] == 1, "the registration waits")
            assert len([line for line in made[0].log if "it is no etcd" in line]) == 1


def test_a_fault_of_our_own_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(store: EtcdStore, prefix: str, most: int | None = None) -> None:
        raise RuntimeError("broken")

    reads = EtcdStore.read
    monkeypatch.setattr(EtcdStore, "read", breaks)
    with answers_with({"ID": "7"}) as url, nodes([url], 1) as made:
        wait_for(lambda: "RuntimeError('broken')" in made[0].cluster["error"], "it is told")
        monkeypatch.setattr(EtcdStore, "read", reads)
        wait_for(lambda: "broken" not in made[0].cluster["error"], "and it goes on")


@needs_etcd
def test_a_member_hangs_and_its_watch_with_it(tmp_path: Path) -> None:
    """Calls go to the next member; the watch must, too, though its connection stands and its bytes are acknowledged."""
    with etcd(tmp_path, members=3) as servers:
        order, lasting = servers.urls, {"lease": LeaseSettings(heartbeat="10s", missed=3)}
        with nodes(order, 1, pool=lasting) as made, nodes(order[1:], 1, pool=lasting, node="other") as other:
            other[0].tell("register", 4001)
            all_have(made, {4001})
            servers.members[0].kill(signal.SIGSTOP)
            other_word(other[0], 4002)
            all_have(made, {4001, 4002}, limit_s=20)


def other_word(node: Any, port: int) -> None:
    """A registration, also when an election is due first."""
    assert node.tell("register", port)[0] == 201
    wait_for(lambda: not node.cluster["unwritten"], "it is written", 20)


def test_a_long_keep_ends_though_everything_is_read_again() -> None:
    """It is read every ten minutes; `keep` may be an hour."""
    world = World()
    world.beating[backend(1)] = Told()
    world.beat(backend(1), 0)
    world.later(2)
    rules = world.nodes[1].rules
    world.nodes[0].alive = False
    for _ in range(4):  # nobody hears it; each read finds nothing
        rules.connected = True
        rules.reread({}, world.now, START_MS)
        world.now += world.nodes[1].rules.keep_s / 3
        rules.tick(world.now, START_MS)
    world.nodes[1].follow()
    assert backend(1) not in world.nodes[1].rows


def test_time_without_the_store_does_not_count() -> None:
    world = World()
    world.beating[backend(1)] = Told()
    world.beat(backend(1), 0)
    world.later(2)
    rules = world.nodes[1].rules
    rules.reread({}, world.now, START_MS)
    rules.connected = False
    for _ in range(100):
        world.now += 1
        rules.tick(world.now, START_MS)
    rules.connected = True
    rules.reread({}, world.now, START_MS)
    rules.tick(world.now + 1, START_MS)
    world.nodes[1].follow()
    assert backend(1) in world.nodes[1].rows


def test_a_full_table_is_told_once_and_filled_when_there_is_room(bench: Bench) -> None:
    lines: list[str] = []
    following = Following(bench.membership, lines.append)
    following.follow([Show(Backend("p", address(number)), Told()) for number in range(20_050)])
    assert len(lines) == 1
    assert following.misses_some()
    assert not following.misses_some()


def test_a_name_is_not_asked_for_under_the_lock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats wait for that lock, and a name server may take seconds."""

    def asked(*_: object) -> None:
        raise AssertionError("a name was asked for")

    lines: list[str] = []
    monkeypatch.setattr(resolved, "resolve", asked)
    Following(bench.membership, lines.append).follow([Obey(Backend("p", "db.example:80"), "member", (3, 0))])
    row = bench.table.find("p", "db.example:80")
    assert row is not None
    assert (row.weight, row.state, row.reason) == (3, "down", "cannot be resolved: it is being looked up")


def test_a_node_that_takes_over_is_stopped_at_once() -> None:
    """Before its thread has begun."""
    settings = ClusterSettings(endpoints=[f"http://127.0.0.1:{free_port()}"])
    for _ in range(20):
        bench = Bench()
        cluster = make_cluster(settings, bench.membership, str, lambda: 3_600_000, bench.lines.append)
        assert cluster is not None
        cluster.start(takes_over=True)
        cluster.stop()
        bench.table.close()


@pytest.mark.parametrize("key", ["nodes/\x1b[2J", "nodes/a b", "drains/" + "x" * 64, "heard/\n/1", "heard/n/¹", "secrets/a/b"])
def test_names_in_keys_are_names(key: str) -> None:
    """Commands print them."""
    assert Keys(PREFIX).read(PREFIX + key) is None


def test_what_nodes_said_before_they_went_is_forgotten() -> None:
    view = View(Owner("n0", "1"), PREFIX, 60, lambda line: None)
    key = view.keys.heard("n1", 0)
    view.reread([Item(f"{PREFIX}format", b"lbcore 1", 1), Item(key, b"AAAAAAAAAAE=", 1)], 0, 0)
    assert view.registry._vouches
    view.reread([Item(f"{PREFIX}format", b"lbcore 1", 1)], 0, 0)
    assert not view.registry._vouches


def test_drains_that_drain_nothing_are_forgotten() -> None:
    drained = DrainedNodes("n0", StampClock("n0"))
    drained.ordered("pod-1", True, START_MS)
    drained.ordered("pod-2", True, START_MS)
    drained.ordered("pod-2", False, START_MS)
    drained.writes.clear()
    drained.forget(START_MS + FORGET_MS + 60_000)
    assert drained.writes == {"pod-2": None}
    drained.changed("pod-2", None, START_MS)
    assert drained.writes == {}
    assert "pod-1" in drained


@needs_etcd
def test_a_prefix_with_too_many_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody else's."""
    monkeypatch.setattr("lbcore.cluster.session.MOST_KEYS", 20)
    monkeypatch.setattr("lbcore.store.etcd.PAGE", 10)
    with etcd(tmp_path) as servers:
        for number in range(40):
            put(servers.urls[0], f"{PREFIX}x{number}", "")
        with nodes(servers.urls, 1) as made:
            wait_for(lambda: "more than 20 keys begin with" in made[0].cluster["error"], f"it says so: {made[0].cluster}")
