"""How a probe reaches a backend: without a trace, or by a connection that begins as the traffic's do (PROXY header, TLS)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from typing import TYPE_CHECKING

from lbcore.config.settings import UNIX

if TYPE_CHECKING:
    import ssl

    from lbcore.config.settings import ProbeSettings
    from lbcore.table import Row

MOST_BYTES = 64 << 10
"""Of what a backend says to a probe, so much is looked at."""

FAREWELL_S = 0.2
"""How long a probe waits for the backend's end of the connection, so that neither side sees a reset."""

PROXY_HEADERS = {
    "off": b"",
    "v1": b"PROXY UNKNOWN\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
}
"""What says that a proxy speaks for itself: UNKNOWN and the command LOCAL of the PROXY protocol (2.1, 2.2)."""

_RESET = struct.pack("ii", 1, 0)


class ProbeFailed(Exception):
    """A probe's bad end, in words."""


class Talk:
    """A connection on which a probe and a backend speak. Raises ProbeFailed when the backend breaks off, or says too much."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def own_ip(self) -> str:
        """The address that the backend sees, as far as this host knows. Over a unix socket, which has none: this host's."""
        name = self.writer.get_extra_info("sockname")
        return str(name[0]).partition("%")[0] if isinstance(name, tuple) else "127.0.0.1"

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def exactly(self, count: int) -> bytes:
        """So many bytes."""
        if count > MOST_BYTES:
            raise ProbeFailed("the response is too long")
        try:
            return await self.reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise ProbeFailed(_broken_off(error.partial)) from None

    async def line(self) -> bytes:
        """A line without its end (CR LF, or LF alone)."""
        return (await self.through(b"\n")).rstrip(b"\r\n")

    async def through(self, text: bytes) -> bytes:
        """Everything up to and with this text."""
        try:
            return await self.reader.readuntil(text)
        except asyncio.IncompleteReadError as error:
            raise ProbeFailed(_broken_off(error.partial)) from None
        except asyncio.LimitOverrunError:
            raise ProbeFailed("the response is too long") from None

    async def close(self) -> None:
        """Say that this was all, and wait for the backend to agree. Not for long."""
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                    room = MOST_BYTES
                    while room > 0 and (rest := await self.reader.read(room)):
                        room -= len(rest)
                else:  # TLS: close_notify
                    self.writer.close()
                    await self.writer.wait_closed()
        self.abort()

    def abort(self) -> None:
        """Break off."""
        self.writer.transport.abort()


async def touch(row: Row, probe: ProbeSettings) -> None:
    """See whether a port accepts connections, without the server hearing of it (Linux: what HAProxy's TCP check does).

    With TCP_QUICKACK off before the connect, the kernel puts off the acknowledgement that would complete the handshake; the
    reset goes out in its place, and the server's accept() never returns. The server of a unix socket sees a connection that
    ends. Raises OSError or ProbeFailed.
    """
    with socket.socket(row.family, socket.SOCK_STREAM) as probing:
        if row.family == socket.AF_UNIX:
            _connect_local(probing, row)
            return
        probing.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await _connect(probing, row, probe)


async def reach(row: Row, probe: ProbeSettings, context: ssl.SSLContext | None, name: str) -> Talk:
    """Connect as sessions do: the PROXY header, then TLS with `context`, if there is one. name: whom its certificate is for.

    Raises OSError (ssl.SSLError is one) or ProbeFailed.
    """
    probing = socket.socket(row.family, socket.SOCK_STREAM)
    try:
        if row.family == socket.AF_UNIX:
            _connect_local(probing, row)
        else:
            probing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _connect(probing, row, probe)
        header = PROXY_HEADERS[probe.send_proxy or "off"]
        if header:
            await asyncio.get_running_loop().sock_sendall(probing, header)
        limit = {"limit": MOST_BYTES, "sock": probing}
        if context is None:
            return Talk(*await asyncio.open_connection(**limit))  # type: ignore[arg-type]
        return Talk(*await asyncio.open_connection(**limit, ssl=context, server_hostname=name))  # type: ignore[arg-type]
    except BaseException:
        probing.close()
        raise


def target(row: Row, probe: ProbeSettings) -> tuple[str, int] | tuple[str, int, int, int]:
    """Where to connect, a link-local address with its scope."""
    port = probe.port or row.port
    return (row.ip, port, 0, row.scope) if ":" in row.ip else (row.ip, port)


def local_target(address: str) -> str | bytes:
    """What connect and bind take for "unix:/path" and "unix:@name"."""
    path = address.removeprefix(UNIX)
    return b"\0" + path[1:].encode() if path.startswith("@") else path


def _connect_local(probing: socket.socket, row: Row) -> None:
    """At once: a unix socket accepts into its backlog or refuses. asyncio would take EAGAIN, a full backlog, for success."""
    probing.setblocking(False)
    try:
        probing.connect(local_target(row.ip))
    except BlockingIOError:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "the backlog is full") from None


async def _connect(probing: socket.socket, row: Row, probe: ProbeSettings) -> None:
    probing.setblocking(False)
    await asyncio.get_running_loop().sock_connect(probing, target(row, probe))
    # a port of our own range that nobody listens on may be connected to itself (simultaneous open, RFC 9293 3.5)
    if probing.getsockname()[:2] == probing.getpeername()[:2]:
        raise ProbeFailed("connection refused")


def _broken_off(heard: bytes) -> str:
    return "the response broke off" if heard else "the connection ended without a response"
