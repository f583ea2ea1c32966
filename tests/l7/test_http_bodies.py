"""Bodies of requests and answers: each framing, both ways at once, early and interim answers, slow clients."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading

import pytest
from harness import SLOWER, stays, wait_for
from http_balancers import GET, OK, figure, http
from http_peers import Backend, Client, answering, field


@pytest.mark.parametrize("datapath", ["auto", "copy", "splice"])
@pytest.mark.parametrize("size", [0, 1, 30_000, 70_000, 5_000_000])
def test_bodies_of_known_length_both_ways(size: int, datapath: str) -> None:
    content = hashlib.shake_128(b"seed").digest(size)

    def echo_body(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with Backend(echo_body) as backend, http(backend, top={"datapath": datapath}) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + content)
            assert client.answer().body == content
        assert backend.bodies == [content] * 3
        if datapath == "splice" and size > 100_000:
            assert figure(lb, "bytes_spliced") > size
        if datapath == "copy":
            assert figure(lb, "bytes_spliced") == 0
        assert backend.connections == 1 or SLOWER > 1  # a long body goes to a connection idle for less than half its limit


def test_request_behind_a_chunked_one_in_the_same_segment() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        first = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(first)
        wait_for(lambda: backend.heads, "the head is forwarded")
        client.send(b"2\r\nhi\r\n0\r\n\r\n" + GET)
        assert client.answer().status == 200
        assert client.answer().status == 200
        assert backend.bodies == [b"2\r\nhi\r\n0\r\n\r\n", b""]


def test_chunked_answer_is_unwrapped_for_http_1_0() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.answer()
        assert answer.body == b"abcde"
        assert field(answer.head, b"Transfer-Encoding") is None


def test_answer_without_a_length_ends_with_the_connection() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n" + b"z" * 200_000, end=True)
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        answer = client.get()
        assert answer.body == b"z" * 200_000
        assert field(answer.head, b"Connection") == b"close"


def test_http_1_0_backend() -> None:
    with Backend(answering(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", end=True)) as backend, http(backend) as lb:
        with Client(lb.address) as client:
            for _ in range(3):
                answer = client.get()
                assert answer.head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert answer.body == b"ok"
            assert b"Via: 1.0 lbcore" in answer.head
        assert backend.connections == 3


def test_http_1_0_backend_that_keeps_its_connection() -> None:
    raw = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    with Backend(answering(raw)) as backend, http(backend) as lb, Client(lb.address) as client:
        assert [client.get().body for _ in range(3)] == [b"ok"] * 3
        assert backend.connections == 1


def test_head_204_and_304_have_no_body() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        status = head.split(b" ")[1].strip(b"/")
        connection.sendall(b"HTTP/1.1 %s X\r\nContent-Length: 5\r\n\r\n" % (status or b"200"))

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        assert field(client.get(method=b"HEAD").head, b"Content-Length") == b"5"
        assert client.get("/204").status == 204
        assert client.get("/304").status == 304
        assert client.get(method=b"HEAD").status == 200
        assert backend.connections == 4, "some servers send a body all the same, maybe later: it is nobody's"


def test_events_are_passed_on_at_once() -> None:
    proceed = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            connection.sendall(b"9\r\ndata: %d\n\n\r\n" % number)
            assert proceed.wait(5)
            proceed.clear()
        connection.sendall(b"0\r\n\r\n")

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(GET)
        assert client.reader.head() is not None
        for number in range(5):
            assert client.reader.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
            proceed.set()
        assert client.reader.exactly(5) == b"0\r\n\r\n"


def test_expect_100_continue_and_early_hints() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(OK)

    class Continuing(Backend):
        def _talk(self, connection: socket.socket) -> None:
            data = connection.recv(65536)
            self.heads.append(data)
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            self.bodies.append(connection.recv(65536))
            connection.sendall(OK)

    with Continuing() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nSec-Fetch-Mode: navigate\r\n\r\n"
        )
        assert field(client.answer().head, b"Link") == b"</a>"
        assert client.answer().status == 100
        assert backend.bodies == []
        client.send(b"hello")
        assert client.answer().body == b"ok"
        assert field(backend.heads[0], b"Expect") == b"100-continue"
        assert backend.bodies == [b"hello"]


def test_interim_answers_are_kept_from_http_1_0() -> None:
    script = answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer().status == 200


@pytest.mark.parametrize("status", [b"103 Early Hints", b"204 No Content"])
def test_length_of_an_answer_that_cannot_have_a_body_is_not_passed_on(status: bytes) -> None:
    script = answering(b"HTTP/1.1 %s\r\nContent-Length: 5\r\nX: kept\r\n\r\n" % status + (OK if status[:1] == b"1" else b""))
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            head = client.get(extra=b"Sec-Fetch-Mode: navigate\r\n").head
            assert (field(head, b"Content-Length"), field(head, b"X")) == (None, b"kept")
            if status[:1] == b"1":
                assert client.answer().body == b"ok"


def test_early_answer_while_the_body_still_comes() -> None:
    class Early(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\n\r\nbig")
            with contextlib.suppress(OSError):
                connection.recv(1)

    with Early() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nstart")
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"big")
        assert field(answer.head, b"Connection") == b"close"


def test_both_bodies_flow_at_once() -> None:
    class Echo(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
            for _ in range(3):
                connection.sendall(connection.recv(1))

    with Echo() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        assert client.reader.head() is not None
        for byte in (b"a", b"b", b"c"):
            client.send(byte)
            assert client.reader.exactly(1) == byte


def test_slow_client_bounds_what_is_held() -> None:
    with (
        Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000)) as backend,
        http(backend) as lb,
    ):
        with Client(lb.address) as client:
            client.send(GET)
            stays(lambda: figure(lb, "bytes_out") < 12_000_000 * SLOWER, "no more is held", 0.3)
            answer = client.answer()
            assert answer.body == b"x" * 20_000_000
