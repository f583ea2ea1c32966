"""A real etcd is restored from a snapshot, wiped, compacted, full, slow or silent: nodes serve on, and agree afterwards."""

from __future__ import annotations

import http.client
import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import PREFIX, NodeOf, all_have, hurry, nodes
from etcd_keys import etcd_keys
from etcd_members import Etcd, Member, ask, each_version, end_lease, etcd, etcdctl, needs_etcd, put
from harness import PATIENCE_S, SLOWER, stays, wait_for
from http_peers import Backend
from slow_paths import slow_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def restore(member: Member, snapshot: Path, cluster: str) -> None:
    """As `etcdctl snapshot restore` does: another data directory, with the keys, leases and revision of then."""
    shutil.rmtree(member.folder / "data")
    etcdctl(
        "snapshot", "restore", str(snapshot), "--data-dir", str(member.folder / "data"), "--name", member.name,
        "--initial-cluster", cluster, "--initial-advertise-peer-urls", member.peer_url,
    )  # fmt: skip


def save(member: Member, to: Path) -> None:
    etcdctl("--endpoints", member.url, "snapshot", "save", str(to))


def lost(made: list[NodeOf]) -> None:
    wait_for(lambda: not any(node.cluster["connected"] for node in made), "all have seen it")


def back(made: list[NodeOf]) -> None:
    wait_for(lambda: all(node.cluster["connected"] for node in made), "all are back", 30)


def serves(node: NodeOf) -> bool:
    """Does a client get a response?"""
    connection = http.client.HTTPConnection(*node.lb.address, timeout=PATIENCE_S)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status == 200


def written(made: list[NodeOf]) -> None:
    wait_for(lambda: not any(node.cluster["unwritten"] for node in made), "all is written")


@each_version
@pytest.mark.parametrize("members", [1, 3])
def test_an_older_snapshot_is_restored(tmp_path: Path, version: str, members: int) -> None:
    """The revision goes back. What came since is written again, what left since does not come back, and orders stand."""
    with etcd(tmp_path, version, members) as servers, nodes(servers.urls, keep="15s") as made:
        made[0].tell("register", 4001)
        made[1].tell("register", 4002)
        made[2].order("add", 4003, weight=3)
        all_have(made, {4001, 4002, 4003})
        written(made)
        save(servers.members[0], tmp_path / "snapshot")
        made[0].tell("register", 4004, weight=7)
        made[1].tell("deregister", 4002)
        made[1].order("drain", 4003)
        all_have(made, {4001, 4003, 4004})
        wait_for(lambda: all(node.backends[4003]["state"] == "draining" for node in made), "the order is obeyed")
        written(made)
        for number in range(20):  # so that the revision clearly goes back
            put(servers.urls[0], "/other", str(number))
        made[0].tell("heartbeat", 4001, weight=2)
        wait_for(lambda: all(node.backends[4001]["weight"] == 2 for node in made), "the last word")
        before = max(node.cluster["revision"] for node in made)
        servers.stop()
        lost(made)
        assert made[2].tell("register", 4005)[0] == 201
        for member in servers.members:
            restore(member, tmp_path / "snapshot", servers.cluster)
        servers.start()
        back(made)
        all_have(made, {4001, 4003, 4004, 4005})
        written(made)
        assert all(node.cluster["revision"] < before for node in made)
        assert all(node.backends[4003]["state"] == "draining" for node in made)
        assert all((node.backends[4001]["weight"], node.backends[4004]["weight"]) == (2, 7) for node in made)
        with nodes(servers.urls, 1, node="late") as late:
            assert set(late[0].backends) == {4001, 4003, 4004, 4005}
            assert late[0].backends[4001]["weight"] == 2
            assert late[0].backends[4003]["state"] == "draining"
        made[1].tell("register", 4006)  # watches stand
        all_have(made, {4001, 4003, 4004, 4005, 4006})


@each_version
def test_a_store_is_wiped(tmp_path: Path, version: str) -> None:
    """While it is away, and under the nodes' eyes."""
    with etcd(tmp_path, version) as servers, nodes(servers.urls) as made:
        made[0].tell("register", 4001)
        made[1].tell("register", 4002)
        made[2].order("add", 4003)
        all_have(made, {4001, 4002, 4003})
        written(made)
        servers.stop()
        servers.members[0].wipe()
        servers.start()
        back(made)
        assert all(set(node.backends) == {4001, 4002, 4003} for node in made)
        with nodes(servers.urls, 1, node="late") as late:
            all_have(late, {4001, 4002, 4003})
        etcdctl("--endpoints", servers.urls[0], "del", "--prefix", PREFIX)
        wait_for(lambda: len(etcd_keys(servers.urls[0], f"{PREFIX}leases/")) == 2, "registrations are written again")
        wait_for(lambda: len(etcd_keys(servers.urls[0], f"{PREFIX}orders/")) == 1, "and orders")
        wait_for(lambda: len(etcd_keys(servers.urls[0], f"{PREFIX}nodes/")) == 3, "and nodes")
        wait_for(lambda: f"{PREFIX}format" in etcd_keys(servers.urls[0], PREFIX), "and what the prefix is for")
        assert all(set(node.backends) == {4001, 4002, 4003} for node in made)


@needs_etcd
def test_the_lease_of_a_node_is_ended(tmp_path: Path) -> None:
    """By an operator, or because its host slept. It takes another one, and nobody is told of a fault."""
    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        for _ in range(2):
            end_lease(servers.urls[0], f"{PREFIX}nodes/n0")
            wait_for(lambda: f"{PREFIX}nodes/n0" in etcd_keys(servers.urls[0], f"{PREFIX}nodes/"), "it is there again")
            wait_for(lambda: len(etcd_keys(servers.urls[0], f"{PREFIX}leases/")) == 1, "and what it heard")
        assert not [line for node in made for line in node.log if "store" in line or "leaves" in line]


@needs_etcd
def test_the_prefix_becomes_somebody_elses(tmp_path: Path) -> None:
    """A version of lbcore that writes otherwise, for one: nothing is written there from then on."""
    with etcd(tmp_path) as servers, nodes(servers.urls, 1) as made:
        put(servers.urls[0], f"{PREFIX}format", "lbcore 9")
        lost(made)
        made[0].tell("register", 4001)
        stays(lambda: not etcd_keys(servers.urls[0], f"{PREFIX}leases/"), "nothing is written", 0.5)
        assert "is written as 'lbcore 9', which this version cannot read" in made[0].cluster["error"]
        put(servers.urls[0], f"{PREFIX}format", "lbcore 1")
        back(made)
        wait_for(lambda: etcd_keys(servers.urls[0], f"{PREFIX}leases/"), "it is written")


@each_version
def test_the_history_is_compacted(tmp_path: Path, version: str) -> None:
    """While nodes watch, and while one does not."""
    with etcd(tmp_path, version) as servers, slow_path(servers.members[0].client) as path, nodes(servers.urls, 2) as made:
        with nodes([path.url], 1, node="far") as far:
            made[0].tell("register", 4001)
            all_have([*made, *far], {4001})
            compact(servers)
            made[0].tell("register", 4002)
            all_have([*made, *far], {4001, 4002})
            path.stalled.set()
            far[0].tell("register", 4003)  # it waits for an answer
            lost(far)
            path.cut()
            made[0].tell("deregister", 4001)
            made[1].tell("register", 4004)
            all_have(made, {4002, 4004})
            compact(servers)
            path.stalled.clear()
            back(far)
            all_have([*made, *far], {4002, 4003, 4004})


def compact(servers: Etcd) -> None:
    """All but the newest."""
    url = servers.urls[0]
    revision = ask(url, "/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    ask(url, "/v3/kv/compaction", {"revision": revision, "physical": True})


@each_version
def test_the_store_is_slow(tmp_path: Path, version: str) -> None:
    """A fifth of a second each way; then longer than a call may take."""
    with etcd(tmp_path, version) as servers, slow_path(servers.members[0].client) as path, Backend() as backend:
        with nodes([path.url], 2) as made, nodes(servers.urls, 1, node="near") as near:
            path.delay_s = 0.2
            made[0].tell("register", backend.port)
            assert serves(made[0])
            all_have([*made, *near], {backend.port}, limit_s=20)
            near[0].tell("register", 4002)
            all_have([*made, *near], {backend.port, 4002}, limit_s=20)
            assert all(node.cluster["connected"] for node in made)
            path.delay_s = 1.2 * SLOWER
            assert made[1].tell("register", 4003)[0] == 201
            lost(made)
            assert serves(made[0])
            path.delay_s = 0.0
            back(made)
            all_have([*made, *near], {backend.port, 4002, 4003})


@each_version
def test_the_store_takes_calls_and_says_nothing(tmp_path: Path, version: str) -> None:
    """Nothing is refused, nothing is answered; afterwards late answers and late writes arrive."""
    with etcd(tmp_path, version) as servers, slow_path(servers.members[0].client) as path, Backend() as backend:
        with nodes([path.url], 2) as made:
            made[0].tell("register", backend.port)
            all_have(made, {backend.port})
            path.stalled.set()
            assert made[0].tell("register", 4002)[0] == 201
            made[1].order("add", 4003)
            lost(made)
            assert "no answer within" in made[0].cluster["error"]
            assert all(serves(node) for node in made)
            assert backend.port in made[1].backends
            made[0].tell("deregister", 4002)
            path.stalled.clear()
            back(made)
            all_have(made, {backend.port, 4003})
            written(made)


def fill(url: str) -> None:
    for number in range(1000):
        put(url, f"/other/{number}", "x" * 5000)


@needs_etcd
def test_the_store_is_full(tmp_path: Path) -> None:
    """It answers, and refuses to write: nodes say so once, serve on, and write when there is room."""
    with etcd(tmp_path, options=["--quota-backend-bytes", "200000"]) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        with pytest.raises(OSError, match="HTTP Error"):
            fill(servers.urls[0])
        assert made[0].tell("register", 4002)[0] == 201
        wait_for(lambda: "database space exceeded" in made[0].cluster["error"], f"it says so: {made[0].cluster}")
        wait_for(lambda: made[0].cluster["unwritten"] == 1, "the registration waits")
        assert set(made[1].backends) == {4001}
        etcdctl("--endpoints", servers.urls[0], "del", "--prefix", "/other/")
        compact(servers)
        etcdctl("--endpoints", servers.urls[0], "defrag")
        etcdctl("--endpoints", servers.urls[0], "alarm", "disarm")
        all_have(made, {4001, 4002}, limit_s=20)
        assert len([line for line in made[0].log if "database space exceeded" in line]) == 1


def test_a_port_that_nobody_answers_at(tmp_path: Path) -> None:
    """The node begins all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with nodes([url], 1) as made:
            assert made[0].tell("register", 4001)[0] == 201
            assert "no answer within" in made[0].cluster["error"]
