"""Everything has a bound: at a bound the balancer refuses or waits by name, never spins, and serves again when room returns."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import psutil
from harness import SLOWER, Peer, balanced, command, dial, echo, is_refused, read_exactly, settled, stays, totals, wait_for
from pace import paced

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings


def settings(backend: str, *, top: dict[str, object] | None = None, **listener: object) -> BalancerSettings:
    """One listener with limits, one backend without probes."""
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0", **listener)],
        pools=[PoolSettings(probe=ProbeSettings(kind="off"), backends=[backend])],
        **(top or {}),
    )


def test_idle_session_is_closed() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, idle_timeout="300ms")) as lb:
        with dial(lb.address) as client:
            for _ in paced(4, 0.15):  # moving bytes keep it open
                client.sendall(b"x")
                assert read_exactly(client, 1) == b"x"
            began = time.monotonic()
            assert client.recv(1) == b""
            assert 0.1 < time.monotonic() - began < 1 * SLOWER
        assert totals(settled(lb))["closed_idle"] == 1


def test_half_closed_session_is_closed() -> None:
    def serve(connection) -> None:  # type: ignore[no-untyped-def]
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with Peer(serve) as peer, balanced(settings=settings(peer.address, half_closed_timeout="200ms")) as lb:
        with dial(lb.address) as client:
            assert client.recv(1) == b""
            wait_for(lambda: totals(settled(lb))["closed_half"] == 1, "the half-closed limit", 3)


def test_session_bound_makes_clients_wait_not_fail() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, top={"max_sessions": 3})) as lb:
        first = [dial(lb.address) for _ in range(3)]
        for client in first:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
        waiting = dial(lb.address)
        waiting.sendall(b"later")
        wait_for(lambda: totals(settled(lb))["accept_pauses"] == 1, "accepting backoff")
        turns = totals(settled(lb))["turns"]
        stays(lambda: totals(lb.status())["turns"] - turns < 50, "it does not spin at the bound", 0.2)
        first.pop().close()
        assert read_exactly(waiting, 5) == b"later"
        for client in [*first, waiting]:
            client.close()


def test_out_of_descriptors(tmp_path: Path) -> None:
    """With 200 descriptors a worker holds a bounded number of sessions, waits at the bound, and serves on afterwards."""
    with Peer(echo) as peer:
        arguments = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off"]
        with command(tmp_path, *arguments, nofile=200) as lb:
            clients = [dial(lb.address) for _ in range(150)]
            wait_for(lambda: totals(settled(lb))["accept_pauses"] > 0, "the bound is met")
            worker = psutil.Process(lb.status()["workers"][0]["pid"])
            before = sum(worker.cpu_times()[:2])
            stays(lambda: sum(worker.cpu_times()[:2]) - before < 0.25, "it does not spin at the bound", 0.5)
            for client in clients:
                client.close()
            wait_for(lambda: totals(settled(lb))["active"] == 0, "all end", 20)
            with dial(lb.address) as client:
                client.sendall(b"again")
                assert read_exactly(client, 5) == b"again"


def test_buffers_are_bounded_by_sessions_that_wait() -> None:
    """Ten slow readers hold ten buffers; everything still arrives."""
    size = 12_000_000

    def serve(connection) -> None:  # type: ignore[no-untyped-def]
        connection.sendall(bytes(size))

    with Peer(serve) as peer, balanced(backends=[peer.address], datapath="copy", max_sessions=12) as lb:
        clients = [dial(lb.address) for _ in range(10)]
        wait_for(lambda: totals(settled(lb))["buffers"] > 0, "back-pressure")
        assert totals(settled(lb))["buffers"] <= 24
        for client in clients:
            assert len(read_exactly(client, size)) == size
            client.close()


def test_stop_waits_for_sessions_then_ends_them() -> None:
    with Peer(echo) as peer:
        balanced_one = balanced(backends=[peer.address])
        lb = balanced_one.__enter__()
        client = dial(lb.address)
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        began = time.monotonic()
        lb.stop(0.4)
        assert 0.3 < time.monotonic() - began < 2 * SLOWER
        client.settimeout(2)
        assert client.recv(1) == b""
        client.close()


def test_drain_ends_as_soon_as_the_last_session_does(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off") as lb:
            client = dial(lb.address)
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            lb.process.terminate()
            wait_for(lambda: lb.status()["workers"][0]["state"] == "draining", "it drains")
            client.sendall(b"still")
            assert read_exactly(client, 5) == b"still"
            assert is_refused(lb.address), "a draining balancer takes no new session"
            client.close()
            assert lb.process.wait(5 * SLOWER) == 0


def test_second_signal_stops_now(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off") as lb:
            client = dial(lb.address)
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            lb.process.terminate()
            wait_for(lambda: "draining" in lb.stderr.read_text(), "it drains")
            lb.process.terminate()
            assert lb.process.wait(5 * SLOWER) == 0
            client.close()


def test_drain_at_the_bound_serves_what_is_queued() -> None:
    """A socket with connections in its queue is not closed over them, not even when there is no room for them yet."""
    with Peer(echo) as peer:
        with balanced(settings=settings(peer.address, top={"max_sessions": 2, "drain_timeout": "10s"})) as lb:
            first = [dial(lb.address) for _ in range(2)]
            for client in first:
                client.sendall(b"x")
                assert read_exactly(client, 1) == b"x"
            queued = [dial(lb.address) for _ in range(5)]
            wait_for(lambda: totals(settled(lb))["accept_pauses"] == 1, "the bound is met")
            stopping = threading.Thread(target=lb.stop)
            stopping.start()
            for client in [*first, *queued]:
                client.sendall(b"served")
                assert read_exactly(client, 6) == b"served"
                client.close()
            stopping.join(10 * SLOWER)
            assert not lb.running
            lb.start()  # for the books at the end
