"""While no control plane judges, a worker passes over by itself whom it cannot reach, and tries such a backend again by single
sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import Command, Peer, command, dial, free_port, named, read_exactly, wait_for
from http_peers import Backend, Client
from pace import paced_for

from lbcore.control.runtime import segment_of
from lbcore.engine.segment import Segment
from lbcore.observe.status import document
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDS = 60


def flags(mode: str, addresses: list[str], policy: str, *more: str) -> list[str]:
    backends = [word for address in addresses for word in ("--backend", address)]
    return ["--name", "shop", "--listen", f"{mode}://127.0.0.1:0", *backends, "--policy", policy, "--health", "off", *more]


@contextlib.contextmanager
def without_control(running: Command, how: str) -> Iterator[None]:
    """The control plane is hung, or gone."""
    if how == "killed":
        running.process.kill()
        running.process.wait()
        yield
        return
    os.kill(running.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(running.pid, signal.SIGCONT)


def seen(running: Command) -> dict[str, Any]:
    """The status as the segment tells it: nobody else could."""
    with attached(running) as segment:
        return document(segment)


@contextlib.contextmanager
def attached(running: Command) -> Iterator[Segment]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LBCORE_RUNTIME_DIR", str(running.directory))
        path = segment_of("shop")
    with Segment.attach(path) as segment:
        yield segment


def figure(status: dict[str, Any], name: str) -> int:
    return sum(worker[name] for worker in status["workers"])


def end_workers(running: Command, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("policy", ["p2c", "maglev"])
def test_no_request_fails_with_two_of_four_backends_dead_and_no_control_plane(how: str, policy: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        alive = [stack.enter_context(Backend(name=b"%d" % at)) for at in range(2)]
        addresses = [backend.address for backend in alive] + [f"127.0.0.1:{free_port()}" for _ in range(2)]
        running = Command(tmp_path, *flags("http", addresses, policy), "--workers", "1", "--admin", "off")
        workers = [worker["pid"] for worker in running.status()["workers"]]
        try:
            with without_control(running, how):
                statuses = []
                for at in range(ROUNDS):
                    with Client(running.address) as client:
                        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % at)
                        statuses.append(client.answer().status)
                assert statuses == [200] * ROUNDS
        finally:
            if how == "stopped":
                running.stop()
            end_workers(running, workers)


@pytest.mark.parametrize("policy", ["p2c", "least_conn", "round_robin", "random", "maglev"])
def test_tcp_sessions_of_every_policy_pass_the_dead_over(policy: str, tmp_path: Path) -> None:
    with Peer(named(b"a")) as a, Peer(named(b"b")) as b:
        addresses = [a.address, f"127.0.0.1:{free_port()}", b.address, f"127.0.0.1:{free_port()}"]
        with command(tmp_path, *flags("tcp", addresses, policy)) as running, without_control(running, "stopped"):
            for _ in range(ROUNDS):
                with dial(running.address) as client:
                    assert read_exactly(client, 1) in (b"a", b"b")
            status = seen(running)
            assert figure(status, "refused") == figure(status, "retries_denied") == 0
            assert figure(status, "connect_failures") <= 2 * 3 + 8  # then single trials only
            if policy == "round_robin":
                assert [backend["avoided_by"] for backend in status["pools"][0]["backends"]] == [0, 1, 0, 1]


def test_a_backend_that_comes_back_is_served_by_itself(tmp_path: Path) -> None:
    with Peer(named(b"a")) as a:
        port = free_port()
        addresses = [a.address, f"127.0.0.1:{port}"]
        with command(tmp_path, *flags("tcp", addresses, "round_robin")) as running, without_control(running, "stopped"):
            for _ in range(12):
                with dial(running.address) as client:
                    assert read_exactly(client, 1) == b"a"
            assert seen(running)["pools"][0]["backends"][1]["avoided_by"] == 1
            with Peer(named(b"b"), port=port):

                def takes_part() -> bool:
                    with dial(running.address) as client:
                        return read_exactly(client, 1) == b"b"

                wait_for(takes_part, "a trial succeeds")
                names = set()
                for _ in range(4):
                    with dial(running.address) as client:
                        names.add(read_exactly(client, 1))
                assert names == {b"a", b"b"}
                status = seen(running)
                assert [backend["avoided_by"] for backend in status["pools"][0]["backends"]] == [0, 0]
                with attached(running) as segment:
                    assert "a trial after failures" in {decision["why"] for decision in decisions(segment)}


def test_when_all_are_passed_over_all_are_tried(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with command(tmp_path, *flags("tcp", addresses, "p2c")) as running, without_control(running, "stopped"):
        for _ in range(6):
            with contextlib.suppress(ConnectionResetError), dial(running.address) as client:
                assert client.recv(1) == b""
        assert [backend["avoided_by"] for backend in seen(running)["pools"][0]["backends"]] == [1, 1]
        with Peer(named(b"b"), port=ports[0]), dial(running.address) as client:
            assert read_exactly(client, 1) == b"b"  # at once: nobody is left to prefer


def test_full_backends_are_waited_for_and_not_replaced_by_dead_ones(tmp_path: Path) -> None:
    hold = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            hold.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    config = tmp_path / "lb.toml"
    with Backend(script) as alive:
        config.write_text(
            'name = "shop"\nworkers = 1\n[admin]\nlisten = "off"\n[[listener]]\nbind = "http://127.0.0.1:0"\npool = "p"\n'
            '[[pool]]\nname = "p"\npolicy = "round_robin"\nmax_active = 1\nqueue = 10\nprobe = { kind = "off" }\n'
            f'backend = [{{ address = "{alive.address}" }}, {{ address = "127.0.0.1:{free_port()}" }}]\n'
        )
        with command(tmp_path, "-c", str(config)) as running, without_control(running, "stopped"):
            for _ in range(8):
                with Client(running.address) as client:
                    assert client.get().status == 200
            with Client(running.address) as slow, Client(running.address) as next_one:
                slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: any(b"/slow" in head for head in alive.heads), "the only one is full")
                next_one.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: figure(seen(running), "queued") == 1, "it waits")
                hold.set()
                assert (slow.answer().status, next_one.answer().status) == (200, 200)


def test_udp_sessions_pass_the_dead_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, sender = server.recvfrom(100)
                    server.sendto(data, sender)

        threading.Thread(target=answer, daemon=True).start()
        addresses = [f"127.0.0.1:{server.getsockname()[1]}", f"127.0.0.1:{free_port()}"]
        with command(tmp_path, *flags("udp", addresses, "round_robin"), "--drain-timeout", "100ms") as running:
            with without_control(running, "stopped"):
                lost = []
                for at in range(30):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                        client.settimeout(0.3)
                        client.sendto(b"%d" % at, running.address)
                        try:
                            client.recv(100)
                        except TimeoutError:
                            lost.append(at)
                assert len(lost) <= 3 + 5, lost  # a datagram that is refused is lost; then single trials only
                assert seen(running)["pools"][0]["backends"][1]["avoided_by"] == 1
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(20)


def test_a_client_pays_for_no_trial_when_the_budget_is_spent(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    with Peer(named(b"a")) as a:
        config.write_text(
            'name = "shop"\nworkers = 1\n[admin]\nlisten = "off"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\npool = "p"\n'
            '[[pool]]\nname = "p"\npolicy = "round_robin"\nretry_budget = 0\nretry_floor = 1\nprobe = { kind = "off" }\n'
            f'backend = [{{ address = "{a.address}" }}, {{ address = "127.0.0.1:{free_port()}" }}]\n'
        )
        with command(tmp_path, "-c", str(config)) as running, without_control(running, "stopped"):
            for _ in paced_for(3.5, 0.02):
                with dial(running.address) as client:
                    assert read_exactly(client, 1) == b"a"
            assert figure(seen(running), "connect_failures") >= 4  # three, and a trial at least
