"""WebSocket of clients of HTTP/2 before backends of HTTP/2 that take extended CONNECT (RFC 8441): scripted ones, hypercorn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from h2_backends import Call, H2Backend, Talk
from h2_frames import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, H2Client, frame, reset
from harness import free_port, wait_for
from http_balancers import figure, http
from real_peers import running

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_PROTOCOL = (8, 1)
WEBSOCKET = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a.example"),
    ("sec-websocket-version", "13"),
)


def agree(talk: Talk, stream: int) -> None:
    """A backend that takes it, and speaks first."""
    talk.send(talk.head(stream, (":status", "200"), ("sec-websocket-protocol", "chat")), frame(DATA, 0, stream, b"first"))


def silent(call: Call) -> None:
    """The end of a tunnel is no request."""


def ask(client: H2Client, stream: int = 1) -> None:
    client.send(frame(HEADERS, END_HEADERS, stream, client.block(*WEBSOCKET)))


def data(client: H2Client) -> bytes:
    """The next that is not empty."""
    got = client.until(lambda got: got.kind == DATA and bool(got.payload))
    assert got
    return got.payload


def test_it_goes_as_extended_connect_and_carries_bytes_both_ways() -> None:
    with H2Backend(silent, on_head=agree, settings=(CONNECT_PROTOCOL,)) as backend, http(backend, protocol="h2") as lb:
        with H2Client(lb.address) as client:
            ask(client)
            assert data(client) == b"first"
            head = dict(client.decoder.decode(client.all_of(HEADERS)[0].payload))
            assert (head[":status"], head["sec-websocket-protocol"], head["via"]) == ("200", "chat", "2.0 lbcore")
            assert not {"content-length", "transfer-encoding"} & set(head)
            for size in (5, 50_000):
                client.send(*(frame(DATA, 0, 1, b"x" * min(10_000, size)) for _ in range(max(1, size // 10_000))))
                wait_for(lambda size=size: sum(len(got.payload) for got in backend.all_of(DATA)) >= size, "all has come")
            backend.talks[0].send(frame(DATA, 0, 1, b"second"))
            assert data(client) == b"second"
            client.send(frame(DATA, END_STREAM, 1, b"bye"))
            wait_for(lambda: backend.all_of(DATA)[-1].flags & END_STREAM, "the end goes on")
            backend.talks[0].send(frame(DATA, END_STREAM, 1, b"bye"))
            assert data(client) == b"bye"
            asked = backend.heads[0]
            assert (asked[":method"], asked[":protocol"], asked[":path"]) == ("CONNECT", "websocket", "/chat")
            assert not {"sec-websocket-key", "upgrade", "connection"} & set(asked)
        assert (figure(lb, "upgrades"), figure(lb, "requests_done")) == (1, 1)


def test_a_second_one_shares_the_connection() -> None:
    with H2Backend(silent, on_head=agree, settings=(CONNECT_PROTOCOL,)) as backend, http(backend, protocol="h2") as lb:
        with H2Client(lb.address) as client:
            for stream in (1, 3):
                ask(client, stream)
                assert data(client) == b"first"
            assert len(backend.talks) == 1


def test_a_client_that_resets_it_is_gone_for_the_backend() -> None:
    with H2Backend(silent, on_head=agree, settings=(CONNECT_PROTOCOL,)) as backend, http(backend, protocol="h2") as lb:
        with H2Client(lb.address) as client:
            ask(client)
            assert data(client) == b"first"
            client.send(reset(1, CANCEL))
            wait_for(lambda: backend.all_of(RST_STREAM), "the backend is told")


def test_a_backend_that_refuses_it_is_heard() -> None:
    def refuse(talk: Talk, stream: int) -> None:
        talk.send(talk.head(stream, (":status", "403"), ("content-length", "2")), frame(DATA, END_STREAM, stream, b"no"))

    with H2Backend(silent, on_head=refuse, settings=(CONNECT_PROTOCOL,)) as backend, http(backend, protocol="h2") as lb:
        with H2Client(lb.address) as client:
            ask(client)
            response = client.response(1)
            assert (response.status, response.body) == ("403", b"no")


def test_a_backend_that_does_not_announce_it_gets_a_mere_get() -> None:
    with H2Backend() as backend, http(backend, protocol="h2") as lb, H2Client(lb.address) as client:
        ask(client)
        assert client.response(1).status == "200"
        assert backend.heads[0][":method"] == "GET"
        assert ":protocol" not in backend.heads[0]


APP = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
"""


def test_hypercorn_echoes(tmp_path: Path) -> None:
    pytest.importorskip("hypercorn")
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    line = [sys.executable, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", "app:app"]
    with running(line, port, tmp_path), http(f"127.0.0.1:{port}", protocol="h2") as lb, H2Client(lb.address) as client:
        ask(client)
        client.send(frame(DATA, 0, 1, b"\x81\x85\0\0\0\0hello"))  # a text of five bytes, its mask of zeros
        assert data(client) == b"\x81\x05HELLO"
        client.send(reset(1, CANCEL))
