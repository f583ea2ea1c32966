"""What an exchange does, seen from both sides: the very bytes that the backend receives, and those that the client gets."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, read_all, reset, wait_for
from http_balancers import GET, OK, figure, http
from http_cases import CHUNKED_REFUSED, FRAMING, REFUSED
from http_peers import Backend, Client, answering, field, fields

from lbcore.control import worker_limits

if TYPE_CHECKING:
    pass


# --- requests as the backend receives them ---------------------------------------------------------------------------


def test_request_line_and_fields_pass_byte_for_byte() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET /A%2fb/../c?d=%41 HTTP/1.1\r\nHOST: A.example:80\r\nx-odd:  a \t b\xe9 \r\nX-Empty:\r\n\r\n")
        assert client.answer().status == 200
        head = backend.heads[0]
        assert head.startswith(b"GET /A%2fb/../c?d=%41 HTTP/1.1\r\nHOST: A.example:80\r\nx-odd:  a \t b\xe9 \r\nX-Empty:\r\n")


def test_hop_by_hop_fields_and_nominated_ones_are_removed() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get(
            extra=b"Connection: keep-alive, X-Mine, X-OTHER\r\nX-Mine: 1\r\nKeep: 2\r\nX-Other: 3\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nLast: 4\r\n"
        )
        head = backend.heads[0]
        for gone in (
            b"Connection",
            b"X-Mine",
            b"X-Other",
            b"Keep-Alive",
            b"Proxy-Connection",
            b"TE",
            b"Upgrade",
            b"HTTP2-Settings",
        ):
            assert field(head, gone) is None, gone
        assert (field(head, b"Keep"), field(head, b"Last")) == (b"2", b"4")


def test_connection_cannot_take_away_host_or_length() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: Host, Content-Length\r\n\r\nhi")
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Host") == b"a"
        assert backend.bodies == [b"hi"]


def test_forwarding_fields_of_a_stranger_are_replaced() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get(
            extra=b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
            b"Forwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\nVia: 1.1 before\r\n"
        )
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-For") == b"127.0.0.1"
        assert field(head, b"X-Forwarded-Proto") == b"http"
        assert field(head, b"X-Forwarded-Host") == b"a.example"
        assert field(head, b"Forwarded") == b'for=127.0.0.1;host="a.example";proto=http'
        assert re.fullmatch(rb"[0-9a-f]{32}", field(head, b"X-Request-Id") or b"")
        assert fields(head, b"Via") == [b"1.1 before", b"1.1 lbcore"]


def test_forwarding_fields_of_a_trusted_proxy_are_appended() -> None:
    with (
        Backend() as backend,
        http(backend, listener={"trusted_proxies": ["10.0.0.0/8", "127.0.0.0/30"]}) as lb,
        Client(lb.address) as client,
    ):
        client.get(
            extra=b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: shop\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: theirs\r\n"
        )
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-For") == b"1.2.3.4, 5.6.7.8, 127.0.0.1"
        assert field(head, b"X-Forwarded-Proto") == b"https"
        assert field(head, b"X-Forwarded-Host") == b"shop"
        assert fields(head, b"Forwarded") == [b"for=1.2.3.4", b'for=127.0.0.1;host="a.example";proto=http']
        assert field(head, b"X-Request-Id") == b"theirs"


def test_forwarding_fields_can_be_off() -> None:
    with (
        Backend() as backend,
        http(backend, listener={"forwarded": "off", "request_id": False}) as lb,
        Client(lb.address) as client,
    ):
        client.get(extra=b"X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: 5\r\n")
        head = backend.heads[0]
        assert field(head, b"X-Request-Id") == b"5"
        assert [field(head, name) for name in (b"X-Forwarded-For", b"Forwarded", b"X-Forwarded-Host")] == [None] * 3


def test_absolute_target_becomes_origin_form_with_its_own_host() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert client.answer().status == 200
        assert backend.heads[0].startswith(b"GET /x?y HTTP/1.1\r\nHost: b.example:81\r\n")
        assert fields(backend.heads[0], b"Host") == [b"b.example:81"]


def test_http_1_0_client_without_host_and_keep_alive() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"backend")
        assert field(answer.head, b"Connection") == b"close"
        assert client.ends()
        assert fields(backend.heads[0], b"Host") == [backend.address.encode()]
        assert b"Via: 1.0 lbcore" in backend.heads[0]


def test_http_1_0_client_with_keep_alive_is_kept() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = client.answer()
            assert field(answer.head, b"Connection") == b"keep-alive"


def test_pipelined_requests_are_answered_in_order() -> None:
    def echo_path(connection: socket.socket, head: bytes, body: bytes) -> None:
        path = head.split(b" ")[1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    with Backend(echo_path) as one, Backend(echo_path) as two, http(one, two) as lb, Client(lb.address) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(100)))
        assert [client.answer().body for _ in range(100)] == [b"/%d" % number for number in range(100)]
        assert len(one.heads) == len(two.heads) == 50


def test_request_byte_by_byte() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for byte in b"\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":
            client.send(bytes([byte]))
        assert client.answer().status == 200
        assert backend.bodies == [b"hello"]


@pytest.mark.parametrize("name", [*REFUSED, *FRAMING])
def test_no_byte_of_a_refused_request_reaches_a_backend(name: str) -> None:
    head, status = REFUSED.get(name) or (b"POST / HTTP/1.1\r\nHost: a\r\n" + FRAMING[name][0] + b"\r\nhello", FRAMING[name][1])
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(head)
        answer = client.answer()
        assert answer.status == status
        assert field(answer.head, b"Connection") == b"close"
        assert client.ends()
        assert (backend.connections, backend.heads) == (0, [])
        assert figure(lb, "requests_bad") == 1


@pytest.mark.parametrize("name", CHUNKED_REFUSED)
def test_bad_chunks_are_refused_before_a_backend_is_reached(name: str) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED_REFUSED[name])
        assert client.answer().status == 400
        assert backend.connections == 0


def test_bad_chunk_in_the_middle_of_a_body_is_400_and_the_backend_sees_a_broken_request() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_for(lambda: backend.heads, "the head arrives")
        client.send(b"zz\r\n")
        assert client.answer().status == 400
        assert backend.ended.wait(5)
        assert backend.bodies[0] == b"3\r\nabc\r\n"


def test_limits_of_head_target_and_body() -> None:
    limits = {"max_header_bytes": "1k", "max_target": "100", "max_body": "1k"}
    cases = {
        431: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2000 + b"\r\n\r\n",
        414: b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n",
    }
    with Backend() as backend, http(backend, listener=limits) as lb:
        for status, head in cases.items():
            with Client(lb.address) as client:
                client.send(head)
                assert client.answer().status == status
        assert backend.connections == 0
        with Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n")
            wait_for(lambda: backend.heads, "the first chunk passes")
            client.send((b"1f4\r\n" + b"x" * 500 + b"\r\n") * 2)
            assert client.answer().status == 413


# --- bodies ----------------------------------------------------------------------------------------------------------


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
            time.sleep(0.3)
            assert figure(lb, "bytes_out") < 12_000_000 * SLOWER
            answer = client.answer()
            assert answer.body == b"x" * 20_000_000


# --- answers that break the rules ------------------------------------------------------------------------------------

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
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        time.sleep(0.1)
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


# --- connections -----------------------------------------------------------------------------------------------------


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
    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        time.sleep(0.1)
        connection.sendall(OK)

    with Backend(slow) as backend:
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


@pytest.mark.parametrize(
    "name", [b"X_Forwarded_For", b"x-forwarded_proto", b"X_Forwarded_Host", b"X_Request_Id", b"Client_Cert"]
)
def test_fields_that_vouch_are_not_brought_by_strangers_with_underscores(name: bytes) -> None:
    """CGI and WSGI make HTTP_X_FORWARDED_FOR of both spellings."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n%s: evil\r\nX_Other: kept\r\n\r\n" % name)
        assert client.answer().status == 200
        assert b"evil" not in backend.heads[0]
        assert b"X_Other: kept" in backend.heads[0]


@pytest.mark.parametrize("name", [b"Client-Cert", b"client_cert", b"X-Forwarded-For", b"Content_Length", b"Forwarded"])
def test_trailers_do_not_vouch(name: bytes) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s: x\r\n\r\n" % name)
        assert client.answer().status == 400
