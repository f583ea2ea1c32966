"""How streams and connections of HTTP/2 clients end: by either side, for want of use, and when the balancer drains."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from h2_frames import (
    CANCEL,
    ENABLE_PUSH,
    GOAWAY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PING,
    H2Client,
    frame,
    reset,
)
from harness import wait_for
from http_balancers import figure, http
from http_peers import Backend

from lbcore import Balancer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def to_be_stopped(backend: Backend) -> Iterator[Balancer]:
    """A balancer that the test stops."""
    lb = Balancer(listen="http://127.0.0.1:0", backends=[backend.address], workers=1, health="off")
    lb.start()
    try:
        yield lb
    finally:
        lb.stop(0)


def test_a_client_cancels_and_its_backend_hears_at_once() -> None:
    asked, left = threading.Event(), threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if b"/other" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return False
        asked.set()
        assert connection.recv(1) == b""
        left.set()
        return True

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        assert asked.wait(5)
        client.send(reset(1, CANCEL))
        assert left.wait(5)
        client.ask(3, "/other")
        assert client.response(3).body == b"ok"
        assert figure(lb, "requests_client_aborts") == 1


def test_a_client_that_closes_ends_all_of_its_requests() -> None:
    asked = threading.Semaphore(0)

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        asked.release()
        return connection.recv(1) == b""

    with Backend(script) as backend, http(backend) as lb:
        with H2Client(lb.address) as client:
            for stream in (1, 3, 5):
                client.ask(stream)
            for _ in range(3):
                assert asked.acquire(timeout=5)
        wait_for(lambda: figure(lb, "requests_client_aborts") == 3, "all three are over")


def test_an_idle_connection_ends_by_goaway_and_fin() -> None:
    with (
        Backend() as backend,
        http(backend, listener={"keepalive_timeout": "300ms"}) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1)
        client.response(1)
        got = client.until(lambda got: got.kind == GOAWAY)
        assert got is not None
        assert (struct.unpack(">I", got.payload[:4])[0], got.number) == (1, NO_ERROR)
        assert client.receive() is None


def test_a_drain_warns_first_and_goes_after_a_round_trip() -> None:
    """grpcio 1.85.1: what it sends between the two is served."""
    with Backend() as backend, to_be_stopped(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        client.response(1)
        stopping = threading.Thread(target=lb.stop, args=(5,))
        stopping.start()
        first = client.until(lambda got: got.kind == GOAWAY)
        assert first is not None
        assert struct.unpack(">I", first.payload[:4])[0] == 0x7FFFFFFF
        ping = client.until(lambda got: got.kind == PING)
        assert ping is not None
        client.ask(3)
        client.send(frame(PING, 1, 0, ping.payload))
        assert client.response(3).status == "200"
        last = client.until(lambda got: got.kind == GOAWAY) if len(client.all_of(GOAWAY)) < 2 else client.all_of(GOAWAY)[1]
        assert last is not None
        assert struct.unpack(">I", last.payload[:4])[0] == 3
        client.until(lambda got: False)
        stopping.join()


def test_a_drain_waits_for_streams_before_it_says_goaway() -> None:
    """httpx2 2.16.2 and grpclib 0.4.9 lose what is under way when GOAWAY comes."""
    go = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        go.wait(5)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with Backend(script) as backend, to_be_stopped(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        wait_for(lambda: backend.heads, "it is asked for")
        stopping = threading.Thread(target=lb.stop, args=(20,))
        stopping.start()
        assert client.ping()
        assert not client.all_of(GOAWAY)
        go.set()
        assert client.response(1).body == b"ok"
        assert client.until(lambda got: got.kind == GOAWAY)
        client.until(lambda got: False)
        stopping.join()


def test_a_client_of_pips_h2_gets_one_goaway_and_nothing_behind_it() -> None:
    """httpx2 2.16.2 and grpclib 0.4.9: their library calls any frame behind a GOAWAY, a PING too, a fault of the connection."""
    told = ((HEADER_TABLE_SIZE, 4096), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, 65535), (MAX_FRAME_SIZE, 16384))
    with Backend() as backend, to_be_stopped(backend) as lb, H2Client(lb.address, *told) as client:
        client.ask(1)
        client.response(1)
        known = len(client.frames)
        stopping = threading.Thread(target=lb.stop, args=(5,))
        stopping.start()
        client.until(lambda got: False)
        assert [(got.kind, got.payload[:4]) for got in client.frames[known:]] == [(GOAWAY, struct.pack(">I", 1))]
        stopping.join()
