"""Balancers that share their registrations through a real etcd."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cluster_nodes import PREFIX, TOKEN, all_have, hurry, nodes
from etcd_members import each_version, etcd, needs_etcd
from harness import stays, wait_for

from lbcore.admin.feed import digest
from lbcore.config.settings import LeaseSettings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@each_version
def test_a_registration_at_one_node_is_used_by_all(tmp_path: Path, version: str) -> None:
    with etcd(tmp_path, version) as servers, nodes(servers.urls) as made:
        assert all(node.cluster["connected"] for node in made)
        began = time.monotonic()
        assert made[0].tell("register", 4001, weight=7)[0] == 201
        all_have(made, {4001})
        assert time.monotonic() - began < 1 * 3
        assert made[2].backends[4001]["weight"] == 7
        assert made[2].backends[4001]["source"] == "lease"
        assert made[1].tell("heartbeat", 4001, weight=7)[0] == 200
        assert made[1].tell("heartbeat", 4001, status="busy", for_s=30)[0] == 200
        wait_for(lambda: all(node.backends[4001]["state"] == "busy" for node in made), "all know that it is busy")
        assert made[2].tell("deregister", 4001)[0] == 200
        all_have(made, set())


@needs_etcd
def test_orders_are_obeyed_at_every_node(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls) as made:
        made[0].order("add", 4001, weight=3)
        all_have(made, {4001})
        made[1].order("drain", 4001)
        wait_for(lambda: all(node.backends[4001]["state"] == "draining" for node in made), "drained everywhere")
        made[2].order("ready", 4001)
        made[2].order("weight", 4001, weight=9)
        wait_for(lambda: all(node.backends[4001]["state"] == "up" for node in made), "ready everywhere")
        wait_for(lambda: all(node.backends[4001]["weight"] == 9 for node in made), "of another weight everywhere")
        made[0].order("remove", 4001)
        all_have(made, set())


@needs_etcd
def test_a_node_that_starts_knows_what_the_others_know(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        made[0].order("add", 4002, weight=3)
        all_have(made, {4001, 4002})
        made[1].order("drain", 4002)
        all_have(made, {4001, 4002})
        with nodes(servers.urls, 1, node="late") as late:
            assert set(late[0].backends) == {4001, 4002}
            assert late[0].backends[4002]["state"] == "draining"
            assert late[0].backends[4002]["weight"] == 3
            wait_for(lambda: len(made[0].cluster["nodes"]) == 3, "it is seen")
        wait_for(lambda: len(made[0].cluster["nodes"]) == 2, "it has gone")


@needs_etcd
def test_silence_at_all_nodes_ends_a_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    quick = {"lease": LeaseSettings(heartbeat="400ms", missed=3)}
    with etcd(tmp_path) as servers, nodes(servers.urls, pool=quick) as made:
        made[0].tell("register", 4001)
        made[0].tell("register", 4002)
        all_have(made, {4001, 4002})
        until = time.monotonic() + 3
        while time.monotonic() < until:  # heartbeats of one, each to another node than it registered at
            made[1].tell("heartbeat", 4001)
            time.sleep(0.2)  # as a backend would
        all_have(made, {4001})
        assert any("leaves: no balancer has heard it" in line for line in made[0].log)


@needs_etcd
def test_a_node_dies_and_nobody_is_dropped(tmp_path: Path) -> None:
    """Its lease is ended as etcd would end it."""
    with etcd(tmp_path) as servers, nodes(servers.urls, pool={}, keep="15s") as made:
        made[0].tell("register", 4001)
        made[1].tell("register", 4002)
        all_have(made, {4001, 4002})
        made[1].lb.stop()
        wait_for(lambda: len(made[0].cluster["nodes"]) == 2, "its keys are gone")
        left = [made[0], made[2]]
        assert all(set(node.backends) == {4001, 4002} for node in left)
        assert made[2].tell("heartbeat", 4002)[0] == 200
        wait_for(lambda: made[2].cluster["heard"] == 1 and not made[2].cluster["unwritten"], "another node has it")
        for node in made:
            assert not [line for line in node.log if "leaves" in line]


@needs_etcd
def test_the_store_is_away_and_comes_back(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        servers.stop()
        wait_for(lambda: not any(node.cluster["connected"] for node in made), "all have seen it")
        made[0].tell("heartbeat", 4001)
        assert made[1].tell("register", 4002)[0] == 201
        assert set(made[2].backends) == {4001}
        servers.start()
        all_have(made, {4001, 4002})
        made[0].tell("heartbeat", 4001)
        assert any("the store cannot be reached" in line for line in made[0].log)


@needs_etcd
def test_a_node_starts_while_the_store_is_away(tmp_path: Path) -> None:
    state = {"state_file": str(tmp_path / "state")}
    with etcd(tmp_path) as servers:
        with nodes(servers.urls, 1, top=state) as made:
            made[0].tell("register", 4001)
        servers.stop()
        with nodes(servers.urls, 1, top=state) as made:
            assert set(made[0].backends) == {4001}
            assert made[0].tell("register", 4002)[0] == 201
            servers.start()
            wait_for(lambda: made[0].cluster["connected"], "it is connected")
            with nodes(servers.urls, 1, node="late") as late:
                wait_for(lambda: 4002 in late[0].backends, "what it heard meanwhile is known")


@needs_etcd
def test_keys_that_are_none_of_ours(tmp_path: Path) -> None:
    from etcd_members import put

    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        for key, value in (
            (f"{PREFIX}other", "x"),
            (f"{PREFIX}leases/p/127.0.0.1:4002", '{"weight": 3}'),
            (f"{PREFIX}leases/p/127.0.0.1:99999", "{}"),
            (f"{PREFIX}orders/p/127.0.0.1:4003", "[]"),
            (f"{PREFIX}leases/p/127.0.0.1:4001", "damaged"),
        ):
            put(servers.urls[0], key, value)
        wait_for(lambda: made[1].cluster["ignored"] == 4, f"counted: {made[1].cluster}")
        all_have(made, {4001})
        assert len([line for line in made[1].log if "none of lbcore's" in line]) == 1


@needs_etcd
def test_a_prefix_of_something_else(tmp_path: Path) -> None:
    from etcd_members import put

    with etcd(tmp_path) as servers:
        put(servers.urls[0], f"{PREFIX}registry/pods", "x")
        with nodes(servers.urls, 1) as made:
            assert made[0].tell("register", 4001)[0] == 201
            assert not made[0].cluster["connected"]
            assert [line for line in made[0].log if f"prefix: '{PREFIX}' is used by something else" in line]


@needs_etcd
def test_a_node_is_drained(tmp_path: Path) -> None:
    from admin_calls import client

    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        assert client(made[1].lb, TOKEN).call("POST", "/cluster/drain-node", {"node": "n0"})[0] == 200
        wait_for(lambda: client(made[0].lb, TOKEN).call("GET", "/readyz")[0] == 503, "it is not ready")
        assert client(made[1].lb, TOKEN).call("GET", "/readyz")[0] == 200
        assert client(made[1].lb, TOKEN).call("POST", "/cluster/drain-node", {"node": "nobody"})[0] == 404
        made[1].tell("heartbeat", 4001)
        wait_for(lambda: made[1].cluster["heard"] == 1 and not made[1].cluster["unwritten"], "the other has it")
        assert client(made[1].lb, TOKEN).call("POST", "/cluster/drain-node", {"node": "n0", "undo": True})[0] == 200
        wait_for(lambda: client(made[0].lb, TOKEN).call("GET", "/readyz")[0] == 200, "it is ready again")


@needs_etcd
def test_the_dashboard_is_told_of_the_cluster(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        wait_for(lambda: len(made[0].cluster["nodes"]) == 2, "both are seen")
        told = digest(made[0].lb.status())["head"]["cluster"]
        assert told == {"node": "n0", "connected": True, "drained": False, "nodes": 2}


@needs_etcd
def test_the_last_word_of_a_backend_counts_wherever_it_was_said(tmp_path: Path) -> None:
    """Also when it says again at one node what that node heard before another one heard something else."""
    with etcd(tmp_path) as servers, nodes(servers.urls, 2) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        made[1].tell("heartbeat", 4001, status="draining")
        wait_for(lambda: made[0].backends[4001]["state"] == "draining", "it drains")
        made[0].tell("heartbeat", 4001)
        wait_for(lambda: all(node.backends[4001]["state"] == "up" for node in made), "it does not any more")


@needs_etcd
def test_heartbeats_at_every_node_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node hears the backend less than once in the length of its lease."""
    hurry(monkeypatch)
    quick = {"lease": LeaseSettings(heartbeat="300ms", missed=2)}
    with etcd(tmp_path) as servers, nodes(servers.urls, pool=quick) as made:
        made[0].tell("register", 4001)
        all_have(made, {4001})
        for turn in range(10):
            assert made[turn % 3].tell("heartbeat", 4001)[0] == 200
            time.sleep(0.3)  # as a backend would
        assert not [line for node in made for line in node.log if "leaves" in line]


@needs_etcd
def test_a_node_that_starts_writes_its_key_once(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, nodes(servers.urls, 1) as made:
        stays(lambda: made[0].cluster["revision"] <= 3, "what the prefix is for, and its own key", 0.5)
        assert made[0].cluster["revision"] == 3


@needs_etcd
def test_contact_is_not_lost_when_everything_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbcore.cluster.session.READ_AGAIN_S", 0.05)
    with etcd(tmp_path) as servers, nodes(servers.urls, 1) as made:
        stays(lambda: made[0].cluster["connected"], "it has contact", 0.7)
        made[0].tell("register", 4001)
        wait_for(lambda: not made[0].cluster["unwritten"], "it is written")
