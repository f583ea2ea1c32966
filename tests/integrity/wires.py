"""The ends of a session as the scenarios see them: plain sockets, and TLS its records made by hand. None of them blocks."""

from __future__ import annotations

import contextlib
import socket
import ssl

from harness import reset

RECEIVE = 1 << 18


class Plain:
    """A connected socket. early: bytes that came with the greeting."""

    def __init__(self, connection: socket.socket, early: bytes = b"") -> None:
        connection.setblocking(False)
        self.socket = connection
        self._early = early

    @property
    def has_more(self) -> bool:
        """Is there something to read that the socket does not tell of?"""
        return bool(self._early)

    def send(self, data: memoryview) -> int:
        """How much of it was taken. Raises BlockingIOError for nothing, and other OSErrors for good."""
        return self.socket.send(data)

    def flush(self) -> None:
        """Send what is still held. Raises BlockingIOError when some of it is."""

    def recv(self, most: int) -> bytes:
        """What has come, about so much of it; empty for a proper end. Raises as `send` does."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return self.socket.recv(most)

    def finish(self) -> None:
        """Say that nothing more comes. What is held goes before it, by `flush`."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it without a further word."""
        self.socket.close()

    def reset(self) -> None:
        """Close it so that the peer reads a reset."""
        reset(self.socket)


class Sealed(Plain):
    """A client of TLS over a connected socket, its handshake done here. Its end is proper where close_notify was said."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str = "a.test") -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._held = b""
        self._shake(connection)
        super().__init__(connection)

    def _shake(self, connection: socket.socket) -> None:
        while True:
            done = False
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                done = True
            connection.sendall(self._out.read())
            if done:
                return
            self._in.write(connection.recv(RECEIVE))

    @property
    def has_more(self) -> bool:
        return bool(self._in.pending or self._tls.pending())

    def send(self, data: memoryview) -> int:
        self.flush()
        count = self._tls.write(data[:RECEIVE])
        with contextlib.suppress(BlockingIOError):
            self.flush()
        return count

    def flush(self) -> None:
        self._held += self._out.read()
        while self._held:
            self._held = self._held[self.socket.send(self._held) :]

    def recv(self, most: int) -> bytes:
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                self._take(most)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                raise ConnectionResetError("the end of TLS without a word") from error

    def _take(self, most: int) -> None:
        data = self.socket.recv(most)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def finish(self) -> None:
        assert not self.has_more, "OpenSSL's second SSL_shutdown would trip over it"
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        with contextlib.suppress(BlockingIOError):
            self.flush()
