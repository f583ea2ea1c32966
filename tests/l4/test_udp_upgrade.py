"""Listeners of mode udp while workers are replaced: the kernel keeps a client with one socket, which both workers hold."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, check_ledger, command, free_port, settled, totals, wait_for
from udp_peers import Server, ask, client, echo, named, settings

from lbcore import Balancer
from lbcore.table.sections import Sections

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 3 * SLOWER
IDLE_S = 25
"""Sessions that were idle for longer may be over: a busy machine takes its time for an upgrade."""


class NewClients:
    """Clients that ask once and are gone, all the time, some at once. asked, lost: how many."""

    def __init__(self, address: tuple[str, int], threads: int = 4, pause_s: float = 0.002) -> None:
        self._address, self._pause_s = address, pause_s
        self.asked = self.lost = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._over.wait(self._pause_s):
            lost = 0
            with client(self._address) as made:
                try:
                    ask(made, b"new")
                except (TimeoutError, ConnectionRefusedError):
                    lost = 1
            with self._lock:
                self.asked += 1
                self.lost += lost

    def flow(self, count: int = 20) -> None:
        """Until so many more have asked."""
        goal = self.asked + count
        wait_for(lambda: self.asked >= goal or self.lost, "clients ask")

    def __enter__(self) -> NewClients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def replaced(isolation: str = "processes", **options: Any) -> Iterator[Balancer]:
    listener = options.pop("listener", None)
    lb = Balancer(settings=settings(options.pop("backends"), listener, **options), isolation=isolation)
    lb.start()
    try:
        yield lb
        wait_for(lambda: is_drained(lb), "nothing changes any more")
        check_ledger(lb.status())
    finally:
        lb.stop(0)


def is_drained(lb: Balancer) -> bool:
    """Only the new ones are there."""
    states = [worker["state"] for worker in lb.status()["workers"]]
    return states.count("serving") == lb.settings.workers and "draining" not in states


def replace(lb: Balancer) -> None:
    lb._running().supervisor.replacement.replace_workers(lb.settings.drain_timeout_ms)
    wait_for(lambda: is_drained(lb), "the old ones have handed on what they had")


@pytest.mark.parametrize("isolation", ["processes", "threads"])
def test_no_new_client_is_lost_over_ten_upgrades(isolation: str) -> None:
    with Server(echo) as server, replaced(isolation, backends=[server.address], workers=2, drain_timeout="30s") as lb:
        with NewClients(lb.address) as clients, contextlib.ExitStack() as stack:
            held = [stack.enter_context(client(lb.address)) for _ in range(30)]
            for made in held:  # old workers have sessions that last
                ask(made)
            ports = {peer for _, peer in server.got if _ == b"?"}
            for _ in range(10):
                replace(lb)
                clients.flow()
                for made in held:
                    ask(made)
            assert {peer for data, peer in server.got if data == b"?"} == ports
        assert (clients.lost, totals(settled(lb))["datagrams_dropped"]) == (0, 0)
        assert clients.asked > 200
        assert totals(lb.status())["closed_moved"] >= 300


def test_a_worker_that_has_drained_is_settled_before_its_section_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane may learn late that it is gone: the figures of the one that has its section by then would be wiped."""
    settle, settled = Sections.bury, list[int]()

    def late(sections: Sections, section: int) -> None:
        time.sleep(0.3)  # in which its section may be given to another
        settle(sections, section)
        settled.append(section)

    monkeypatch.setattr(Sections, "bury", late)
    with Server(echo) as server, replaced(backends=[server.address], workers=1) as lb, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(lb.address)) for _ in range(5)]
        for _ in range(4):
            for made in clients:
                ask(made)
            replace(lb)
            wait_for(lambda: lb.status()["pools"][0]["backends"][0]["active"] == 5, "all have moved")
        wait_for(lambda: len(settled) == 4, "the last one is settled")
        assert lb.status()["pools"][0]["backends"][0]["active"] == 5


@pytest.mark.parametrize("isolation", ["processes", "threads"])
@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "[::1]"])
def test_a_session_keeps_its_backend_and_its_figures(isolation: str, bind: str) -> None:
    host = {"0.0.0.0": "127.0.0.1", "[::1]": "::1"}.get(bind, bind)
    with Server(named(b"a")) as one, Server(named(b"b")) as two:
        options: dict[str, Any] = {"backends": [one.address, two.address], "policy": "round_robin", "workers": 2}
        with replaced(isolation, listener={"bind": f"udp://{bind}:0"}, **options) as lb, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client((host, lb.address[1]))) for _ in range(10)]
            before = [ask(made) for made in clients]
            peers = [{peer for _, peer in server.got} for server in (one, two)]
            for _ in range(3):
                replace(lb)
                assert [ask(made) for made in clients] == before
                active = [backend["active"] for pool in lb.status()["pools"] for backend in pool["backends"]]
                assert sum(active) == 10
            assert [{peer for _, peer in server.got} for server in (one, two)] == peers
            figures = totals(settled(lb))
            assert (figures["active"], figures["closed_moved"], figures["closed"]) == (10, 30, 30)
            lb.pool().remove(one.address)
            lb.pool().remove(two.address)


def test_what_a_server_says_by_itself_arrives_after_an_upgrade() -> None:
    """And trains of it: the backend's socket is the same one."""
    with Server(lambda data: [b"%d" % number for number in range(50)] if data == b"go" else []) as server:
        with replaced(backends=[server.address]) as lb, client(lb.address) as made:
            made.send(b"go")
            assert [made.recv(100) for _ in range(50)] == [b"%d" % number for number in range(50)]
            for word in (b"one", b"two"):
                replace(lb)
                server.socket.sendto(word, server.got[0][1])
                assert made.recv(100) == word


def test_the_last_answer_still_frees_a_session_that_has_moved() -> None:
    with (
        Server(lambda data: []) as server,
        replaced(backends=[server.address], listener={"bind": "udp://127.0.0.1:0", "responses": 1}) as lb,
    ):
        with client(lb.address) as made:
            made.send(b"1")
            made.send(b"2")
            wait_for(lambda: len(server.got) == 2, "both are asked")
            replace(lb)
            server.socket.sendto(b"a", server.got[0][1])
            assert made.recv(10) == b"a"
            assert totals(settled(lb))["active"] == 1
            server.socket.sendto(b"b", server.got[1][1])
            assert made.recv(10) == b"b"
            wait_for(lambda: totals(lb.status())["active"] == 0, "it has all its answers")
            assert totals(lb.status())["closed_done"] == 1


def test_limits_of_a_client_hold_across_an_upgrade() -> None:
    with Server(echo) as server:
        listener = {"bind": "udp://127.0.0.1:0", "max_client_sessions": 3}
        with replaced(backends=[server.address], listener=listener) as lb, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client(lb.address)) for _ in range(4)]
            for made in clients[:3]:
                ask(made)
            replace(lb)
            assert totals(settled(lb))["clients_counted"] == 3
            clients[3].send(b"?")
            wait_for(lambda: totals(lb.status())["refused_client_sessions"] == 1, "the fourth is one too many")
            for made in clients[:3]:
                ask(made)


def test_an_idle_session_ends_in_time_although_it_moved() -> None:
    with Server(echo) as server:
        listener = {"bind": "udp://127.0.0.1:0", "idle_timeout": "500ms"}
        with replaced(backends=[server.address], listener=listener) as lb, client(lb.address) as made:
            ask(made)
            began = time.monotonic()
            replace(lb)
            wait_for(lambda: totals(lb.status())["closed_idle"] == 1, "it is idle")
            assert time.monotonic() - began < 3 * SLOWER
            assert totals(settled(lb))["active"] == 0


def test_no_time_to_drain_is_time_enough_to_move() -> None:
    with Server(echo) as server, replaced(backends=[server.address], drain_timeout="0s") as lb:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client(lb.address)) for _ in range(600)]
            for made in clients:
                ask(made)
            peers = {peer for _, peer in server.got}
            replace(lb)
            for made in clients:
                ask(made)
            assert {peer for _, peer in server.got} == peers


def test_a_worker_that_hangs_holds_its_successor_up_for_a_second() -> None:
    with Server(echo) as server, replaced(backends=[server.address], drain_timeout="1s") as lb:
        with client(lb.address) as made:
            ask(made)
            pid = lb.status()["workers"][0]["pid"]
            os.kill(pid, signal.SIGSTOP)
            try:
                lb._running().supervisor.replacement.replace_workers(lb.settings.drain_timeout_ms)
                with client(lb.address) as other:
                    assert ask(other) == b"?"
            finally:
                os.kill(pid, signal.SIGCONT)
            assert ask(made) == b"?"
        wait_for(lambda: is_drained(lb), "it wakes up, and ends")


def test_a_worker_that_dies_leaves_its_clients_to_the_next() -> None:
    with Server(echo) as server, replaced(backends=[server.address]) as lb, client(lb.address) as made:
        for _ in range(3):
            ask(made)
            found = [worker["pid"] for worker in lb.status()["workers"] if worker["state"] == "serving"]
            os.kill(found[0], signal.SIGKILL)
            assert ask(made) == b"?"  # it waits in the socket
            wait_for(lambda: is_drained(lb), "no one drains")
            lb._running().supervisor.replacement.replace_workers(lb.settings.drain_timeout_ms)


def test_a_listener_that_a_reload_removed_ends_with_its_sessions() -> None:
    """The new worker has no such listener: what is left there stays with the old one."""
    with Server(echo) as server:
        with replaced(backends=[server.address]) as lb, client(lb.address) as made:
            ask(made)
            lb.reload(settings([server.address], {"bind": f"udp://127.0.0.1:{free_port()}"}))
            assert ask(made) == b"?"
            lb._running().supervisor.replacement.replace_workers(lb.settings.drain_timeout_ms)
            with client(lb.address) as other:
                assert ask(other) == b"?"


@pytest.mark.skipif("LBCORE_SANITIZED" in os.environ, reason="two control planes that start slowly: the engine is the same")
def test_a_command_is_upgraded_under_new_clients(tmp_path: Path) -> None:
    """Also where a socket was passed, which is one for all workers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as passed, Server(named(b"a")) as one, Server(named(b"b")) as two:
        passed.bind(("127.0.0.1", 0))
        listens = ["--listen", f"udp://127.0.0.1:{free_port()}", "--listen", f"udp://127.0.0.1:{passed.getsockname()[1]}"]
        line = ["--name", "shop", "--workers", "2", *listens, "--backend", one.address, "--backend", two.address]
        with command(tmp_path, *line, "--policy", "round_robin", "--health", "off", sockets=[passed]) as running:
            with contextlib.ExitStack() as stack:
                loads = [stack.enter_context(NewClients(address, 1, 0.02)) for address in running.addresses]
                clients = [stack.enter_context(client(address)) for address in running.addresses * 3]
                names = [ask(made) for made in clients]
                began = time.monotonic()
                done = running.cli("upgrade", "--name", "shop")
                assert done.returncode == 0, done.stdout + done.stderr
                for load in loads:
                    load.flow()
                found = [ask(made) for made in clients]
                assert found == names or time.monotonic() - began > IDLE_S
            assert [load.lost for load in loads] == [0, 0], totals(running.status())
            os.kill(running.pid, signal.SIGTERM)
            wait_for(lambda: "draining" in running.stderr.read_text(), "it drains")
            os.kill(running.pid, signal.SIGTERM)
            assert running.process.wait(20) == 0
