"""The loads of HTTP/2: h2load, and connections and streams that wait, whose memory is read."""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import TIMEOUT_S, Address, Done, LoadFailed, Memory, connected, output_of, shown, url

WAIT_PATH = "/wait"
"""Of the origin `waiting`: no answer comes."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


@dataclass(frozen=True)
class H2load:
    """h2load (nghttp2): HTTP/2 by its preface, `streams` requests at a time on each of `connections`.

    upload: bytes of each request's body; they are what is counted then.
    """

    path: str
    connections: int
    streams: int
    upload: int = 0

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed: also where a single request failed."""
        program = shutil.which("h2load")
        if program is None:
            raise LoadFailed("h2load is not installed (apt-get install nghttp2-client)")
        whole = max(1, round(seconds))
        command = [program, f"-D{whole}", f"-c{self.connections}", f"-m{self.streams}", "-t1"]
        with tempfile.NamedTemporaryFile() as body:
            body.write(bytes(self.upload))
            body.flush()
            command += ["-d", body.name] if self.upload else []
            said = output_of([*command, url(address, self.path, "http")], seconds + 4 * TIMEOUT_S)
            text = shown([*command, url(address, self.path, "http")]).replace(body.name, f"FILE of {self.upload} bytes")
        found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        size = re.search(r"traffic: .*?\((\d+)\) total", said)
        if found is None or size is None or not int(found[1]):
            raise LoadFailed("no request was answered")
        if any(int(found[at]) for at in (2, 3, 4)):
            raise LoadFailed(f"h2load counted {found[0]}")
        answers = int(found[1])
        return Done(text, whole, answers, answers * self.upload or int(size[1]))


@dataclass(frozen=True)
class IdleHttp2:
    """Connections that did one request and stay open. Memory: of `more` connections beyond the `first`."""

    path: str
    first: int
    more: int

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed. Waits before each reading: what was pooled has been given back."""
        clients: list[_Client] = []
        start = time.perf_counter()
        try:
            before, after = _grown(clients, address, self.path, (self.first, self.more), memory)
        finally:
            for client in clients:
                client.socket.close()
        text = f"{self.first} connections, then {self.more} more (bench/http2_load.py, IdleHttp2)"
        done = Done(text, time.perf_counter() - start, len(clients), len(clients))
        done.memory_b = (after - before) / self.more
        return done


@dataclass(frozen=True)
class OpenStreams:
    """Streams whose answers do not come, `each` a connection. Memory: of those of `more` connections beyond the `first`."""

    first: int
    more: int
    each: int

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed: also when a stream ends. The connections themselves are there before."""
        clients: list[_Client] = []
        start = time.perf_counter()
        try:
            _grown(clients, address, "/", (self.first + self.more,), memory)
            readings = []
            for some in (clients[: self.first], clients[self.first :]):
                for client in some:
                    client.ask(WAIT_PATH, self.each)
                time.sleep(_SETTLE_S)
                readings.append(memory())
            for client in clients:
                client.expect_silence()
        finally:
            for client in clients:
                client.socket.close()
        count = self.more * self.each
        text = f"{self.first * self.each} open streams, then {count} more, {self.each} a connection (OpenStreams)"
        done = Done(text, time.perf_counter() - start, count, count)
        done.memory_b = (readings[1] - readings[0]) / count
        return done


_SETTLE_S = 2.5
"""So long after its last use, what is pooled has been given back."""


def _grown(clients: list[_Client], address: Address, path: str, steps: tuple[int, ...], memory: Memory) -> list[int]:
    """Open so many connections in each step, with one request each; the memory after each step."""
    readings = []
    for count in steps:
        for _ in range(count):
            clients.append(_Client(address))
            clients[-1].ask(path)
            clients[-1].expect_end()
        time.sleep(_SETTLE_S)
        readings.append(memory())
    return readings


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _block(path: str) -> bytes:
    """GET of HTTP by HPACK (RFC 7541), with an :authority and a user-agent that enter the table as a browser's would."""
    target = b"\x84" if path == "/" else b"\x04" + bytes((len(path),)) + path.encode()
    return b"\x82\x86" + target + b"\x41\x05bench" + b"\x7a\x05bench"


class _Client:
    """A connection of HTTP/2 that knows no more of it than it needs. Raises LoadFailed."""

    def __init__(self, address: Address) -> None:
        self.socket = connected(address)
        self._held = b""
        self._stream = -1
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0))

    def ask(self, path: str, times: int = 1) -> None:
        """So many requests at once."""
        frames = []
        for _ in range(times):
            self._stream += 2
            frames.append(_frame(_HEADERS, _END_STREAM | _END_HEADERS, self._stream, _block(path)))
        self.socket.sendall(b"".join(frames))

    def expect_end(self) -> None:
        """Until the answer to the last request is whole."""
        for kind, flags, stream in self._frames():
            if kind in (_DATA, _HEADERS) and stream == self._stream and flags & _END_STREAM:
                return
            if kind in (_RST_STREAM, _GOAWAY):
                raise LoadFailed(f"a frame of type {kind} came instead of an answer")

    def expect_silence(self) -> None:
        """No stream has ended."""
        self.socket.setblocking(False)
        try:
            for kind, _, _ in self._frames():
                if kind in (_DATA, _HEADERS, _RST_STREAM, _GOAWAY):
                    raise LoadFailed(f"a frame of type {kind} came for a stream that was to wait")
        except BlockingIOError:
            return

    def _frames(self) -> Iterator[tuple[int, int, int]]:
        """Those that come: type, flags, stream. SETTINGS are acknowledged."""
        while True:
            while len(self._held) >= 9 and len(self._held) >= (whole := 9 + int.from_bytes(self._held[:3], "big")):
                kind, flags, stream = struct.unpack(">BBI", self._held[3:9])
                self._held = self._held[whole:]
                if kind == _SETTINGS and not flags & _ACK:
                    self.socket.sendall(_frame(_SETTINGS, _ACK, 0))
                yield kind, flags, stream
            piece = self.socket.recv(65536)
            if not piece:
                raise LoadFailed("a connection was closed")
            self._held += piece
