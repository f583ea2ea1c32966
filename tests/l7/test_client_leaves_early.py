"""A client that leaves in the middle of its request, while that waits for a backend: no byte of it is sent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, black_hole, command, dial, reset, settled, wait_for
from http_balancers import figure, http
from http_peers import Backend, Client, Reader
from pace import send_apart
from tls_peers import Authority, balancing, trusting

from lbcore.config.settings import CertificateSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

HALF = b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
CHUNKED = b"POST /half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
LONG = b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(50_000)
"""More than is read here before its turn comes."""
GATE = Path(__file__).parents[1] / "c" / "gate.c"
WHOLE = b"POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + bytes(50_000)
CHUNKS = (
    b"POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10\r\n" + bytes(16) + b"\r\n" + b"0\r\n\r\n"
)


class Busy(Backend):
    """Answers its first request when it is let, and all others at once."""

    def __init__(self) -> None:
        self.proceed, self.answered = threading.Event(), threading.Event()

        def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
            if b"/first" in head:
                assert self.proceed.wait(PATIENCE_S)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            self.answered.set()
            return False

        super().__init__(script)

    def answer_now(self) -> None:
        """It has, when this returns."""
        self.answered.clear()
        self.proceed.set()
        assert self.answered.wait(PATIENCE_S)


@contextlib.contextmanager
def occupied(lb: Balancer, backend: Busy) -> Iterator[None]:
    """Its only place is taken; it is free again at the end, and what waited in vain was not sent."""
    with Client(lb.address) as first:
        first.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: len(backend.heads) == 1, "the backend is busy")
        yield
        backend.proceed.set()
        assert first.answer().body == b"ok"


def leave_by_fin(client: socket.socket) -> None:
    """Done with sending."""
    client.shutdown(socket.SHUT_WR)


def leave_by_close(client: socket.socket) -> None:
    """Gone."""
    client.close()


@pytest.mark.parametrize("leave", [leave_by_fin, leave_by_close, reset])
@pytest.mark.parametrize("request_", [HALF, CHUNKED, LONG], ids=["length", "chunked", "long"])
def test_half_a_request_in_the_queue_is_not_sent(request_: bytes, leave: object) -> None:
    assert callable(leave)
    with Busy() as backend, http(backend, max_active=1) as lb:
        with occupied(lb, backend), dial(lb.address) as client:
            client.sendall(request_)
            wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            leave(client)
            wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "it is seen to leave")
            assert figure(lb, "queued") == 0
        with Client(lb.address) as client:
            assert client.get("/later").status == 200
        assert [head.split()[1] for head in backend.heads] == [b"/first", b"/later"]


@pytest.mark.parametrize("close", [False, True], ids=["close_notify", "closed"])
def test_half_a_request_over_tls_is_not_sent(tmp_path: Path, close: bool) -> None:
    authority = Authority(tmp_path)
    listener = {"certificates": [CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example")))]}
    with Busy() as backend, balancing("https://127.0.0.1:0", backend, listener=listener, max_active=1) as lb:
        with trusting(authority).wrap_socket(dial(lb.address), server_hostname="a.example") as first:
            first.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: len(backend.heads) == 1, "the backend is busy")
            with trusting(authority).wrap_socket(dial(lb.address), server_hostname="a.example") as client:
                client.sendall(HALF)
                wait_for(lambda: figure(lb, "queued") == 1, "it waits")
                client.settimeout(0.05)
                with contextlib.suppress(TimeoutError, ssl.SSLError, OSError):
                    client.unwrap()  # says close_notify, and waits for the other's
                if close:
                    client.close()
                wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "it is seen to leave")
            backend.proceed.set()
            assert Reader(first).head()
        assert len(backend.heads) == 1


def test_half_a_request_whose_client_leaves_during_a_connect_is_not_sent() -> None:
    with black_hole() as hole, Backend() as backend:
        with http(hole, backend, connect_timeout="400ms") as lb:
            for _ in range(2):  # of two backends one is the hole
                with dial(lb.address) as client:
                    send_apart(client, HALF)
                    client.shutdown(socket.SHUT_WR)
                    wait_for(lambda: figure(lb, "active") == 0, "it is gone")
            assert figure(lb, "requests_client_aborts") == 2
        heads = [head for head in backend.heads if b"/half" in head]
        assert len(heads) <= 1, "only where a backend was reached before its client left"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A worker that does nothing meanwhile: it finds all that happened at once."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it has stopped")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_half_a_request_that_is_left_as_its_turn_comes_is_not_sent(tmp_path: Path) -> None:
    """Between the queue and the connect: the end of the client and the free backend are found in one turn, in either order."""
    config = tmp_path / "lb.toml"
    with Busy() as backend:
        config.write_text(
            f'[[listener]]\nbind = "http://127.0.0.1:0"\n[[pool]]\nname = "default"\nmax_active = 1\n'
            f'[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{backend.address}"\n'
        )
        with command(tmp_path, "-c", str(config)) as lb, Client(lb.address) as other:

            def worker() -> dict[str, int]:
                found: dict[str, int] = lb.status()["workers"][0]
                return found

            for left, first in enumerate(("client", "backend"), 1):
                backend.proceed.clear()
                other.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: worker()["requests_active"] == 1, "the backend is busy")
                with dial(lb.address) as client:
                    client.sendall(HALF)
                    wait_for(lambda: worker()["queued"] == 1, "it waits")
                    with stopped(worker()["pid"]):
                        ends = [lambda: client.shutdown(socket.SHUT_WR), backend.answer_now]
                        for end in ends if first == "client" else reversed(ends):
                            end()
                    assert other.answer().body == b"ok"
                    wait_for(lambda count=left: worker()["requests_client_aborts"] == count, "it is seen to leave")
            with stopped(worker()["pid"]), dial(lb.address) as client:  # half a request and its end at once
                client.sendall(HALF)
                client.shutdown(socket.SHUT_WR)
            wait_for(lambda: worker()["requests_client_aborts"] == 3, "it is seen to leave")
        assert [head.split()[1] for head in backend.heads] == [b"/first"] * 2


@contextlib.contextmanager
def held_up(gate: Path, pid: int) -> Iterator[None]:
    """tests/c/gate.c: a worker has heard of what happened before, and does nothing of it until the end."""
    hold, told = gate.with_name(f"{gate.name}.{pid}"), gate.with_name(f"{gate.name}.{pid}.open")
    told.touch()
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


def test_half_a_request_is_not_sent_though_its_end_came_after_the_poller_was_asked(tmp_path: Path) -> None:
    """The backend is free, says the poller; and before the request is sent, the client leaves."""
    gate, library, config = tmp_path / "gate", tmp_path / "gate.so", tmp_path / "lb.toml"
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, GATE, "-ldl"], check=True)
    env = {"GATE": str(gate), "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()}
    with Busy() as backend:
        config.write_text(
            f'[[listener]]\nbind = "http://127.0.0.1:0"\n[[pool]]\nname = "default"\nmax_active = 1\n'
            f'[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{backend.address}"\n'
        )
        with command(tmp_path, "-c", str(config), "--workers", "1", env=env) as lb, Client(lb.address) as other:

            def worker() -> dict[str, int]:
                found: dict[str, int] = lb.status()["workers"][0]
                return found

            for count, request in enumerate((HALF, CHUNKED, LONG), 1):
                backend.proceed.clear()
                other.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: worker()["requests_active"] == 1, "the backend is busy")
                pid = worker()["pid"]
                with dial(lb.address) as client:
                    client.sendall(request)
                    wait_for(lambda: worker()["queued"] == 1, "it waits")
                    with held_up(gate, pid):
                        backend.proceed.set()
                        wait_for(lambda pid=pid: not gate.with_name(f"gate.{pid}.open").exists(), "the worker has heard of it")
                        client.shutdown(socket.SHUT_WR)
                    assert other.answer().body == b"ok"
                    wait_for(lambda count=count: worker()["requests_client_aborts"] == count, "it is seen to leave")
            assert [head.split()[1] for head in backend.heads] == [b"/first"] * 3


@pytest.mark.parametrize("request_", [WHOLE, CHUNKS], ids=["length", "chunked"])
def test_a_whole_request_whose_client_may_half_close_is_served_from_the_queue(request_: bytes) -> None:
    with Busy() as backend, http(backend, max_active=1, listener={"half_close": True}) as lb:
        with Client(lb.address) as client:
            with occupied(lb, backend):
                client.send(request_)
                client.socket.shutdown(socket.SHUT_WR)
                wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            assert client.answer().body == b"ok"
        assert [head.split()[1] for head in backend.heads] == [b"/first", b"/whole"]


@pytest.mark.parametrize("request_", [HALF, CHUNKED, LONG], ids=["length", "chunked", "long"])
def test_half_a_request_is_not_sent_though_its_client_may_half_close(request_: bytes) -> None:
    with Busy() as backend, http(backend, max_active=1, listener={"half_close": True}) as lb:
        with occupied(lb, backend), dial(lb.address) as client:
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
            wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "it is seen to leave")
        assert len(backend.heads) == 1


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_that_comes_in_parts_while_its_request_waits_arrives_whole(coding: str) -> None:
    parts = [bytes([65 + at]) * 3000 for at in range(20)]
    with Busy() as backend, http(backend, max_active=1) as lb, Client(lb.address) as client:
        with occupied(lb, backend):
            if coding == "length":
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
            else:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            for part in parts:
                client.send(part if coding == "length" else b"bb8;a=b\r\n" + part + b"\r\n")
                settled(lb)
        client.send(b"" if coding == "length" else b"0\r\n\r\n")
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.answer().body, client.answer().body] == [b"ok", b"ok"]
        expected = b"".join(parts if coding == "length" else [b"bb8\r\n" + part + b"\r\n" for part in parts] + [b"0\r\n\r\n"])
        assert backend.bodies[1] == expected


@pytest.mark.parametrize("status", [400, 413])
def test_a_body_that_goes_wrong_while_its_request_waits_is_refused(status: int) -> None:
    with Busy() as backend, http(backend, max_active=1, listener={"max_body": "100"}) as lb, Client(lb.address) as client:
        with occupied(lb, backend):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            client.send(b"zz\r\n" if status == 400 else b"ff\r\n" + bytes(255) + b"\r\n")
            assert client.answer().status == status
            assert figure(lb, "queued") == 0
        assert len(backend.heads) == 1
