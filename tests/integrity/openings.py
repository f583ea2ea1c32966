"""How a session of each mode comes to be, up to where bytes just flow."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from harness import PATIENCE_S, SLOWER, dial, read_exactly
from hellos import client_hello
from http_peers import Reader

from integrity.pattern import Stream
from integrity.peers import Side
from integrity.wires import Plain, Sealed

if TYPE_CHECKING:
    import ssl

    from integrity.scenarios import Meeting, Script

HELLO = client_hello("a.test")
ASK = b"GET /relay HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: pattern\r\n\r\n"
AGREE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: pattern\r\n\r\n"
BINDS = {"tcp": "tcp", "passthrough": "tls", "upgraded": "http", "terminated": "tls"}
"""The listener's mode, of each of ours."""
PROLOGUE = {"tcp": 0, "passthrough": len(HELLO), "terminated": 0}
"""Bytes that pass before the client's own ones. What http's heads become is not ours to say."""
TALK = b"talk"
TALKS = 5
"""So often the two sides of a session say it in turn, where that is what gets them onto a datapath."""


class Door:
    """Where clients come in, and the backend that they get to; one session at a time, so that both ends are known."""

    def __init__(self, mode: str, context: ssl.SSLContext | None = None, *, talks: bool = False) -> None:
        """context: of the clients, where TLS is terminated. talks: sessions in the clear begin with small talk.

        listener: of the backend."""
        self.mode, self._context = mode, context
        self.talked = TALKS * len(TALK) if talks and mode in ("tcp", "passthrough") else 0
        """Bytes of that, each way."""
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.settimeout(PATIENCE_S * SLOWER)
        self._opened = 0

    @property
    def backend(self) -> str:
        """HOST:PORT of the backend."""
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def open(self, address: tuple[str, int], meeting: Meeting) -> tuple[Side, Side]:
        """A client of the balancer at this address, and its backend."""
        if self.mode == "terminated":
            meeting = meeting._replace(client=_without_early(meeting.client))
        number, self._opened = self._opened, self._opened + 1
        streams = Stream(2 * number, f"client {number}"), Stream(2 * number + 1, f"backend {number}")
        early = tuple(stream.bytes_at(0, script.early) for stream, script in zip(streams, meeting, strict=True))
        wires = self._wires(address, meeting, *early)
        client = Side(f"client {number}", wires[0], meeting.client, streams[0], streams[1])
        backend = Side(f"backend {number}", wires[1], meeting.backend, streams[1], streams[0])
        client.other, backend.other = backend, client
        return client, backend

    def sockets(self, address: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
        """A plain client and its backend, as they are."""
        client, backend = dial(address), self._accept()
        if self.talked:
            _talk(client, backend)
        return client, backend

    def _wires(self, address: tuple[str, int], meeting: Meeting, ours: bytes, theirs: bytes) -> tuple[Plain, Plain]:
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, meeting.backend.segment)
        client = _shaped(_dial(address, meeting.client.segment), meeting.client)
        if self._context:
            sealed = Sealed(client, self._context)
            backend = _shaped(self._accept(), meeting.backend)
            backend.sendall(theirs)
            return sealed, Plain(backend)
        client.sendall({"passthrough": HELLO, "upgraded": ASK}.get(self.mode, b"") + (b"" if self.talked else ours))
        backend = _shaped(self._accept(), meeting.backend)
        if self.mode == "upgraded":
            return _upgraded(client, backend, theirs)
        prologue = read_exactly(backend, PROLOGUE[self.mode])
        assert prologue == HELLO[: len(prologue)], "the hello came changed"
        if self.talked:
            _talk(client, backend)
            client.sendall(ours)
        backend.sendall(theirs)
        return Plain(client), Plain(backend)

    def _accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE_S * SLOWER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Serve nobody any more."""
        self.listener.close()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _talk(client: socket.socket, backend: socket.socket) -> None:
    for _ in range(TALKS):
        for one, other in ((client, backend), (backend, client)):
            one.sendall(TALK)
            assert read_exactly(other, len(TALK)) == TALK


def _without_early(script: Script) -> Script:
    early = ((script.early, 0),) if script.early else ()
    return script._replace(early=0, writes=early + script.writes)


def _dial(address: tuple[str, int], segment: int) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(PATIENCE_S * SLOWER)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    connection.connect(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _shaped(connection: socket.socket, script: Script) -> socket.socket:
    if script.buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, script.buffer)
    return connection


def _upgraded(client: socket.socket, backend: socket.socket, theirs: bytes) -> tuple[Plain, Plain]:
    asked, answered = Reader(backend), Reader(client)
    head = asked.head()
    assert head is not None
    assert b"pattern" in head
    backend.sendall(AGREE + theirs)
    head = answered.head()
    assert head is not None
    assert head.startswith(b"HTTP/1.1 101 ")
    return Plain(client, answered.buffer), Plain(backend, asked.buffer)
