"""Answers that break the rules, or break off: what the client reads, and what becomes of the connection."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from harness import PATIENCE_S, SLOWER, read_all, reset, wait_for
from http_balancers import GET, OK, figure, http
from http_peers import Backend, Client, answering, field
from pace import send_apart

BAD_ANSWERS = {
    "nonsense": b"nonsense\r\n\r\n",
    "length_and_coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "obs_fold": b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
    "bare_lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "unknown_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "unasked_101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless_head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 140_000,
    "bad_first_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "nothing": b"",
    "half_a_head": b"HTTP/1.1 200 OK\r\nConte",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answer_is_502_and_its_connection_is_not_used_again(name: str) -> None:
    ends = name in ("nothing", "half_a_head")
    with (
        Backend(answering(BAD_ANSWERS[name], end=ends)) as backend,
        http(backend, max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(2):
            answer = client.get()
            assert answer.status == 502
            assert field(answer.head, b"Connection") == b"keep-alive"
        assert backend.connections == 2
        assert figure(lb, "responses_bad") == (0 if ends else 2)


def test_bytes_behind_an_answer_end_its_connection() -> None:
    with Backend(answering(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as backend, http(backend) as lb:
        with Client(lb.address) as client:
            assert [client.get().body for _ in range(3)] == [b"ok"] * 3
        assert backend.connections == 3


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_answer_that_breaks_off_is_a_reset_for_the_client(raw: bytes) -> None:
    with (
        Backend(answering(raw, end=True)) as backend,
        http(backend, max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        client.send(GET)
        with pytest.raises(ConnectionResetError):
            read_all(client.socket)
        wait_for(lambda: figure(lb, "requests_failed") == 1, "the exchange is counted as failed")


def test_answer_to_the_end_that_is_reset_is_a_reset_for_the_client() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        send_apart(connection, b"HTTP/1.1 200 OK\r\n\r\nhalf")
        reset(connection)
        return True

    with Backend(script) as backend, http(backend, max_failed_responses=0) as lb, Client(lb.address) as client:
        client.send(GET)
        with pytest.raises(ConnectionResetError):
            read_all(client.socket)


def test_answer_to_the_end_that_is_reset_is_a_reset_for_a_client_that_still_sends() -> None:
    """The reset is told to the write that goes on with the request; the read sees a mere end."""
    full = threading.Event()

    class Deaf(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            full.wait(PATIENCE_S)
            reset(connection)

    with Deaf() as backend, http(backend, max_failed_responses=0) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % 10**9)
        client.reader.head()
        assert client.reader.exactly(4) == b"half"
        client.socket.settimeout(0.2 * SLOWER)
        with contextlib.suppress(TimeoutError):
            while True:
                client.socket.send(b"x" * 65536)
        client.socket.settimeout(PATIENCE_S)
        full.set()
        with pytest.raises(ConnectionResetError):
            read_all(client.socket)
        wait_for(lambda: figure(lb, "requests_failed") == 1, "the exchange is counted as failed")
