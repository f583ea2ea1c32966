"""A client of HTTP/2 that says what a test wants, right or wrong: frames in, frames out, nothing in between."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from hpack import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
PATIENCE_S = 5.0


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The error of RST_STREAM, or of GOAWAY."""
        return int(struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])[0])


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream: int, error: int = CANCEL) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", error))


class Response(NamedTuple):
    """What came on a stream."""

    heads: list[dict[str, str]]  # of interim responses, of the response, and its trailers, in their order
    body: bytes

    @property
    def status(self) -> str:
        """That of the last head that has one."""
        return [head[":status"] for head in self.heads if ":status" in head][-1]


class H2Client:
    """A connection. Its socket is `.sock`; `.frames` are all that have come, in their order."""

    def __init__(
        self, address: tuple[str, int], *pairs: tuple[int, int], greet: bool = True, sock: socket.socket | None = None
    ) -> None:
        """pairs: our settings. greet: with the preface, and wait for the other's SETTINGS."""
        self.sock: socket.socket = sock or socket.create_connection(address, PATIENCE_S)
        self.frames: list[Frame] = []
        self.closed: bool = False
        self.encoder: Encoder = Encoder()
        self.decoder: Decoder = Decoder()
        self._held = b""
        self._taken = 0
        if greet:
            self.send(PREFACE, settings(*pairs))
            self.until(lambda got: got.kind == SETTINGS and not got.flags)
            self.send(frame(SETTINGS, ACK))

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.sock.close()

    def send(self, *parts: bytes) -> None:
        """All in one call. What the other has closed is no error."""
        try:
            self.sock.sendall(b"".join(parts))
        except OSError:
            self.closed = True

    def block(self, *fields: tuple[str, str]) -> bytes:
        """A header block."""
        return self.encoder.encode(fields)

    def head(self, path: str = "/", *more: tuple[str, str], method: str = "GET") -> bytes:
        """The header block of a request."""
        return self.block((":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example"), *more)

    def ask(self, stream: int, path: str = "/", *more: tuple[str, str], method: str = "GET", body: bytes | None = None) -> None:
        """A whole request."""
        flags = END_HEADERS | (0 if body is not None else END_STREAM)
        self.send(frame(HEADERS, flags, stream, self.head(path, *more, method=method)))
        if body is not None:
            self.send(frame(DATA, END_STREAM, stream, body))

    def receive(self) -> Frame | None:
        """The next frame; None: the connection has ended."""
        while not self.closed:
            if len(self._held) >= 9:
                length = int.from_bytes(self._held[:3], "big")
                if len(self._held) >= 9 + length:
                    got = Frame(
                        self._held[3],
                        self._held[4],
                        int.from_bytes(self._held[5:9], "big") & 0x7FFFFFFF,
                        self._held[9 : 9 + length],
                    )
                    self._held = self._held[9 + length :]
                    self.frames.append(got)
                    return got
            try:
                some = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                some = b""
            self.closed = not some
            self._held += some
        return None

    def until(self, wanted: Callable[[Frame], bool]) -> Frame | None:
        """The first frame of those to come that is wanted; None: the connection ended before."""
        deadline = time.monotonic() + PATIENCE_S
        while (got := self.receive()) is not None:
            if wanted(got):
                return got
            assert time.monotonic() < deadline, self.frames
        return None

    def response(self, stream: int, *, on_data: Callable[[Frame], None] | None = None) -> Response:
        """All that comes on a stream until it ends. Others' frames are left in `frames`."""
        heads: list[dict[str, str]] = []
        body, block, ends = b"", b"", False
        while True:
            got = self._next()
            assert got is not None, ("the connection ended", self.frames[-5:])
            if got.kind in (HEADERS, CONTINUATION):
                block = got.payload if got.kind == HEADERS else block + got.payload
                ends = bool(got.flags & END_STREAM) if got.kind == HEADERS else ends
                if got.flags & END_HEADERS:
                    fields = self.decoder.decode(block)
                    if got.stream == stream:
                        heads.append({str(name): str(value) for name, value in fields})
                        if ends:
                            return Response(heads, body)
            elif got.stream == stream and got.kind == DATA:
                body += got.payload
                if on_data:
                    on_data(got)
                if got.flags & END_STREAM:
                    return Response(heads, body)
            elif got.stream == stream and got.kind == RST_STREAM:
                raise ConnectionResetError(got.number)
            elif got.kind == GOAWAY and got.number:
                raise ConnectionAbortedError(got.number)

    def _next(self) -> Frame | None:
        while self._taken == len(self.frames):
            if self.receive() is None:
                return None
        self._taken += 1
        return self.frames[self._taken - 1]

    def ping(self) -> bool:
        """Is the connection still there? What came before its answer is in `frames`."""
        self.send(frame(PING, payload=b"8 bytes!"))
        return self.until(lambda got: got.kind == PING and bool(got.flags & ACK)) is not None

    def fault(self) -> tuple[str, int]:
        """What the other finds wrong: ("stream", error) by RST_STREAM, ("connection", error) by GOAWAY and a close."""
        got = self.until(lambda got: got.kind == GOAWAY or (got.kind == RST_STREAM and got.number != NO_ERROR))
        assert got is not None, ("closed without GOAWAY", self.frames)
        if got.kind == RST_STREAM:
            return "stream", got.number
        self.until(lambda got: False)
        return "connection", got.number

    def all_of(self, kind: int) -> list[Frame]:
        """The frames of a kind that have come."""
        return [got for got in self.frames if got.kind == kind]
