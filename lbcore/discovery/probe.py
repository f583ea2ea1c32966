"""One probe of one backend: by connecting, by an HTTP request, by gRPC's health protocol or by another protocol's handshake,
each plain or over TLS; or by a datagram and its reply.

A probe that ends well returns; any other raises ProbeFailed, which says in words what was wrong.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import TYPE_CHECKING

from lbcore.config.settings import is_unix, join_host_port, raw_bytes
from lbcore.discovery.connect_words import connect_words
from lbcore.discovery.reaching import MOST_BYTES, ProbeFailed, Talk, reach, target, touch
from lbcore.discovery.shortages import is_shortage
from lbcore.tls.files import Stamp, stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, TypeVar

    from lbcore.config.settings import ProbeSettings
    from lbcore.table import Row

    T = TypeVar("T")
    Dialog = Callable[[Talk, ProbeSettings], Awaitable[T]]

__all__ = ("Asker", "ProbeFailed", "ProbeShortage")


class ProbeShortage(Exception):
    """A probe could not be sent for want of something on this host, which says nothing of the backend. error: its errno."""

    def __init__(self, error: int) -> None:
        super().__init__(os.strerror(error))
        self.error = error


class Asker:
    """Asks backends; keeps what probes share. One event loop's own; `close` when it ends."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[object, ...], tuple[Stamp, ssl.SSLContext]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._dialogs: dict[str, Dialog[None]] = {}

    async def close(self) -> None:
        """Let go of everything."""
        await asyncio.gather(*self._farewells, return_exceptions=True)

    async def ask(self, row: Row, probe: ProbeSettings) -> None:
        """Raises ProbeFailed, or ProbeShortage."""
        await self._in_time(self._ask(row, probe), row, probe)

    async def fetch(self, row: Row, probe: ProbeSettings, most: int) -> bytes:
        """The whole body that an http probe's request brings, at most so many bytes. Raises ProbeFailed, or ProbeShortage."""
        from lbcore.discovery.probe_http import fetch

        host = probe.host or _authority(row)
        return await self._in_time(self._talk(row, probe, lambda talk, probe: fetch(talk, probe, host, most)), row, probe)

    async def _in_time(self, asking: Coroutine[Any, Any, T], row: Row, probe: ProbeSettings) -> T:
        try:
            async with asyncio.timeout(probe.timeout_ms / 1000):
                return await asking
        except TimeoutError:
            raise ProbeFailed(f"timed out after {probe.timeout_ms / 1000:g}s") from None
        except ssl.SSLError as error:
            raise ProbeFailed(_tls_words(error)) from None
        except (OSError, MemoryError) as error:
            if is_shortage(error) and not _has_no_way(error, row, probe):
                raise ProbeShortage(getattr(error, "errno", None) or errno.ENOMEM) from None
            raise ProbeFailed(_words(error, row)) from None

    async def _ask(self, row: Row, probe: ProbeSettings) -> None:
        if probe.kind == "udp":
            await _ask_udp(row, probe)
        elif probe.kind == "tcp" and not probe.tls and not probe.speaks:
            await touch(row, probe)
        else:
            await self._talk(row, probe, self._dialog(row, probe))

    async def _talk(self, row: Row, probe: ProbeSettings, dialog: Dialog[T]) -> T:
        talk = await reach(row, probe, self._context(probe, h2=probe.kind == "grpc"), _name(row, probe))
        try:
            said = await dialog(talk, probe)
        except ProbeFailed:
            self._part(talk)
            raise
        except BaseException:
            talk.abort()
            raise
        self._part(talk)
        return said

    def _part(self, talk: Talk) -> None:
        """End a connection beside the verdict, which need not wait for it."""
        task = asyncio.create_task(talk.close())
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _dialog(self, row: Row, probe: ProbeSettings) -> Dialog[None]:
        """What is said on a connection."""
        from lbcore.discovery import handshakes
        from lbcore.discovery.probe_http import http

        host = probe.host or _authority(row)
        if probe.kind == "http":
            return lambda talk, probe: http(talk, probe, host)
        if probe.kind == "grpc":
            return lambda talk, probe: _grpc(talk, probe, host)
        if probe.kind == "tcp":
            return handshakes.exchange
        self._dialogs = self._dialogs or handshakes.handshakes()
        return self._dialogs[probe.kind]

    def _context(self, probe: ProbeSettings, *, h2: bool = False) -> ssl.SSLContext | None:
        """How TLS is spoken; None: it is not."""
        if not probe.tls:
            return None
        key = probe.tls_ca, probe.tls_verify, probe.tls_cert, probe.tls_key, h2
        now = stamp(path for path in (probe.tls_ca, probe.tls_cert, probe.tls_key) if path)
        then, context = self._contexts.get(key, ((), None))
        if context is None or then != now:
            try:
                context = _made_context(probe, h2)
            except OSError:  # ssl.SSLError, too: new files that are broken are told of by whoever watches them
                if context is None:
                    raise
            self._contexts[key] = now, context
        return context


async def _ask_udp(row: Row, probe: ProbeSettings) -> None:
    import socket

    with socket.socket(row.family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(target(row, probe))
        asking.send(raw_bytes(probe.send or ""))
        reply = await asyncio.get_running_loop().sock_recv(asking, MOST_BYTES)
        if probe.expect and raw_bytes(probe.expect) not in reply:
            raise ProbeFailed(f"the reply lacks {probe.expect!r}")


async def _grpc(talk: Talk, probe: ProbeSettings, host: str) -> None:
    from lbcore.discovery.grpc_health import check

    fault = await check(talk.reader, talk.writer, host, probe.service or "", tls=bool(probe.tls))
    if fault:
        raise ProbeFailed(f"gRPC: {fault}")


def _made_context(probe: ProbeSettings, h2: bool) -> ssl.SSLContext:
    """Raises OSError."""
    context = ssl.create_default_context(cafile=probe.tls_ca)
    if probe.tls_verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if probe.tls_cert is not None:
        context.load_cert_chain(probe.tls_cert, probe.tls_key, password="")  # none is ever asked for at the terminal
    if h2:
        context.set_alpn_protocols(["h2"])
    return context


def _authority(row: Row) -> str:
    """What Host says of a backend: no zone (RFC 6874 1), and localhost for a unix socket, as in nginx."""
    if is_unix(row.address):
        return "localhost"
    return join_host_port(row.ip, row.port) if row.scope else row.address


def _name(row: Row, probe: ProbeSettings) -> str:
    """Whom the certificate must be for."""
    if probe.host is None:
        return probe.tls_name or _authority(row).removesuffix(f":{row.port}").strip("[]")
    name, colon, port = probe.host.rpartition(":")
    return (name if colon and port.isdigit() else probe.host).strip("[]")


def _tls_words(error: Exception) -> str:
    """What is wrong, without OpenSSL's file names."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return f"TLS: {str(reason).replace('_', ' ').lower()}"


def _has_no_way(error: OSError | MemoryError, row: Row, probe: ProbeSettings) -> bool:
    """EADDRNOTAVAIL: has this host no source address towards a backend, of its family for example? Then the backend cannot be
    reached, and ports are not the reason. Connecting a datagram socket asks for an address and sends nothing (udp(7))."""
    import socket

    if getattr(error, "errno", None) != errno.EADDRNOTAVAIL:
        return False
    try:
        with socket.socket(row.family, socket.SOCK_DGRAM) as asking:
            asking.connect(target(row, probe))
    except OSError as asked:
        return asked.errno in (errno.EADDRNOTAVAIL, errno.ENETUNREACH)
    return False


def _words(error: OSError | MemoryError, row: Row) -> str:
    """What an errno means, without the address around it."""
    number = getattr(error, "errno", None)
    return connect_words(number, row.address) if number else str(error)
