"""Clients of HTTP/2 before backends of HTTP/1.1: what each end gets of the other's bodies, trailers and endings."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from h2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    WINDOW_UPDATE,
    H2Client,
    frame,
    window_update,
)
from http_balancers import http
from http_peers import Backend, answering, field, narrow

if TYPE_CHECKING:
    pass

LARGE = 1 << 20


def echo(connection: socket.socket, head: bytes, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def unchunked(raw: bytes) -> bytes:
    """The content of a chunked body."""
    content = b""
    while True:
        line, _, raw = raw.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return content
        content, raw = content + raw[:size], raw[size + 2 :]


# --- requests -----------------------------------------------------------------------------------------------------------


def test_a_request_as_http_1_1_says_it() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a?b=c", ("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2"), ("te", "trailers"))
        response = client.response(1)
        assert response.status == "200"
        assert response.body == b"backend"
        assert response.heads[0]["content-length"] == "7"
        assert "date" in response.heads[0]
        head = backend.heads[0]
        assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
        assert field(head, b"Host") == b"a.example"
        assert field(head, b"Cookie") == b"a=1; b=2"
        assert field(head, b"X-One") == b"1"
        assert field(head, b"X-Forwarded-Proto") == b"http"


@pytest.mark.parametrize("size", [1, 1000, 16384, 65535])
def test_a_body_without_length_goes_as_chunks(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        pieces = [body[:size][at : at + 16384] for at in range(0, size, 16384)]
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))
        for piece in pieces:
            client.send(frame(DATA, 0, 1, piece))
        client.send(frame(DATA, END_STREAM, 1))
        assert client.response(1).status == "200"
        assert field(backend.heads[0], b"Transfer-Encoding") == b"chunked"
        assert unchunked(backend.bodies[0]) == body[:size]


def test_a_body_with_its_length_goes_as_it_is() -> None:
    with Backend(echo) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1, "/", ("content-length", "5"), method="POST", body=b"hello")
        assert client.response(1).body == b"hello"
        assert field(backend.heads[0], b"Transfer-Encoding") is None


def test_a_megabyte_up_and_down() -> None:
    """Our windows are allowed anew as the backend takes what came; the client's hold back what it does not take."""
    body = bytes(range(256)) * (LARGE // 256)
    with Backend(echo) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(window_update(0, 1 << 30))
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", ("content-length", str(LARGE)), method="POST")))
        client.send(window_update(1, 1 << 30))
        allowed, sent = 65535, 0
        while sent < LARGE:
            piece = body[sent : sent + min(16384, allowed)]
            if not piece:
                got = client.until(lambda got: got.kind == WINDOW_UPDATE and got.stream == 1)
                assert got is not None
                allowed += struct.unpack(">I", got.payload)[0]
                continue
            sent, allowed = sent + len(piece), allowed - len(piece)
            client.send(frame(DATA, END_STREAM if sent == LARGE else 0, 1, piece))
        assert client.response(1).body == body
        assert max(len(got.payload) for got in client.all_of(DATA)) <= 16384


def test_a_client_sends_more_than_its_window() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))
        client.send(*[frame(DATA, 0, 1, bytes(16384)) for _ in range(40)])
        assert client.fault()[1] in (3,)


def test_trailers_of_a_request() -> None:
    with Backend() as backend, http(backend, trailers=True) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))
        client.send(frame(DATA, 0, 1, b"body"))
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block(("x-sum", "1"))))
        assert client.response(1).status == "200"
        assert backend.bodies[0].endswith(b"0\r\nx-sum: 1\r\n\r\n")


def test_expect_100_continue() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        echo(connection, head, body)

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        fields = (("content-length", "4"), ("expect", "100-continue"))
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", *fields, method="POST")))
        client.send(frame(DATA, END_STREAM, 1, b"body"))
        assert client.response(1).body == b"body"


# --- responses ----------------------------------------------------------------------------------------------------------


def test_head_and_responses_without_a_body_end_with_their_head() -> None:
    raw = b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
    with Backend(answering(raw)) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        response = client.response(1)
        assert (response.status, response.heads[0]["x-a"], response.body) == ("204", "b", b"")
        assert not client.all_of(DATA)


def test_what_is_about_a_connection_stays_there() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nX-Yours: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    with Backend(answering(raw)) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        response = client.response(1)
        assert response.body == b"abc"
        assert response.heads[0]["x-yours"] == "2"
        assert not {"connection", "keep-alive", "x-mine", "transfer-encoding"} & set(response.heads[0])


@pytest.mark.parametrize("cut", [None, 5, 30])
def test_trailers_of_a_chunked_response(cut: int | None) -> None:
    body = b"5\r\nhello\r\n0\r\nX-Sum: abc\r\nX-Two: 2\r\n\r\n"

    def script(connection: socket.socket, head: bytes, _: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + body[:cut])
        if cut:
            time.sleep(0.05)  # so that it comes in two reads
            connection.sendall(body[cut:])

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        response = client.response(1)
        assert response.body == b"hello"
        assert response.heads[-1] == {"x-sum": "abc", "x-two": "2"}


def test_interim_responses() -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with (
        Backend(answering(raw)) as backend,
        http(backend, listener={"early_hints": "always"}) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1)
        response = client.response(1)
        assert [head[":status"] for head in response.heads] == ["103", "200"]
        assert response.heads[0]["link"] == "</a>"
        assert response.body == b"ok"


def test_a_body_that_ends_with_its_connection() -> None:
    raw = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
    with Backend(answering(raw, end=True)) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        assert client.response(1).body == b"until the end"


def test_a_response_that_breaks_off_resets_its_stream_alone() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    with Backend(answering(raw, end=True)) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1)
        with pytest.raises(ConnectionResetError):
            client.response(1)
        assert client.ping()


def test_a_head_larger_than_a_frame() -> None:
    value = b"v" * 30000
    raw = b"HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: 2\r\n\r\nok" % value
    with (
        Backend(answering(raw)) as backend,
        http(backend, max_response_header_bytes="64k") as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1)
        response = client.response(1)
        assert response.heads[0]["x-long"] == value.decode()
        assert client.all_of(CONTINUATION)


# --- the balancer's own responses -----------------------------------------------------------------------------------------


def test_no_backend_is_a_503() -> None:
    with http(listener={}, queue=0) as lb, H2Client(lb.address) as client:
        client.ask(1)
        response = client.response(1)
        assert response.status == "503"
        assert b"503" in response.body
        assert response.heads[0]["content-length"] == str(len(response.body))
        client.ask(3, method="HEAD")
        assert client.response(3).body == b""


def test_a_header_list_that_is_too_large_is_refused_alone() -> None:
    with Backend() as backend, http(backend, listener={"max_header_bytes": "4k"}) as lb, H2Client(lb.address) as client:
        client.ask(1, "/", *[(f"x-{i}", "y" * 700) for i in range(20)])
        assert client.response(1).status == "431"
        client.ask(3, "/", ("x-0", "y" * 1000))
        assert client.response(3).status == "200"
        assert len(backend.heads) == 1


def test_a_header_list_without_end_ends_the_connection() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_STREAM, 1, client.head()))
        for _ in range(200):
            client.send(frame(CONTINUATION, 0, 1, b"\x10\x01x\x01y" * 3000))
            if client.closed:
                break
        assert client.fault() == ("connection", ENHANCE_YOUR_CALM)


def test_a_body_that_is_too_large_is_a_413() -> None:
    with Backend() as backend, http(backend, listener={"max_body": 1000}) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", ("content-length", "2000"), method="POST")))
        assert client.response(1).status == "413"
        assert client.until(lambda got: got.kind == RST_STREAM) == (RST_STREAM, 0, 1, bytes(4))
        client.ask(3)
        assert client.response(3).status == "200"


def test_host_that_differs_from_authority_is_a_400() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.ask(1, "/", ("host", "b.example"))
        assert client.response(1).status == "400"
        client.ask(3, "/", ("host", "A.example"))
        assert client.response(3).status == "200"
        assert field(backend.heads[0], b"Host") == b"a.example"


def test_connect_is_refused() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.block((":method", "CONNECT"), (":authority", "a.example:443"))))
        assert client.response(1).status in ("400", "501")
        assert not backend.heads


# --- streams beside each other -----------------------------------------------------------------------------------------------


def test_a_hundred_streams_at_once() -> None:
    with Backend(name=b"hello") as backend, http(backend) as lb, H2Client(lb.address) as client:
        for stream in range(1, 201, 2):
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, client.head(f"/{stream}")))
        ended = {
            got.stream for _ in range(100) if (got := client.until(lambda got: got.kind == DATA and got.flags == END_STREAM))
        }
        assert len(ended) == 100
        assert len(backend.heads) == 100


def test_a_slow_stream_holds_up_no_other() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        size = 300_000 if b"/slow" in head else 5
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, bytes(size)))

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(window_update(0, 1 << 30))
        client.ask(1, "/slow")  # gets 65535 bytes, and no window for more
        client.ask(3, "/quick")
        assert len(client.response(3).body) == 5
        client.send(window_update(1, 1 << 30))


def test_streams_share_a_connection_in_turns() -> None:
    """Neither of two long responses is sent whole before the other."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address, (INITIAL_WINDOW_SIZE, 1 << 24)) as client:
        client.ask(1)
        client.ask(3)
        client.until(lambda got: len(client.all_of(HEADERS)) == 2)  # both have begun
        client.send(window_update(0, 1 << 30))
        client.until(lambda got: got.kind == DATA and got.flags == END_STREAM)
        client.until(lambda got: got.kind == DATA and got.flags == END_STREAM)
        order = [got.stream for got in client.all_of(DATA)]
        first_end = max(order.index(1), order.index(3))
        assert first_end < len(order) // 2


@pytest.mark.parametrize("streams", [1, 3])
def test_a_client_whose_socket_takes_little_gets_all(streams: int) -> None:
    """Frames are cut in the middle by what its socket takes, and go on there."""
    body = bytes(range(256)) * (LARGE // 256)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with Backend(answering(raw)) as backend, http(backend) as lb:
        pairs = (INITIAL_WINDOW_SIZE, 1 << 24)
        with H2Client(lb.address, pairs, sock=narrow(lb.address)) as client:
            client.send(window_update(0, 1 << 30))
            for at in range(streams):
                client.ask(2 * at + 1)
            bodies = {2 * at + 1: b"" for at in range(streams)}
            ended = 0
            while ended < streams:
                got = client.receive()
                assert got is not None
                if got.kind == DATA:
                    bodies[got.stream] += got.payload
                    ended += got.flags & END_STREAM
            assert all(got == body for got in bodies.values())
