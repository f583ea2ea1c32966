"""Clients of HTTP/2 that ask for too much, what a listener speaks, and WebSocket over a stream (RFC 8441)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from h2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    H2Client,
    frame,
    reset,
    settings,
    window_update,
)
from http_balancers import http
from http_peers import Backend, Client, field

if TYPE_CHECKING:
    pass


# --- abuse --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, payload=bytes(8)),
        settings((INITIAL_WINDOW_SIZE, 65535)),
        window_update(0, 1),
        frame(2, 0, 1, bytes(5)),
        frame(DATA, 0, 1),
        frame(0xBE, 0, 0, b"x"),
    ],
    ids=["ping", "settings", "window", "priority", "empty data", "unknown"],
)
def test_cheap_frames_without_end(flood: bytes) -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))
        client.send(flood * 1500)
        assert client.fault() == ("connection", ENHANCE_YOUR_CALM)


def test_streams_that_are_reset_at_once_without_end() -> None:
    """CVE-2023-44487."""
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        for stream in range(1, 3001, 2):
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, client.head()), reset(stream))
            if client.closed:
                break
        assert client.fault() == ("connection", ENHANCE_YOUR_CALM)


def test_empty_continuations_without_end() -> None:
    """CVE-2024-27316 and its like."""
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_STREAM, 1, client.head()), frame(CONTINUATION, 0, 1) * 1500)
        assert client.fault() == ("connection", ENHANCE_YOUR_CALM)


def test_a_unary_call_of_grpcio_is_no_abuse() -> None:
    """Two WINDOW_UPDATE and a PING each (http2-peers.md, item 25)."""
    with Backend(name=b"hello") as backend, http(backend) as lb, H2Client(lb.address) as client:
        for stream in range(1, 2001, 2):
            client.ask(stream)
            client.send(window_update(0, 10), window_update(stream, 10), frame(PING, payload=bytes(8)))
            assert client.response(stream).body == b"hello"


def test_a_header_block_that_does_not_end_in_time() -> None:
    with Backend() as backend, http(backend, listener={"header_timeout": "300ms"}) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_STREAM, 1, client.head()))
        assert client.until(lambda got: got.kind == GOAWAY)
        assert client.receive() is None


# --- what is spoken -----------------------------------------------------------------------------------------------------------


def test_the_preface_in_pieces() -> None:
    with Backend(name=b"hello") as backend, http(backend) as lb, H2Client(lb.address, greet=False) as client:
        for byte in PREFACE + settings():
            client.send(bytes([byte]))
        assert client.until(lambda got: got.kind == SETTINGS)
        client.ask(1)
        assert client.response(1).body == b"hello"


def test_http_1_1_alone() -> None:
    with Backend() as backend, http(backend, listener={"protocols": ["http/1.1"]}) as lb:
        with Client(lb.address) as plain:
            plain.send(PREFACE)
            assert plain.answer().status == 505
        with Client(lb.address) as plain:
            assert plain.get().status == 200


def test_http_2_alone() -> None:
    with Backend() as backend, http(backend, listener={"protocols": ["h2"]}) as lb:
        with Client(lb.address) as plain:
            answer = plain.get()
            assert answer.status == 505
            assert b"only HTTP/2 is spoken here" in answer.body
        with H2Client(lb.address) as client:
            client.ask(1)
            assert client.response(1).status == "200"
        assert len(backend.heads) == 1


def test_the_preface_is_no_request_of_http_1_1() -> None:
    """Behind a request it is one, which breaks the rules."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as plain:
        assert plain.get().status == 200
        plain.send(PREFACE)
        assert plain.answer().status == 505


# --- WebSocket (RFC 8441) -----------------------------------------------------------------------------------------------------

WEBSOCKET = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a.example"),
)


def test_a_websocket_over_a_stream() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst"
        )
        while data := connection.recv(100):
            connection.sendall(data.upper())
        return True

    with Backend(script) as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.block(*WEBSOCKET, ("sec-websocket-version", "13"))))
        assert client.until(lambda got: got.kind == DATA).payload == b"first"  # type: ignore[union-attr]
        head = dict(client.decoder.decode(client.all_of(HEADERS)[0].payload))
        assert head[":status"] == "200"
        assert head["sec-websocket-protocol"] == "chat"
        assert not {"upgrade", "connection", "sec-websocket-accept"} & set(head)
        client.send(frame(DATA, 0, 1, b"hello"))
        assert client.until(lambda got: got.kind == DATA).payload == b"HELLO"  # type: ignore[union-attr]
        client.send(frame(DATA, END_STREAM, 1, b"bye"))
        assert client.until(lambda got: got.kind == DATA).payload == b"BYE"  # type: ignore[union-attr]
        assert client.until(lambda got: got.kind == DATA) == (DATA, END_STREAM, 1, b"")
        asked = backend.heads[0]
        assert asked.startswith(b"GET /chat HTTP/1.1\r\n")
        assert field(asked, b"Upgrade") == b"websocket"
        assert len(field(asked, b"Sec-WebSocket-Key") or b"") == 24


def test_a_websocket_that_is_refused() -> None:
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.block(*WEBSOCKET)))
        assert client.response(1).status == "200"
        assert client.until(lambda got: got.kind == RST_STREAM)
