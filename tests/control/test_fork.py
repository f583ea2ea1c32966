"""A child that was forked from the process around a balancer: it owns nothing, and keeps nothing open."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from children import in_child
from harness import Peer, balanced, dial, echo, free_port, wait_for

from lbcore import Balancer, NotRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def idle_child() -> Iterator[int]:
    """A child that only lives."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(tell)


def serves(client: socket.socket) -> None:
    client.sendall(b"x")
    assert client.recv(1) == b"x"


LEAVING: dict[str, Callable[[Balancer], object]] = {
    "stop": lambda lb: lb.stop(),
    "stop now": lambda lb: lb.stop(0),
    "with": lambda lb: lb.__exit__(None, None, None),
    "hurry": lambda lb: lb.hurry(),
    "del": lambda lb: lb.__dict__.clear(),
}


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("isolation", ["threads", "processes"])
def test_a_child_that_leaves_does_nothing_to_its_parent(how: str, isolation: str) -> None:
    with Peer(echo) as peer, Balancer("tcp://127.0.0.1:0", [peer.address], health="off", workers=1, isolation=isolation) as lb:
        with dial(lb.address) as client:
            serves(client)
            assert in_child(lambda: LEAVING[how](lb)) == 0
            serves(client)
            with dial(lb.address) as other:
                serves(other)
            assert lb.status()["pools"][0]["backends"][0]["state"] == "up"


def test_a_child_can_change_nothing_and_says_so() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb:
        pool, backend = lb.pool(), lb.pool().backends()[0]

        def change() -> None:
            assert not lb.running
            for act in (lb.status, lb.reload, lb.pool, backend.drain, lambda: pool.add("127.0.0.1:1")):
                with pytest.raises(NotRunning):
                    act()

        assert in_child(change) == 0
        assert [(one["address"], one["state"]) for one in lb.status()["pools"][0]["backends"]] == [(peer.address, "up")]


def test_a_child_can_have_a_balancer_of_its_own() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb:

        def own() -> None:
            with Balancer("tcp://127.0.0.1:0", [peer.address], health="off", workers=1) as mine, dial(mine.address) as client:
                serves(client)
            with lb, dial(lb.address) as client:  # on another port: that of the parent is taken
                serves(client)

        assert in_child(own) == 0
        with dial(lb.address) as client:
            serves(client)


@pytest.mark.parametrize("isolation", ["threads", "processes"])
@pytest.mark.parametrize("mode", ["tcp", "http", "udp"])
def test_a_child_holds_no_port(isolation: str, mode: str) -> None:
    port, admin = free_port(), free_port()
    with Peer(echo) as peer:
        options: dict[str, Any] = {"health": "off", "workers": 2, "isolation": isolation, "admin": f"127.0.0.1:{admin}"}
        lb = Balancer(f"{mode}://127.0.0.1:{port}", [peer.address], **options).start()
        with idle_child():
            lb.stop(0)
            for kind, number in (
                (socket.SOCK_DGRAM if mode == "udp" else socket.SOCK_STREAM, port),
                (socket.SOCK_STREAM, admin),
            ):
                with socket.socket(socket.AF_INET, kind) as trial:
                    if kind == socket.SOCK_STREAM:
                        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind(("127.0.0.1", number))
            lb.start()
            lb.stop(0)


def test_a_child_holds_no_connection_open() -> None:
    """The end of a session arrives although a child was forked in the middle of it."""
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        serves(client)
        with idle_child():
            for connection in list(peer.open):
                connection.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
            client.shutdown(socket.SHUT_WR)
            wait_for(lambda: not peer.open, "the backend sees the end")


def test_a_stop_shuts_listeners_down_that_others_have_copies_of() -> None:
    """As those that a fork without Python's knowledge has."""
    with Peer(echo) as peer:
        lb = Balancer("tcp://127.0.0.1:0", [peer.address], health="off", workers=1).start()
        address, copies = lb.address, []
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(int(entry)).st_mode):
                    copies.append(socket.socket(fileno=os.dup(int(entry))))
        try:
            lb.stop(0)
            with socket.socket() as trial:
                assert trial.connect_ex(address) != 0
        finally:
            for copy in copies:
                copy.close()


def test_processes_of_multiprocessing_and_of_subprocess() -> None:
    port = free_port()
    with Peer(echo) as peer:
        with Balancer(f"tcp://127.0.0.1:{port}", [peer.address], health="off", workers=1) as lb:
            process = multiprocessing.get_context("fork").Process(target=lb.stop)
            process.start()
            process.join(20)
            assert process.exitcode == 0
            code = "import sys; sys.stdin.read()"
            with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, close_fds=False) as other:
                with dial(lb.address) as client:
                    serves(client)
                lb.stop(0)
                with socket.socket() as trial:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind(("127.0.0.1", port))
                other.communicate()
