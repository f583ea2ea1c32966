"""A control plane with no descriptor or no disk left goes on, says so in a line, and makes up for it when there is some."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from typing import TYPE_CHECKING

from harness import Command, Peer, command, dial, named, read_exactly, stays, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def no_descriptor(pid: int, left: int = 0) -> Iterator[None]:
    """A process that may open so many more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + left, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def serving(running: Command) -> list[int]:
    return [worker["pid"] for worker in running.status()["workers"] if worker["state"] == "serving"]


def has_replaced(running: Command, old: int) -> bool:
    now = serving(running)
    return len(now) == 2 and old not in now


def flags(peer: Peer) -> list[str]:
    return ["--name", "shop", "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--workers", "2"]


def test_a_worker_dies_while_no_descriptor_is_left(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer, command(tmp_path, *flags(peer)) as running:
        victim = serving(running)[0]
        with no_descriptor(running.pid):
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: "worker 0 cannot be started: Too many open files: again in" in running.stderr.read_text(), "said")
            clients = [dial(running.address) for _ in range(8)]  # some with the other worker, some in the queue of the dead one
        wait_for(lambda: has_replaced(running, victim), "it is started when there is one")
        for client in clients:
            with client:
                assert read_exactly(client, 2) == b"hi"
        assert "Traceback" not in running.stderr.read_text()


def test_a_worker_is_to_be_replaced_while_no_descriptor_is_left(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer, command(tmp_path, *flags(peer)) as running:
        old = serving(running)
        with no_descriptor(running.pid, left=2):
            code, answer = running.call("/upgrade", step="worker", worker=0)
        assert (code, answer["error"]) == (409, "worker 0 cannot be started: Too many open files")
        assert serving(running) == old
        assert running.call("/upgrade", step="worker", worker=0)[0] == 200
        wait_for(lambda: has_replaced(running, old[0]), "the old one drains")


def test_word_of_a_new_worker_cannot_be_left(tmp_path: Path) -> None:
    """The runtime directory is full, for example: the worker serves, and the next one is told of again."""
    with Peer(named(b"hi")) as peer, command(tmp_path, *flags(peer)) as running:
        for number in range(2):
            victim = serving(running)[0]
            if not number:
                (tmp_path / "shop.json.new").mkdir()
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: has_replaced(running, victim), "another worker serves")  # type: ignore[misc]
            if not number:
                wait_for(lambda: "cannot be left for commands" in running.stderr.read_text(), "it is said")
                (tmp_path / "shop.json.new").rmdir()
        assert "Traceback" not in running.stderr.read_text()


def test_the_admin_server_has_no_descriptor_left(tmp_path: Path) -> None:
    """A connection that cannot be accepted is a line, not a traceback a hundred times a second; later it is served."""
    with Peer(named(b"hi")) as peer, command(tmp_path, *flags(peer)) as running:
        with no_descriptor(running.pid):
            with contextlib.suppress(OSError):
                running.control.call("GET", "/healthz")
            wait_for(lambda: "Too many open files" in running.stderr.read_text(), "it is said")
            # it is tried again each second
            stays(lambda: len(running.stderr.read_text().splitlines()) < 10, "it is said seldom", 1.5)
        assert "Traceback" not in running.stderr.read_text()
        wait_for(lambda: running.control.call("GET", "/healthz")[0] == 200, "it answers again")
