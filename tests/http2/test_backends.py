"""Backends that speak HTTP/2, by raw frames: what they get, and what clients get of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import MESSAGE, Call, H2Backend, Talk, answer_call, h2
from h2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    H2Client,
    frame,
    settings,
    window_update,
)
from harness import wait_for
from http_balancers import GET, POST
from http_peers import Client, field

if TYPE_CHECKING:
    from collections.abc import Callable

# --- what a backend gets ------------------------------------------------------------------------------------------------------


def test_a_request_has_pseudo_headers_and_nothing_of_its_connection() -> None:
    with H2Backend() as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(
            b"GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nX-One: 1\r\nConnection: keep-alive, X-Two\r\nX-Two: 2\r\n"
            b"TE: trailers\r\nCookie: a=1\r\n\r\n"
        )
        response = client.answer()
        assert (response.status, response.body) == (200, b"ok")
        names = [name for name, _ in backend.calls[0].fields]
        got = backend.calls[0].head
        assert names[:4] == [":method", ":scheme", ":path", ":authority"]
        assert (got[":method"], got[":scheme"], got[":path"], got[":authority"]) == ("GET", "http", "/a?b", "A.example:80")
        assert (got["te"], got["cookie"], got["x-one"]) == ("trailers", "a=1", "1")
        assert not {"host", "connection", "keep-alive", "x-two", "transfer-encoding", "upgrade"} & set(names)
        assert all(name == name.lower() for name in names)
        assert not any(got.flags & 8 for got in backend.frames if got.kind in (DATA, HEADERS)), "never padded"


def test_bodies_by_length_and_in_chunks_arrive_as_data() -> None:
    with (
        H2Backend(lambda call: call.talk.answer(call.stream, call.body)) as backend,
        h2(backend) as lb,
        Client(lb.address) as client,
    ):
        large = bytes(range(256)) * 1200
        backend.script = lambda call: call.talk.answer(call.stream, b"%d" % len(call.body))
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
        assert client.answer().body == b"%d" % len(large)
        assert backend.calls[0].body == large
        backend.script = lambda call: call.talk.answer(call.stream, call.body)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.send(b"4\r\ndefg\r\n0\r\n\r\n")
        assert client.answer().body == b"abcdefg"
        assert "content-length" not in backend.calls[1].head


def test_a_small_window_is_kept_and_a_smaller_setting_makes_it_negative() -> None:
    """grpclib 0.4.9 changes its window in mid-connection."""

    def on_head(talk: Talk, stream: int) -> None:
        if stream == 3:
            talk.send(settings((INITIAL_WINDOW_SIZE, 5)))

    with (
        H2Backend(settings=((INITIAL_WINDOW_SIZE, 10),), on_head=on_head, opens_windows=False) as backend,
        h2(backend) as lb,
        Client(lb.address) as client,
    ):
        client.get()
        backend.script = lambda call: call.talk.answer(call.stream, call.body)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n" + b"x" * 30)
        wait_for(lambda: len([got for got in backend.all_of(SETTINGS) if got.flags & ACK]) == 2, "the new setting is heeded")
        assert sum(len(got.payload) for got in backend.all_of(DATA)) == 10, "now there is room for minus five"
        backend.talks[0].send(window_update(3, 4), frame(PING, payload=b"12345678"))
        wait_for(lambda: backend.all_of(PING), "what was sent is read")
        assert sum(len(got.payload) for got in backend.all_of(DATA)) == 10
        backend.talks[0].send(window_update(3, 40))
        assert client.answer().body == b"x" * 30


@pytest.mark.parametrize("passes", [True, False])
def test_trailers_of_requests_end_the_stream_where_the_pool_takes_them(passes: bool) -> None:
    with H2Backend() as backend, h2(backend, trailers=passes) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        client.send(b"0\r\nX-Sum: 5\r\nX-More: 6\r\n\r\n")
        assert client.answer().body == b"ok"
        assert backend.calls[0].body == b"hi"
        assert (backend.calls[0].fields == [("x-sum", "5"), ("x-more", "6")]) == passes
        with H2Client(lb.address) as other:
            other.send(frame(HEADERS, END_HEADERS, 1, other.head(method="POST")), frame(DATA, 0, 1, b"hi"))
            other.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, other.block(("x-sum", "7"))))
            assert other.response(1).body == b"ok"
        assert (backend.calls[1].fields == [("x-sum", "7")]) == passes


def test_pings_are_acknowledged_at_once() -> None:
    """grpcio 1.85.1 ends a connection that does not, and while it stops calls fail in between."""

    def script(call: Call) -> None:
        call.talk.send(frame(PING, payload=b"12345678"))
        call.talk.answer(call.stream)

    with H2Backend(script) as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(GET)
        client.answer()
        wait_for(
            lambda: [got.payload for got in backend.all_of(PING) if got.flags & ACK] == [b"12345678"], "the ping is answered"
        )


# --- connections --------------------------------------------------------------------------------------------------------------


def ask_all(lb: Any, count: int) -> list[Client]:
    clients = [Client(lb.address) for _ in range(count)]
    for client in clients:
        client.send(GET)
    return clients


def test_one_connection_carries_many_requests() -> None:
    held: list[Call] = []
    with H2Backend(held.append) as backend, h2(backend) as lb:
        clients = ask_all(lb, 20)
        wait_for(lambda: len(held) == 20, "all requests come")
        assert len(backend.talks) == 1
        for call in held:
            call.talk.answer(call.stream, b"%d" % call.stream)
        assert {client.answer().body for client in clients} == {b"%d" % call.stream for call in held}
        for client in clients:
            client.close()


def test_no_more_streams_than_announced() -> None:
    """hypercorn, nghttpx, grpclib and Envoy end the connection for one more."""
    held: list[Call] = []
    with H2Backend(settings=((MAX_CONCURRENT_STREAMS, 2),)) as backend, h2(backend) as lb:
        with Client(lb.address) as first:
            first.send(GET)
            first.answer()
        backend.script = held.append  # type: ignore[assignment]
        clients = ask_all(lb, 6)
        wait_for(lambda: len(held) == 6, "all requests come")
        by_talk = [sum(call.talk is talk for call in held) for talk in backend.talks]
        assert by_talk[0] <= 2, by_talk
        for call in held:
            call.talk.answer(call.stream)
        for client in clients:
            client.answer()
            client.close()


def test_no_streams_at_all_in_mid_connection_means_a_new_connection() -> None:
    """hypercorn 0.18.0 says so when it stops."""

    def script(call: Call) -> None:
        if len(call.talk.backend.talks) == 1:
            call.talk.send(settings((MAX_CONCURRENT_STREAMS, 0)))
        call.talk.answer(call.stream)

    with H2Backend(script) as backend, h2(backend) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(GET)
            client.answer()
        assert len(backend.talks) == 2


def test_an_idle_connection_ends_with_goaway() -> None:
    with H2Backend() as backend, h2(backend, backend_idle_timeout="100ms") as lb, Client(lb.address) as client:
        client.send(GET)
        client.answer()
        assert not backend.all_of(GOAWAY), "none while a stream may run"
        wait_for(lambda: backend.all_of(GOAWAY), "the idle connection ends")


# --- responses ----------------------------------------------------------------------------------------------------------------


def test_trailers_reach_a_client_of_http1_in_its_last_chunk() -> None:
    with H2Backend(answer_call) as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(POST)
        head = client.reader.head()
        assert head
        assert field(head, b"Transfer-Encoding") == b"chunked"
        body = b"7\r\n" + MESSAGE + b"\r\n0\r\ngrpc-status: 0\r\ngrpc-message: \r\n\r\n"
        assert client.reader.exactly(len(body)) == body


def test_responses_without_a_body() -> None:
    def script(call: Call) -> None:
        status = call.head[":path"].removeprefix("/")
        call.talk.send(call.talk.head(call.stream, (":status", status), end=True))

    with H2Backend(script) as backend, h2(backend) as lb, Client(lb.address) as client:
        for status in (b"200", b"204", b"304", b"404"):
            client.send(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % status)
            response = client.answer()
            assert (response.status, response.body) == (int(status), b"")
        assert client.get("/200", method=b"HEAD").status == 200


BAD: dict[str, Callable[[Call], bytes]] = {
    "no status": lambda call: call.talk.head(call.stream, ("a", "b"), end=True),
    "upper case": lambda call: frame(HEADERS, END_HEADERS | END_STREAM, call.stream, b"\x88\x00\x01A\x01b"),
    "connection": lambda call: call.talk.head(call.stream, (":status", "200"), ("connection", "close"), end=True),
    "transfer-encoding": lambda call: call.talk.head(
        call.stream, (":status", "200"), ("transfer-encoding", "chunked"), end=True
    ),
    "a line in a value": lambda call: frame(HEADERS, END_HEADERS | END_STREAM, call.stream, b"\x88\x00\x01a\x04b\r\nc"),
    "101": lambda call: call.talk.head(call.stream, (":status", "101"), end=True),
    "DATA first": lambda call: frame(DATA, END_STREAM, call.stream, b"x"),
    "a pseudo-header behind": lambda call: call.talk.head(call.stream, ("a", "b"), (":status", "200"), end=True),
    "an interim end": lambda call: call.talk.head(call.stream, (":status", "103"), end=True),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_response_is_a_502_and_others_go_on(name: str) -> None:
    def script(call: Call) -> None:
        if call.head[":path"] == "/bad":
            call.talk.send(BAD[name](call))
        else:
            call.talk.answer(call.stream)

    with H2Backend(script) as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert client.answer().status == 502
        wait_for(lambda: [got.stream for got in backend.all_of(RST_STREAM)] == [1], "the backend hears of it")
        client.send(GET)
        assert client.answer().body == b"ok"
        assert len(backend.talks) == 1


FAULTS: dict[str, Callable[[Call], bytes]] = {
    "a stream of its own": lambda call: call.talk.head(2, (":status", "200"), end=True),
    "a stream that was not opened": lambda call: call.talk.head(99, (":status", "200"), end=True),
    "a broken header block": lambda call: frame(HEADERS, END_HEADERS, call.stream, b"\xff\xff\xff\xff\xff\xff"),
    "PUSH_PROMISE": lambda call: frame(5, END_HEADERS, call.stream, struct.pack(">I", 2) + b"\x82"),
    "a window without end": lambda call: window_update(0, 0x7FFFFFFF),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_connection_ends_it_with_goaway(name: str) -> None:
    with H2Backend(lambda call: call.talk.send(FAULTS[name](call))) as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(POST)
        assert client.answer().status == 502
        wait_for(lambda: [got.number for got in backend.all_of(GOAWAY) if got.number], "GOAWAY says so")


def test_a_head_that_is_too_large_is_a_502_for_its_request_alone() -> None:
    def script(call: Call) -> None:
        more = [("x-large", "y" * 3000)] if call.head[":path"] == "/large" else []
        call.talk.answer(call.stream, b"ok", *more)

    with H2Backend(script) as backend, h2(backend, max_response_header_bytes=2048) as lb, Client(lb.address) as client:
        for path, status in ((b"/large", 502), (b"/", 200), (b"/large", 502), (b"/", 200)):
            client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert client.answer().status == status
        assert len(backend.talks) == 1


def test_a_slow_client_holds_up_its_own_stream_only() -> None:
    def script(call: Call) -> None:
        if call.head[":path"] == "/":
            call.talk.answer(call.stream)
            return
        call.talk.send(call.talk.head(call.stream, (":status", "200")))
        for _ in range(4):
            call.talk.send(frame(DATA, 0, call.stream, b"z" * 16000))

    with (
        H2Backend(script) as backend,
        h2(backend) as lb,
        H2Client(lb.address, (INITIAL_WINDOW_SIZE, 0)) as slow,
        Client(lb.address) as client,
    ):
        slow.ask(1, "/large")
        wait_for(lambda: backend.calls, "the request comes")
        client.send(GET)
        assert client.answer().body == b"ok"
        opened = [struct.unpack(">I", got.payload)[0] for got in backend.all_of(WINDOW_UPDATE) if got.stream == 1]
        assert sum(opened) <= 65535, "what one buffer holds"
