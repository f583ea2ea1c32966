"""Responses of HTTP/2 backends that mean one thing in frames and another in HTTP/1.1: no client takes one for two."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from h2_backends import Call, H2Backend, h2
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, frame
from http_balancers import GET
from http_peers import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbcore import Balancer

EVIL = b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def head(*fields: tuple[str, str], end: bool = False) -> Callable[[Call], bytes]:
    return lambda call: call.talk.head(call.stream, *fields, end=end)


def with_body(body: bytes, *fields: tuple[str, str], status: str = "200") -> Callable[[Call], bytes]:
    """A head with these fields, and a body of this content."""
    return lambda call: call.talk.head(call.stream, (":status", status), *fields) + frame(DATA, END_STREAM, call.stream, body)


REFUSED: dict[str, Callable[[Call], bytes]] = {
    "a line break in a value": head((":status", "200"), ("x", "1\r\nX-Evil: 1"), end=True),
    "a bare line feed in a value": head((":status", "200"), ("x", "1\nX-Evil: 1"), end=True),
    "a NUL in a value": head((":status", "200"), ("x", "1\0X-Evil"), end=True),
    "a line break in a name": head((":status", "200"), ("x: 1\r\nx-evil", "1"), end=True),
    "a colon in a name": head((":status", "200"), ("x-evil: 1\r\nx", "1"), end=True),
    "a blank in a name": head((":status", "200"), ("content-length ", "0"), end=True),
    "a name in upper case": head((":status", "200"), ("X-Evil", "1"), end=True),
    "a status with words": head((":status", "200 OK\r\nX-Evil: 1"), end=True),
    "a status of four digits": head((":status", "2000"), end=True),
    "a status below 100": head((":status", "099"), end=True),
    "a status with a sign": head((":status", "+20"), end=True),
    "two statuses": head((":status", "200"), (":status", "404"), end=True),
    "transfer-encoding": head((":status", "200"), ("transfer-encoding", "chunked"), end=True),
    "connection": head((":status", "200"), ("connection", "close, x-evil"), end=True),
    "upgrade": head((":status", "200"), ("upgrade", "evil"), end=True),
    "two content-lengths": with_body(b"hello" + EVIL, ("content-length", "5"), ("content-length", "6")),
    "content-length of words": with_body(b"hello", ("content-length", "5, 5x")),
    "content-length with a sign": with_body(b"hello", ("content-length", "+5")),
    "content-length that is too short": with_body(b"hello" + EVIL, ("content-length", "5")),
    "a switch of protocols": head((":status", "101"), ("x", "y")),
    "a request's pseudo-header": head((":status", "200"), (":path", "/evil"), end=True),
}


@pytest.fixture(scope="module")
def backend() -> Iterator[H2Backend]:
    with H2Backend() as peer:
        yield peer


@pytest.fixture(scope="module")
def lb(backend: H2Backend) -> Iterator[Balancer]:
    with h2(backend) as balancer:
        yield balancer


def all_that_comes(lb: Balancer, backend: H2Backend, bad: Callable[[Call], bytes], first: bytes = GET) -> bytes:
    """What a client of HTTP/1.1 reads that asks for this and then, on the same connection, for another page."""

    def script(call: Call) -> None:
        if call.head[":path"] == "/next":
            call.talk.answer(call.stream, b"the next one")
        else:
            call.talk.send(bad(call))

    backend.script = script
    with Client(lb.address) as client:
        client.send(first + NEXT)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while some := client.socket.recv(65536):
                got += some
        return got


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_response_is_none(lb: Balancer, backend: H2Backend, name: str) -> None:
    got = all_that_comes(lb, backend, REFUSED[name])
    assert b"evil" not in got.lower()
    if name != "content-length that is too short":  # its head is well, and may be out before the fault shows
        assert got.startswith(b"HTTP/1.1 502 ")
        assert got.endswith(b"the next one")


def test_a_body_longer_than_its_length_ends_where_it_says(lb: Balancer, backend: H2Backend) -> None:
    def in_parts(call: Call) -> bytes:
        call.talk.send(
            call.talk.head(call.stream, (":status", "200"), ("content-length", "5")), frame(DATA, 0, call.stream, b"he")
        )
        return frame(DATA, 0, call.stream, b"llo" + EVIL) + frame(DATA, END_STREAM, call.stream, EVIL)

    got = all_that_comes(lb, backend, in_parts)
    assert b"evil" not in got.lower()
    assert got.count(b"HTTP/1.1 ") <= 2


def test_a_body_shorter_than_its_length_ends_with_its_connection(lb: Balancer, backend: H2Backend) -> None:
    """What follows on the connection would be taken for the rest."""
    got = all_that_comes(lb, backend, with_body(b"he", ("content-length", "500")))
    assert b"the next one" not in got or got.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("status", ["204", "304"])
def test_a_body_where_none_may_be_is_dropped(lb: Balancer, backend: H2Backend, status: str) -> None:
    got = all_that_comes(lb, backend, with_body(EVIL, status=status))
    assert b"evil" not in got.lower()


def test_a_body_behind_head_is_dropped(lb: Balancer, backend: H2Backend) -> None:
    first = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"evil" not in all_that_comes(lb, backend, with_body(EVIL), first).lower()
    assert b"evil" not in all_that_comes(lb, backend, with_body(EVIL, ("content-length", str(len(EVIL)))), first).lower()


def test_a_body_that_looks_like_a_response_stays_a_body(lb: Balancer, backend: H2Backend) -> None:
    got = all_that_comes(lb, backend, with_body(b"0\r\n\r\n" + EVIL))
    assert b"\r\n%x\r\n0\r\n\r\n" % (len(EVIL) + 5) in got
    assert got.endswith(b"the next one")


@pytest.mark.parametrize("field", ["content-length", "transfer-encoding", "host", ":status", "Upper", "x\r\nx-evil"])
def test_trailers_that_frame_or_route_are_not_passed(lb: Balancer, backend: H2Backend, field: str) -> None:
    def answers(call: Call) -> bytes:
        return (
            call.talk.head(call.stream, (":status", "200"))
            + frame(DATA, 0, call.stream, b"hello")
            + frame(HEADERS, END_HEADERS | END_STREAM, call.stream, call.talk.encoder.encode([(field, "1"), ("x-sum", "5")]))
        )

    got = all_that_comes(lb, backend, answers)
    last = got.partition(b"hello\r\n")[2].partition(b"HTTP/1.1 ")[0]
    assert field.encode().lower() + b": 1" not in last.lower()
    assert b"evil" not in got.lower()


def test_a_malformed_response_resets_a_stream_of_http2_alone(lb: Balancer, backend: H2Backend) -> None:
    def script(call: Call) -> None:
        if call.head[":path"] == "/":
            call.talk.answer(call.stream)
        else:
            call.talk.send(REFUSED["a line break in a value"](call))

    backend.script = script
    with H2Client(lb.address) as client:
        client.ask(1, "/bad")
        client.ask(3)
        assert client.response(1).status == "502"
        assert client.ping()
