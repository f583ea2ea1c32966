"""Requests between HTTP/1.1 and HTTP/2, both ways: all the bytes that a backend gets are looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from h2_backends import H2Backend, h2
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, frame
from harness import wait_for
from http_balancers import http
from http_peers import Backend, Client, field, fields

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from lbcore import Balancer

WHOLE = END_HEADERS | END_STREAM
METHOD, SCHEME, PATH, AUTHORITY = (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")
POST = (":method", "POST")
EVIL = b"GET /evil HTTP/1.1\r\nHost: b\r\n\r\n"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as peer:
        yield peer


@pytest.fixture(scope="module")
def lb(backend: Backend) -> Iterator[Balancer]:
    with http(backend, trailers=True) as balancer:
        yield balancer


def told(client: H2Client, stream: int) -> str:
    """The status of a response, or the error of a reset."""
    try:
        return client.response(stream).status
    except ConnectionResetError as error:
        return f"reset {error}"


# --- HTTP/2 to HTTP/1.1 -------------------------------------------------------------------------------------------------------

TARGETS = {
    "a fragment": (PATH[0], "/a#evil"),
    "a byte above ASCII": (PATH[0], "/\xff"),
    "a DEL": (PATH[0], "/\x7f"),
    "a tab": (PATH[0], "/\tHTTP/1.1"),
    "a NUL": (PATH[0], "/\0evil"),
    "a scheme and a host": (PATH[0], "https://b.example/evil"),
    "a host and a port": (PATH[0], "b.example:80"),
    "the preface's": (PATH[0], "*"),
}
AUTHORITIES = {
    "a user": "evil@a.example",
    "two names": "a.example, b.example",
    "a path": "a.example/evil",
    "a query": "a.example?evil",
    "a fragment": "a.example#evil",
    "a port of words": "a.example:evil",
    "half an address": "[::1",
    "a blank": "a.example evil",
    "a backslash": "a.example\\evil",
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_servers_read_differently_reaches_nobody(lb: Balancer, backend: Backend, name: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, WHOLE, 1, client.block(METHOD, SCHEME, TARGETS[name], AUTHORITY)))
        assert told(client, 1) in ("reset 1", "400")
        client.ask(3)
        assert told(client, 3) == "200"
    assert len(backend.heads) == before + 1
    assert b"evil" not in backend.heads[-1] + backend.raw


@pytest.mark.parametrize("name", AUTHORITIES)
@pytest.mark.parametrize("how", [":authority", "host"])
def test_an_authority_that_is_none_reaches_nobody(lb: Balancer, backend: Backend, name: str, how: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, WHOLE, 1, client.block(METHOD, SCHEME, PATH, (how, AUTHORITIES[name]))))
        assert told(client, 1) in ("reset 1", "400")
        client.ask(3)
        assert told(client, 3) == "200"
    assert len(backend.heads) == before + 1
    assert b"evil" not in backend.heads[-1] + backend.raw


@pytest.mark.parametrize("path", ["//b.example/x", "/a?b=http://c/", "/%0d%0aX-Evil:%201", "/a;b=c/../d", "/\\b"])
def test_a_path_goes_on_byte_by_byte(lb: Balancer, backend: Backend, path: str) -> None:
    with H2Client(lb.address) as client:
        client.ask(1, path)
        assert told(client, 1) == "200"
    assert backend.heads[-1].split(b"\r\n")[0] == b"GET %s HTTP/1.1" % path.encode()
    assert field(backend.heads[-1], b"Host") == b"a.example"


@pytest.mark.parametrize("method", ["PRI", "CONNECT", "get", "GET/", "M-SEARCH"])
def test_a_method_is_one_word_and_no_preface(lb: Balancer, backend: Backend, method: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, WHOLE, 1, client.block((":method", method), SCHEME, PATH, AUTHORITY)))
        told(client, 1)
        client.ask(3)
        assert told(client, 3) == "200"
    for head in backend.heads[before:]:
        assert re.fullmatch(rb"(GET|get|PRI|M-SEARCH) / HTTP/1\.1", head.split(b"\r\n")[0]), head


LENGTHS = {
    "over 2^64": ("18446744073709551621",),
    "in hexadecimal": ("0x5",),
    "two that differ": ("5", "50"),
    "a list that differs": ("5, 50",),
    "negative": ("-5",),
    "with a point": ("5.0",),
    "of nothing": ("",),
    "in other digits": ("\u0665",),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_that_servers_read_differently_reaches_nobody(lb: Balancer, backend: Backend, name: str) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        more = [("content-length", value) for value in LENGTHS[name]]
        client.send(frame(HEADERS, END_HEADERS, 1, client.block(POST, SCHEME, PATH, AUTHORITY, *more)))
        client.send(frame(DATA, END_STREAM, 1, b"hello"))
        assert told(client, 1) in ("reset 1", "400")
        client.ask(3)
        assert told(client, 3) == "200"
    assert len(backend.heads) == before + 1


@pytest.mark.parametrize("values", [("5", "5"), ("5, 5",), ("005",)])
def test_a_length_that_says_the_same_twice_frames_the_body_once(
    lb: Balancer, backend: Backend, values: tuple[str, ...]
) -> None:
    before = len(backend.heads)
    with H2Client(lb.address) as client:
        more = [("content-length", value) for value in values]
        client.send(frame(HEADERS, END_HEADERS, 1, client.block(POST, SCHEME, PATH, AUTHORITY, *more)))
        client.send(frame(DATA, END_STREAM, 1, b"hello"))
        said = told(client, 1)
    if said == "200":
        assert [int(value) for value in fields(backend.heads[-1], b"Content-Length")] == [5]
        assert backend.bodies[-1] == b"hello"
    else:
        assert (said, len(backend.heads)) in [("400", before), ("reset 1", before)]


@pytest.mark.parametrize(
    "name", ["content-length", "transfer-encoding", "host", "te", "connection", ":path", "Upper", "x\r\ny"]
)
def test_trailers_that_frame_or_route_reach_nobody(lb: Balancer, backend: Backend, name: str) -> None:
    with H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")), frame(DATA, 0, 1, b"hello"))
        client.send(frame(HEADERS, WHOLE, 1, client.block((name, "5"), ("x-sum", "1"))))
        assert told(client, 1) == "reset 1"
        client.ask(3)
        assert told(client, 3) == "200"
    assert all(b"x-sum" not in body for body in backend.bodies)


def test_crumbs_are_one_cookie(lb: Balancer, backend: Backend) -> None:
    with H2Client(lb.address) as client:
        client.ask(1, "/", ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4"))
        assert told(client, 1) == "200"
    assert fields(backend.heads[-1], b"Cookie") == [b"a=1; b=2; c=3; d=4"]


def declining(connection: socket.socket, head: bytes, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "H2C"])
def test_what_follows_a_refused_tunnel_is_no_request(protocol: str) -> None:
    """DATA that comes before the backend has switched would be read as its next request."""
    with Backend(declining) as backend, http(backend) as lb, H2Client(lb.address) as client:
        asked = client.block((":method", "CONNECT"), (":protocol", protocol), SCHEME, PATH, AUTHORITY)
        client.send(frame(HEADERS, END_HEADERS, 1, asked), frame(DATA, 0, 1, EVIL), frame(DATA, END_STREAM, 1, EVIL))
        told(client, 1)
        for stream in (3, 5):
            client.ask(stream, f"/{stream}")
            assert told(client, stream) == "200"
        wait_for(lambda: len(backend.heads) >= 2, "the others came")
        assert not any(b"evil" in head for head in backend.heads)
        assert b"evil" not in backend.raw + b"".join(backend.bodies)
        assert not any(b"h2c" in head.lower() for head in backend.heads)


# --- HTTP/1.1 to HTTP/2 -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def peer() -> Iterator[H2Backend]:
    with H2Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def to_h2(peer: H2Backend) -> Iterator[Balancer]:
    with h2(peer, trailers=True) as balancer:
        yield balancer


ASKED = {
    "both framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\n" + EVIL,
    "a coding that is unknown": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "chunked that is not last": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n" + EVIL,
    "a blank before a colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 30\r\n\r\n" + EVIL,
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n evil: 1\r\n\r\n",
    "a bare CR": b"GET / HTTP/1.1\r\nHost: a\r\nX: y\revil: 1\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0evil\r\n\r\n",
    "a pseudo-header": b"GET / HTTP/1.1\r\nHost: a\r\n:path: /evil\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: evil\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a chunk of a strange size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nevil!\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", ASKED)
def test_an_ambiguous_request_of_http1_reaches_no_backend_of_http2(to_h2: Balancer, peer: H2Backend, name: str) -> None:
    before = len(peer.heads)
    with Client(to_h2.address) as client:
        client.send(ASKED[name])
        assert client.answer().status in (400, 501)
        assert client.ends()
    with Client(to_h2.address) as client:
        assert client.get().status == 200
    assert [head for head in peer.heads[before:] if "evil" in str(head)] == []
    assert len(peer.heads) <= before + 2


def test_what_is_of_a_connection_stays_there(to_h2: Balancer, peer: H2Backend) -> None:
    with Client(to_h2.address) as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Own, HTTP2-Settings, Upgrade\r\nX-Own: 1\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nProxy-Connection: close\r\nKeep-Alive: timeout=5\r\n"
            b"TE: gzip, trailers\r\n\r\n"
        )
        assert client.answer().status == 200
    kept = {"connection", "x-own", "upgrade", "http2-settings", "proxy-connection", "keep-alive", "host"}
    assert not kept & set(peer.heads[-1])
    assert peer.heads[-1].get("te", "trailers") == "trailers"


def test_an_absolute_target_names_the_authority(to_h2: Balancer, peer: H2Backend) -> None:
    with Client(to_h2.address) as client:
        client.send(b"GET http://b.example/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n")
        if client.answer().status == 200:
            assert (peer.heads[-1][":authority"], peer.heads[-1][":path"]) == ("b.example", "/x?y")
        client.send(b"GET http://b.example/evil HTTP/1.1\r\nHost: a.example\r\n\r\n")
        status = client.answer().status
    assert status == 400 or (peer.heads[-1][":authority"], peer.heads[-1][":path"]) == ("b.example", "/evil")


def test_a_body_that_looks_like_frames_stays_a_body(to_h2: Balancer, peer: H2Backend) -> None:
    evil = frame(HEADERS, WHOLE, 99, b"\x82\x84\x86") + EVIL
    with Client(to_h2.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(evil), evil))
        assert client.answer().status == 200
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(evil), evil)
        )
        assert client.answer().status == 200
    assert [call.body for call in peer.calls[-2:]] == [evil, evil]
