"""HTTP peers that show every byte: a client that reads answers one by one, and a backend that keeps what it received."""

from __future__ import annotations

import socket
import threading
from collections import namedtuple
from typing import TYPE_CHECKING

from harness import PATIENCE_S, Peer, dial, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = namedtuple("Answer", "status head body")
Answer.__doc__ = "status: int. head: bytes up to and with the empty line. body: bytes."


class Reader:
    """Reads messages from a socket one by one, and nothing beyond them."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def _more(self) -> bool:
        data = self.connection.recv(65536)
        self.buffer += data
        return bool(data)

    def head(self) -> bytes | None:
        """Up to and with the empty line; None at the end."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def exactly(self, count: int) -> bytes:
        """So many bytes, or what came before the end."""
        while len(self.buffer) < count and self._more():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def chunked(self) -> bytes:
        """A chunked body as it stands on the wire."""
        raw = b""
        while True:
            while b"\r\n" not in self.buffer:
                if not self._more():
                    return raw
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            raw += line + b"\r\n"
            size = int(line.partition(b";")[0], 16)
            if not size:
                break
            raw += self.exactly(size + 2)
        while not raw.endswith(b"\r\n\r\n"):
            while b"\r\n" not in self.buffer:
                if not self._more():
                    return raw
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            raw += line + b"\r\n"
        return raw

    def body(self, head: bytes) -> bytes:
        """The body that a head announces."""
        lower = head.lower()
        if b"\r\ntransfer-encoding:" in lower:
            return self.chunked()
        if b"\r\ncontent-length:" in lower:
            return self.exactly(int(field(head, b"Content-Length") or 0))
        return b""


def field(head: bytes, name: bytes) -> bytes | None:
    """The value of the only field of this name; None when there is none."""
    found = fields(head, name)
    assert len(found) < 2, head
    return found[0] if found else None


def fields(head: bytes, name: bytes) -> list[bytes]:
    """The values of all fields of this name."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


class Client:
    """A client's connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = dial(address)
        self.reader = Reader(self.socket)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, interim ones included."""
        head = self.reader.head()
        assert head is not None, "the connection ended before an answer"
        status = int(head[9:12])
        without = to_head or status < 200 or status in (204, 304)
        lower = head.lower()
        if not without and b"\r\ncontent-length:" not in lower and b"\r\ntransfer-encoding:" not in lower:
            body, self.reader.buffer = self.reader.buffer + read_all(self.socket), b""
        else:
            body = b"" if without else self.reader.body(head)
        return Answer(status, head, body)

    def get(self, path: str = "/", extra: bytes = b"", host: bytes = b"a.example", method: bytes = b"GET") -> Answer:
        """Ask, and read the answer."""
        self.send(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + extra + b"\r\n")
        return self.answer(to_head=method == b"HEAD")

    def ends(self) -> bool:
        """Does the connection end now, cleanly or not, without another byte?"""
        try:
            return not self.reader.buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(Peer):
    """A backend that keeps the heads and bodies that it received, and answers by a script.

    script(connection, head, body): sends the answer; True ends the connection. Without one: 200 with the name.
    """

    def __init__(
        self,
        script: Callable[[socket.socket, bytes, bytes], bool | None] | None = None,
        name: bytes = b"backend",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.name = name
        self.script = script or self._plain
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.raw = b""
        self.ended = threading.Event()
        super().__init__(self._talk, host, port)

    def _plain(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name))

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S * 3)
        reader = Reader(connection)
        try:
            while (head := reader.head()) is not None:
                self.heads.append(head)
                body = reader.body(head)
                self.bodies.append(body)
                if self.script(connection, head, body):
                    break
        finally:
            self.raw += reader.buffer
            self.ended.set()

    def __enter__(self) -> Backend:
        return self


def answering(raw: bytes, *, end: bool = False) -> Callable[[socket.socket, bytes, bytes], bool]:
    """A script that always sends these bytes, and ends the connection or keeps it."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(raw)
        return end

    return script


def narrow(address: tuple[str, int]) -> socket.socket:
    """A client that has little room for what comes, in small segments: what it does not take is held in the balancer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    client.settimeout(10)
    client.connect(address)
    return client
