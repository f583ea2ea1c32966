"""Connections of HTTP: which ones are kept, for how long, how they end, and those that become a relay by an upgrade."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from harness import PATIENCE_S, SLOWER, reset, wait_for
from http_balancers import GET, OK, figure, http
from http_peers import Backend, Client, answering, field
from pace import late

from lbcore.control import worker_limits


def test_backend_connections_are_kept_newest_first_and_counted() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(10):
            client.get()
        assert backend.connections == 1
        assert figure(lb, "connections_reused") == 9
        wait_for(lambda: figure(lb, "connections_kept") == 1, "the last answer's connection is kept")


def test_idle_backend_connections_are_closed_before_the_backend_does() -> None:
    with Backend() as backend, http(backend, backend_idle_timeout="200ms") as lb, Client(lb.address) as client:
        client.get()
        started = time.monotonic()
        assert backend.ended.wait(5 * SLOWER)
        assert 0.1 < time.monotonic() - started < 2 * SLOWER
        assert figure(lb, "connections_kept") == 0
        assert client.get().status == 200
        assert backend.connections == 2


def test_keep_alive_that_a_backend_tells_is_heeded() -> None:
    with Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=1, max=5\r\n\r\n")) as backend:
        with http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
            assert field(client.get().head, b"Keep-Alive") == b"timeout=60"
            started = time.monotonic()
            assert backend.ended.wait(5 * SLOWER)
            assert 0.3 < time.monotonic() - started < 0.95 * SLOWER


def test_keep_alive_that_a_backend_shows_is_learned_and_named_in_status() -> None:
    class Impatient(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while connection.recv(65536):
                    connection.sendall(OK)

    with Impatient() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        client.get()

        def learned() -> float | None:
            value: float | None = lb.status()["pools"][0]["backends"][0]["closes_idle_after_s"]
            return value

        assert 0.2 < wait_for(learned, "the close is seen") < 0.5 * SLOWER
        client.get()
        wait_for(lambda: figure(lb, "connections_kept") == 0, "now it is we who close")


def test_reuse_max_bounds_idle_connections() -> None:
    """Beyond it a burst's connections are there for the next burst, and soon for nobody."""
    together = threading.Barrier(6)

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        together.wait(PATIENCE_S)
        connection.sendall(OK)

    with (
        Backend(script) as backend,
        http(backend, max_idle_connections=2, backend_idle_timeout="1h") as lb,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(Client(lb.address)) for _ in range(6)]

        def reused_by_a_burst() -> int:
            before = figure(lb, "connections_reused")
            for client in clients:
                client.send(GET)
            for client in clients:
                assert client.answer().body == b"ok"
            return int(figure(lb, "connections_reused") - before)

        assert reused_by_a_burst() == 0
        wait_for(lambda: reused_by_a_burst() > 2, "a burst meets what the one before it left behind")
        wait_for(lambda: figure(lb, "connections_kept") == 2, "no more are kept")


def test_reuse_max_of_none_keeps_none() -> None:
    with Backend() as backend, http(backend, max_idle_connections=0) as lb, Client(lb.address) as client:
        for _ in range(3):
            assert client.get().status == 200
        assert figure(lb, "connects") == 3
        assert figure(lb, "connections_kept") == 0


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 30_000, 32_500, 200_000])
@pytest.mark.parametrize("more", [b"", b"\r\n", GET])
def test_last_answer_is_whole_and_the_end_follows(size: int, more: bytes) -> None:
    """The end goes out with the answer's last bytes: none of them waits, and none is lost to what the client sends beside."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    with Backend(answering(answer)) as backend, http(backend) as lb:
        for _ in range(3):
            with Client(lb.address) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n" + more)
                assert client.answer().body == b"x" * size
                assert client.ends()
        assert figure(lb, "connects") == 1
        wait_for(lambda: figure(lb, "requests_done") == 3, "all are counted")


def test_client_that_leaves_cancels_the_exchange_within_a_turn() -> None:
    left = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.settimeout(5 * SLOWER)
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)
        left.set()
        return True

    with Backend(script) as backend, http(backend) as lb:
        for how in ("close", "reset"):
            left.clear()
            client = Client(lb.address)
            client.send(GET)
            wait_for(lambda seen=how: len(backend.heads) == (1 if seen == "close" else 2), "the request arrives")  # type: ignore[misc]
            started = time.monotonic()
            if how == "close":
                client.close()
            else:
                reset(client.socket)
            assert left.wait(5 * SLOWER)
            assert time.monotonic() - started < 0.2 * SLOWER
        assert figure(lb, "requests_client_aborts") == 2
        assert lb.status()["pools"][0]["backends"][0]["failures"] == 0


def test_half_close_is_a_farewell_unless_allowed() -> None:
    with Backend(late(0.1, OK)) as backend:
        with http(backend, listener={"half_close": True}) as lb, Client(lb.address) as client:
            client.send(GET)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.answer().body == b"ok"
            assert client.ends()
        with http(backend) as lb, Client(lb.address) as client:
            client.send(GET)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.ends()


def test_drain_finishes_exchanges_and_lets_idle_clients_go() -> None:
    proceed = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            assert proceed.wait(10)
        connection.sendall(OK)

    with Backend(script) as backend:
        lb_context = http(backend)
        lb = lb_context.__enter__()
        busy, idle = Client(lb.address), Client(lb.address)
        idle.get()
        busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: len(backend.heads) == 2, "the slow one is under way")
        stopping = threading.Thread(target=lb.stop, args=(5,))
        stopping.start()
        assert idle.ends()
        proceed.set()
        answer = busy.answer()
        assert (answer.body, field(answer.head, b"Connection")) == (b"ok", b"close")
        assert busy.ends()
        stopping.join(10)
        busy.close()
        idle.close()


def test_upgrade_becomes_a_relay() -> None:
    class Upgrading(Backend):
        def _talk(self, connection: socket.socket) -> None:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, early = data.partition(b"\r\n\r\n")
            self.heads.append(head + b"\r\n\r\n")
            connection.sendall(b"HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nwelcome" + early)
            while data := connection.recv(65536):
                connection.sendall(data)

    with Upgrading() as backend, http(backend) as lb:
        with Client(lb.address) as client:
            client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
            head = client.reader.head()
            assert head is not None
            assert (field(head, b"Upgrade"), field(head, b"Connection")) == (b"echo", b"Upgrade")
            assert client.reader.exactly(12) == b"welcomeearly"
            client.send(b"x" * 300_000)
            assert client.reader.exactly(300_000) == b"x" * 300_000
            assert lb.status()["pools"][0]["backends"][0]["active"] == 1
            client.socket.shutdown(socket.SHUT_WR)
            assert client.ends()
        assert field(backend.heads[0], b"Upgrade") == b"echo"
        assert figure(lb, "upgrades") == 1


def test_upgrade_that_the_balancer_has_no_room_for_is_not_its_backends_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_limits, "MAX_BUFFERS", 2)

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if b"Upgrade" in head:
            connection.sendall(b"HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000))
        return False

    with (
        Backend(script) as backend,
        http(backend, top={"datapath": "copy"}, max_failed_responses=1) as lb,
        Client(lb.address) as slow,
    ):
        slow.send(GET)
        wait_for(lambda: lb.status()["workers"][0]["buffers"] == 1, "a buffer is held for who reads nothing")
        with Client(lb.address) as client:
            answer = client.get(extra=b"Connection: Upgrade\r\nUpgrade: echo\r\n")
            assert (answer.status, b"the balancer has no session left" in answer.body) == (503, True)
        state = lb.status()["pools"][0]["backends"][0]
        assert (state["state"], state["failures"]) == ("up", 0)
        slow.close()
        wait_for(lambda: lb.status()["workers"][0]["buffers"] == 0, "it is given back")
        with Client(lb.address) as client:
            client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            head = client.reader.head()
            assert head is not None
            assert head.startswith(b"HTTP/1.1 101 ")


def test_upgrade_that_is_declined_is_an_ordinary_exchange() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            answer = client.get(extra=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
            assert answer.body == b"backend"


@pytest.mark.parametrize("protocols", [b"h2c", b"H2C/2", b"h2c, websocket", b"websocket ,h2c", b",h2c,"])
def test_h2c_upgrade_is_never_forwarded(protocols: bytes) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABk\r\n" % protocols
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get(extra=upgrade)
        assert field(backend.heads[0], b"Upgrade") is None
