"""Three nodes and three etcd members, under load: no request fails, whatever dies, and nobody is dropped who beats."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from cluster_processes import PREFIX, Beating, asking, node
from etcd_members import end_lease, etcd, needs_etcd
from harness import Command, stays, wait_for
from http_peers import Backend
from slow_paths import slow_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def ports(running: Command) -> set[int]:
    """Of the backends that it has and that do not leave."""
    found = (entry for pool in running.status()["pools"] for entry in pool["backends"])
    return {int(entry["address"].rpartition(":")[2]) for entry in found if entry["leaves_in_s"] is None}


@contextlib.contextmanager
def three(tmp_path: Path, urls: list[str]) -> Iterator[tuple[list[Command], Beating]]:
    """Nodes, and backends that all of them have."""
    made = [node(tmp_path, f"n{number}", urls) for number in range(3)]
    beating = Beating(made, 3)
    try:
        wait_for(lambda: all(len(ports(running)) == 3 for running in made), "all nodes have all backends")
        yield made, beating
    finally:
        beating.close()
        for running in made:
            kill(running)


def kill(running: Command) -> None:
    """The whole node: its workers would go on."""
    if running.process.poll() is None:
        workers = [worker["pid"] for worker in running.status()["workers"]]
        running.stop(signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@needs_etcd
def test_etcd_is_killed_member_by_member_and_whole(tmp_path: Path) -> None:
    with etcd(tmp_path, members=3) as servers, three(tmp_path, servers.urls) as (made, beating), asking(*made):
        leader = servers.leader()
        leader.kill()
        beating.backends.append(Backend())
        wait_for(lambda: all(len(ports(running)) == 4 for running in made), "a registration with two members left")
        servers.stop()
        wait_for(lambda: not any(running.status()["cluster"]["connected"] for running in made), "all have seen it")
        stays(lambda: all(len(ports(running)) == 4 for running in made), "nobody is dropped", 4)  # longer than a lease
        servers.start()
        beating.backends.append(Backend())
        wait_for(lambda: all(len(ports(running)) == 5 for running in made), "a registration after that", 20)


@needs_etcd
def test_a_node_is_killed(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers, three(tmp_path, servers.urls) as (made, _), asking(*made[:2]):
        kill(made[2])
        end_lease(servers.urls[0], f"{PREFIX}nodes/n2")  # as etcd does after 15 s
        wait_for(lambda: len(made[0].status()["cluster"]["nodes"]) == 2, "its lease is over")
        stays(lambda: all(len(ports(running)) == 3 for running in made[:2]), "nobody is dropped", 1)
        assert not any(" leaves: " in running.stderr.read_text() for running in made)


@needs_etcd
def test_an_upgrade_while_the_store_says_nothing(tmp_path: Path) -> None:
    """The control plane that takes over knows what the one before knew, and waits for nobody."""
    with etcd(tmp_path) as servers, slow_path(servers.members[0].client) as path:
        running = node(tmp_path, "n0", [path.url])
        beating = Beating([running], 2)
        try:
            wait_for(lambda: len(ports(running)) == 2, "it has the backends")
            with asking(running):
                path.stalled.set()
                done = running.cli("upgrade")
                assert done.returncode == 0, done.stderr
                assert len(ports(running)) == 2
                path.stalled.clear()
                wait_for(lambda: running.status()["cluster"]["connected"], "it is connected", 20)
                assert len(ports(running)) == 2
            assert " leaves: " not in running.stderr.read_text()
        finally:
            beating.close()
            kill(running)
