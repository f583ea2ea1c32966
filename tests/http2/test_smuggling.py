"""Requests that mean one thing by HTTP/2 and another by HTTP/1.1 reach no backend. Streams that are reset at every stage."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest
from h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    H2Client,
    frame,
    reset,
    window_update,
)
from harness import wait_for
from http_balancers import figure, http
from http_peers import Backend, fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

BASE = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example"))


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as peer:
        yield peer


@pytest.fixture(scope="module")
def lb(backend: Backend) -> Iterator[Balancer]:
    with http(backend) as balancer:
        yield balancer


def but(**changed: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, changed.get(name[1:], value)) for name, value in BASE)


MALFORMED = {
    "a line break in a value": (*BASE, ("x", "1\r\nGET /evil HTTP/1.1\r\nHost: b\r\n\r\n")),
    "a bare line feed in a value": (*BASE, ("x", "1\nx-evil: 1")),
    "a NUL in a value": (*BASE, ("x", "1\x00")),
    "a line break in a name": (*BASE, ("x: 1\r\nx-evil", "1")),
    "a blank in a name": (*BASE, ("content-length ", "5")),
    "a colon in a name": (*BASE, ("transfer-encoding: chunked", "")),
    "an empty name": (*BASE, ("", "x")),
    "a blank before a value": (*BASE, ("x", " 1")),
    "transfer-encoding": (*BASE, ("transfer-encoding", "chunked")),
    "connection names a header": (*BASE, ("connection", "x-forwarded-for")),
    "upgrade": (*BASE, ("upgrade", "websocket")),
    "te: chunked": (*BASE, ("te", "chunked")),
    "a line break in the path": but(path="/ HTTP/1.1\r\nHost: b\r\n\r\nGET /evil"),
    "a blank in the path": but(path="/a b"),
    "a path without a slash": but(path="evil"),
    "an absolute path": but(path="http://b.example/"),
    "an asterisk of GET": but(path="*"),
    "a blank in the method": but(method="GET /evil HTTP/1.1\r\nx:"),
    "a line break in the authority": but(authority="a\r\nx-evil: 1"),
    "a blank in the authority": but(authority="a b"),
    "a line break in the scheme": but(scheme="http\r\nx: y"),
    "a method of nothing": but(method=""),
    "a second authority": (*BASE, (":authority", "b.example")),
    "a pseudo-header behind others": (*BASE, ("x", "y"), (":path", "/evil")),
    "protocol without CONNECT": (*BASE, (":protocol", "websocket")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_reach_no_backend(lb: Balancer, backend: Backend, name: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block(*MALFORMED[name])))
        assert client.fault() == ("stream", 1)
        client.ask(3)
        assert client.response(3).status == "200"
    assert len(backend.heads) == before + 1
    assert b"evil" not in b"".join(backend.heads[before:]) + backend.raw


REFUSED = {
    "two content-lengths": (*BASE, ("content-length", "5"), ("content-length", "6")),
    "a content-length of words": (*BASE, ("content-length", "5, 5x")),
    "a content-length with a sign": (*BASE, ("content-length", "+5")),
    "two hosts": (*but(authority="a.example"), ("host", "b.example")),
    "an authority with a user": but(authority="user@a.example"),
    "an authority with a path": but(authority="a.example/b"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_requests_reach_no_backend(lb: Balancer, backend: Backend, name: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.block(*REFUSED[name])))
        client.send(frame(DATA, END_STREAM, 1, b"hello"))
        try:
            told = client.response(1).status
        except ConnectionResetError as error:
            told = str(error)
        assert told in ("400", "1")
        client.ask(3)
        assert client.response(3).status == "200"
    assert len(backend.heads) == before + 1


def test_a_body_that_looks_like_a_request_stays_a_body(lb: Balancer, backend: Backend) -> None:
    evil = b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: b\r\n\r\n"
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))
        client.send(frame(DATA, END_STREAM, 1, evil))
        assert client.response(1).status == "200"
        client.ask(3, "/", ("content-length", str(len(evil))), method="POST", body=evil)
        assert client.response(3).status == "200"
    assert [head.split(b" ")[1] for head in backend.heads[before:]] == [b"/", b"/"]
    assert backend.bodies[before] == b"%x\r\n%s\r\n0\r\n\r\n" % (len(evil), evil)
    assert backend.bodies[before + 1] == evil


def test_a_length_that_is_wrong_never_ends_a_body(lb: Balancer, backend: Backend) -> None:
    """The backend's connection ends with it: what it got is no whole request."""
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", ("content-length", "10"), method="POST")))
        client.send(frame(DATA, 0, 1, b"12345"))
        wait_for(lambda: len(backend.heads) == before + 1, "it is under way")
        client.send(frame(DATA, END_STREAM, 1, b"678901"))
        assert client.fault() == ("stream", 1)
        client.ask(3)
        assert client.response(3).status == "200"
    wait_for(lambda: len(backend.bodies) == before + 2, "both have ended")
    assert len(backend.bodies[before]) < 10


def test_one_name_of_the_host_goes_on(lb: Balancer, backend: Backend) -> None:
    with H2Client(lb.address) as client:
        client.ask(1, "/", ("host", "a.example"))
        assert client.response(1).status == "200"
    assert fields(backend.heads[-1], b"Host") == [b"a.example"]


def test_what_a_stranger_says_of_its_way_is_dropped(lb: Balancer, backend: Backend) -> None:
    with H2Client(lb.address) as client:
        client.ask(1, "/", ("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-real-ip", "1.2.3.4"))
        assert client.response(1).status == "200"
    assert b"1.2.3.4" not in backend.heads[-1]


# --- churn ------------------------------------------------------------------------------------------------------------------


def slow_and_quick(connection: socket.socket, head: bytes, body: bytes) -> bool:
    path = head.split(b" ")[1]
    if path == b"/breaks":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        return True
    if path == b"/silent":
        return connection.recv(1) == b""
    size = 200_000 if path == b"/long" else 5
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, bytes(size)))
    return False


@pytest.mark.parametrize("seed", range(4))
def test_streams_reset_at_every_stage_leave_nothing_behind(seed: int) -> None:
    """The ledger, the buffers and the backends' charges are checked when the balancer stops (harness.balanced)."""
    drawn = random.Random(seed)
    paths = ["/", "/long", "/breaks", "/silent", "/long", "/"]
    with Backend(slow_and_quick) as backend, http(backend) as lb:
        for _ in range(6):
            with H2Client(lb.address) as client:
                for stream in range(1, 121, 2):
                    flags = END_HEADERS | (END_STREAM if drawn.random() < 0.7 else 0)
                    client.send(frame(HEADERS, flags, stream, client.head(drawn.choice(paths), method="POST")))
                    if not flags & END_STREAM:
                        client.send(frame(DATA, 0, stream, bytes(drawn.choice([0, 10, 20_000 % 16384]))))
                    if drawn.random() < 0.3:
                        client.send(reset(drawn.randrange(1, stream + 1, 2)))
                    if drawn.random() < 0.3:
                        client.send(window_update(0, 100_000), window_update(stream, 100_000))
                if drawn.random() < 0.7:
                    client.ping()
        wait_for(lambda: figure(lb, "http2_streams_active") == 0, "all streams are over")
        assert figure(lb, "http2_streams") > 100
