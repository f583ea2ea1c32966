"""One probe of one backend: by connecting, by an HTTP request, or by the gRPC health protocol, each plain or over TLS; or by a
datagram and its answer.

A probe that ends well returns; any other raises ProbeFailed, which says in words what was wrong.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

from lbcore.settings import datagram
from lbcore.tls.files import Stamp, stamp

if TYPE_CHECKING:
    from lbcore.settings import ProbeSettings
    from lbcore.table import Row

BODY_ROOM = 64 << 10
"""How much of an answer's body is looked at."""


class ProbeFailed(Exception):
    """A probe's bad end, in words."""


class Asker:
    """Asks backends; keeps what probes share. One event loop's own; `close` when it ends."""

    def __init__(self) -> None:
        self._session: Any = None
        self._contexts: dict[tuple[object, ...], tuple[Stamp, ssl.SSLContext]] = {}

    async def close(self) -> None:
        """Let go of everything."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, row: Row, probe: ProbeSettings) -> None:
        """Raises ProbeFailed."""
        ways = {"tcp": self._ask_tcp, "http": self._ask_http, "grpc": self._ask_grpc, "udp": self._ask_udp}
        try:
            async with asyncio.timeout(probe.timeout_ms / 1000):
                await ways[probe.kind](row, probe)
        except TimeoutError:
            raise ProbeFailed(f"timed out after {probe.timeout_ms / 1000:g}s") from None
        except ssl.SSLError as error:
            raise ProbeFailed(_tls_words(error)) from None
        except OSError as error:
            raise ProbeFailed(_words(error)) from None

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

    # --- tcp -----------------------------------------------------------------------------------------------------

    async def _ask_tcp(self, row: Row, probe: ProbeSettings) -> None:
        import socket

        port = probe.port or row.port
        loop = asyncio.get_running_loop()
        with socket.socket(row.family, socket.SOCK_STREAM) as probing:
            probing.setblocking(False)
            await loop.sock_connect(probing, (row.ip, port, 0, row.scope) if ":" in row.ip else (row.ip, port))
            # a port of our own range that nobody listens on may be connected to itself (simultaneous open, RFC 9293 3.5)
            if probing.getsockname()[:2] == probing.getpeername()[:2]:
                raise ProbeFailed("connection refused")
            context = self._context(probe)
            if context is not None:
                _, writer = await asyncio.open_connection(sock=probing, ssl=context, server_hostname=_name(row, probe))
                writer.transport.abort()

    # --- udp -----------------------------------------------------------------------------------------------------

    async def _ask_udp(self, row: Row, probe: ProbeSettings) -> None:
        import socket

        port, loop = probe.port or row.port, asyncio.get_running_loop()
        with socket.socket(row.family, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.connect((row.ip, port, 0, row.scope) if ":" in row.ip else (row.ip, port))
            asking.send(datagram(probe.send or ""))
            answer = await loop.sock_recv(asking, BODY_ROOM)
            if probe.expect and datagram(probe.expect) not in answer:
                raise ProbeFailed(f"the answer lacks {probe.expect!r}")

    # --- http ----------------------------------------------------------------------------------------------------

    async def _ask_http(self, row: Row, probe: ProbeSettings) -> None:
        import aiohttp

        session = self._http_session()
        host = f"[{row.ip}]" if ":" in row.ip else row.ip
        url = f"{'https' if probe.tls else 'http'}://{host}:{probe.port or row.port}{probe.path}"
        fields = {"Host": probe.host or row.address}
        options: dict[str, Any] = {"headers": fields, "allow_redirects": False, "ssl": self._context(probe)}
        if options["ssl"] is None:
            options.pop("ssl")
        else:
            options["server_hostname"] = _name(row, probe)
        try:
            async with session.request(probe.method, url, **options) as answer:
                if not probe.is_good(answer.status):
                    raise ProbeFailed(f"status {answer.status}")
                if probe.body is not None and probe.body.encode() not in await _beginning(answer.content):
                    raise ProbeFailed(f"the body lacks {probe.body!r}")
        except aiohttp.ClientConnectorCertificateError as error:
            raise ProbeFailed(_tls_words(error.certificate_error)) from None
        except aiohttp.ClientSSLError as error:
            raise ProbeFailed(_tls_words(error.os_error)) from None
        except aiohttp.ClientConnectorError as error:
            raise ProbeFailed(_words(error.os_error)) from None
        except aiohttp.ClientError as error:
            raise ProbeFailed(f"no HTTP answer: {error or type(error).__name__}") from None

    def _http_session(self) -> Any:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"User-Agent": "lbcore-probe", "Connection": "close"},
                auto_decompress=False,
            )
        return self._session

    # --- grpc ----------------------------------------------------------------------------------------------------

    async def _ask_grpc(self, row: Row, probe: ProbeSettings) -> None:
        from lbcore.discovery.grpc_health import check

        context = self._context(probe, h2=True)
        name = _name(row, probe) if context else None
        port = probe.port or row.port
        reader, writer = await asyncio.open_connection(row.ip, port, ssl=context, server_hostname=name)
        try:
            fault = await check(reader, writer, probe.host or row.address, probe.service or "", tls=context is not None)
        finally:
            writer.transport.abort()
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


async def _beginning(content: Any) -> bytes:
    """As much of a body as is looked at."""
    found = b""
    while len(found) < BODY_ROOM and (piece := await content.read(BODY_ROOM - len(found))):
        found += piece
    return found


def _name(row: Row, probe: ProbeSettings) -> str:
    """Whom the certificate must be for."""
    if probe.host is None:
        return probe.tls_name or row.host
    name, colon, port = probe.host.rpartition(":")
    return (name if colon and port.isdigit() else probe.host).strip("[]")


def _tls_words(error: Exception) -> str:
    """What is wrong, without OpenSSL's file names."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return f"TLS: {str(reason).replace('_', ' ').lower()}"


def _words(error: OSError) -> str:
    """What an errno means, without the address around it."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
