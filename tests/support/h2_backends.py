"""A backend of HTTP/2 that answers by a script, in frames: what a test wants, right or wrong."""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    Frame,
    frame,
    settings,
    window_update,
)
from hpack import Decoder, Encoder
from http_balancers import http
from http_peers import PATIENCE_S, Peer

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lbcore import Balancer


CALL = (("content-type", "application/grpc"), ("te", "trailers"))
STATUS_OK = (("grpc-status", "0"), ("grpc-message", ""))
MESSAGE = b"\0\0\0\0\2hi"


class Call(NamedTuple):
    """A request that came whole."""

    talk: Talk
    stream: int
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def head(self) -> dict[str, str]:
        """The fields; of several with one name, the last."""
        return dict(self.fields)


def goaway(last: int, error: int = 0) -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, payload=struct.pack(">II", last, error))


class Talk:
    """One connection from the balancer."""

    def __init__(self, backend: H2Backend, sock: socket.socket) -> None:
        self.backend = backend
        self.sock: socket.socket = sock
        self.encoder: Encoder = Encoder()
        self.decoder: Decoder = Decoder()
        self.over: threading.Event = threading.Event()  # it has ended, or is about to
        self._held = b""
        self._fields: dict[int, list[tuple[str, str]]] = {}
        self._bodies: dict[int, bytes] = {}

    def send(self, *parts: bytes) -> None:
        """All in one call. What the other has closed is no error."""
        with contextlib.suppress(OSError):
            self.sock.sendall(b"".join(parts))

    def head(self, stream: int, *fields: tuple[str, str], end: bool = False) -> bytes:
        """A HEADERS frame."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encoder.encode(fields))

    def answer(
        self, stream: int, body: bytes = b"ok", *fields: tuple[str, str], trailers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """A whole response, in one call."""
        length = () if trailers else (("content-length", str(len(body))),)
        parts = [self.head(stream, (":status", "200"), *length, *fields)]
        parts += [frame(DATA, 0 if trailers else END_STREAM, stream, body)]
        parts += [self.head(stream, *trailers, end=True)] if trailers else []
        self.send(*parts)

    def _frames(self) -> Frame | None:
        while len(self._held) < 9 or len(self._held) < 9 + int.from_bytes(self._held[:3], "big"):
            try:
                some = self.sock.recv(65536)
            except OSError:
                some = b""
            if not some:
                return None
            self._held += some
        length = int.from_bytes(self._held[:3], "big")
        head, self._held = self._held[: 9 + length], self._held[9 + length :]
        return Frame(head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, head[9:])

    def run(self) -> None:
        """Serve until the connection ends."""
        while len(self._held) < len(PREFACE):
            some = self.sock.recv(65536)
            if not some:
                return
            self._held += some
        assert self._held.startswith(PREFACE), self._held
        self._held = self._held[len(PREFACE) :]
        self.send(settings(*self.backend.settings))
        while (got := self._frames()) is not None:
            self.backend.frames.append(got)
            self.backend.came.set()
            if got.kind == SETTINGS and not got.flags & ACK:
                self.send(frame(SETTINGS, ACK))
            elif got.kind == PING and not got.flags & ACK:
                self.send(frame(PING, ACK, 0, got.payload))
            elif got.kind in (HEADERS, CONTINUATION):
                assert got.flags & END_HEADERS, "heads of tests fit one frame"
                fields = [(str(name), str(value)) for name, value in self.decoder.decode(got.payload)]
                self._fields[got.stream] = fields
                self._bodies.setdefault(got.stream, b"")
                self.backend.heads.append(dict(fields))
                if self.backend.on_head:
                    self.backend.on_head(self, got.stream)
            elif got.kind == DATA:
                self._bodies[got.stream] += got.payload
                if got.payload and self.backend.opens_windows:
                    self.send(window_update(0, len(got.payload)), window_update(got.stream, len(got.payload)))
            if got.kind in (HEADERS, DATA) and got.flags & END_STREAM:
                call = Call(self, got.stream, self._fields[got.stream], self._bodies[got.stream])
                self.backend.calls.append(call)
                if self.backend.script(call):
                    return


class H2Backend(Peer):
    """A backend that keeps what it received, and answers whole requests by a script.

    script(call): sends the answer; True ends the connection. Without one: 200 with "ok".
    on_head(talk, stream): called before a request is whole.
    """

    def __init__(
        self,
        script: Callable[[Call], bool | None] | None = None,
        *,
        on_head: Callable[[Talk, int], None] | None = None,
        settings: tuple[tuple[int, int], ...] = (),
        opens_windows: bool = True,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.script: Callable[[Call], bool | None] = script or (lambda call: call.talk.answer(call.stream))
        self.on_head = on_head
        self.settings = settings
        self.opens_windows = opens_windows
        self.frames: list[Frame] = []
        self.calls: list[Call] = []
        self.heads: list[dict[str, str]] = []
        self.talks: list[Talk] = []
        self.came = threading.Event()
        self.tls = tls
        super().__init__(self._talk, host)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S * 3)
        talk = Talk(self, self.tls.wrap_socket(connection, server_side=True) if self.tls else connection)
        self.talks.append(talk)
        try:
            talk.run()
        finally:
            talk.over.set()

    def __enter__(self) -> H2Backend:
        return self

    def all_of(self, kind: int) -> list[Frame]:
        """The frames of a kind that have come."""
        return [got for got in self.frames if got.kind == kind]


def answer_call(call: Call) -> None:
    """A call of gRPC that comes to OK."""
    call.talk.answer(call.stream, MESSAGE, ("content-type", "application/grpc"), trailers=STATUS_OK)


def h2(*backends: H2Backend, **pool: Any) -> AbstractContextManager[Balancer]:
    """A balancer that speaks HTTP/2 to these backends."""
    return http(*(backend.address for backend in backends), protocol="h2", **pool)
