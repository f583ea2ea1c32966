"""An engine's HTTP API: JSON within bounds, and what goes wrong in words. No redirect is followed, and no proxy is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from lbcore.discovery.found import SourceFailed, plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from lbcore.config.settings import SourceSettings

MOST_BYTES = 16 << 20
"""Of an answer, and of a line of a watch."""
MOST_TOLD = 200
"""Characters of an error's text that are passed on."""


LONGEST_WAIT_S = 60.0
"""An engine that asks for more time than this is asked again all the same."""


class Refused(SourceFailed):
    """The engine answered with another status than 200. retry_after: what its header of that name says (RFC 9110 10.2.3)."""

    def __init__(self, status: int, words: str, retry_after: str = "") -> None:
        super().__init__(f"HTTP {status}{': ' + words if words else ''}", wait_of(retry_after))
        self.status = status


def wait_of(seconds: object) -> float:
    """How long an engine asks to be left alone, within bounds. A date is not taken: engines write seconds."""
    text = str(seconds)
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


class Reply(NamedTuple):
    """A JSON document, and the response's headers."""

    document: Any
    headers: Mapping[str, str]


class Http:
    """One endpoint's API. Use it as an asynchronous context manager.

    headers: asked before each request. context: of https endpoints. server_name: whom their certificate is for;
    None: the host. timeout_s: how long the endpoint may take to answer.
    """

    def __init__(
        self,
        at: str,
        timeout_s: float,
        context: ssl.SSLContext | None = None,
        headers: Callable[[], dict[str, str]] = dict,
        server_name: str | None = None,
    ) -> None:
        self._at, self._timeout_s, self._headers = at, timeout_s, headers
        self._context, self._server_name = context, server_name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Http:
        connector = aiohttp.TCPConnector(ssl=self._context if self._context is not None else True, limit=4)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Sequence[tuple[str, str]] = (), wait_s: float = 0) -> Reply:
        """The JSON of a GET. wait_s: how much longer the engine may take, since it waits for a change. Raises SourceFailed."""
        async with self._asked("GET", path, params, None, self._timeout_s + wait_s) as response:
            return Reply(_document(await _read(response)), response.headers)

    async def post(self, path: str, body: object) -> Any:
        """The JSON of a POST of JSON. Raises SourceFailed."""
        async with self._asked("POST", path, (), body, self._timeout_s) as response:
            return _document(await _read(response))

    async def lines(
        self, path: str, params: Sequence[tuple[str, str]] = (), body: object = None, silence_s: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """The documents of a watch, one a line, until it ends. silence_s: so long it may be without a byte; None: the kernel's
        keep-alive alone finds out that the engine is gone. Raises SourceFailed."""
        method = "GET" if body is None else "POST"
        async with self._asked(method, path, params, body, None, silence_s) as response:
            rest = bytearray()
            async for part in response.content.iter_any():
                rest += part
                if len(rest) > MOST_BYTES:
                    raise SourceFailed(f"a line of the watch is longer than {MOST_BYTES >> 20} MiB")
                if b"\n" not in part:
                    continue
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    if line.strip():
                        yield _document(bytes(line))

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        params: Sequence[tuple[str, str]],
        body: object,
        total_s: float | None,
        silence_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200, whose head comes in time. All that can go wrong until the block ends is raised as
        SourceFailed. total_s: until the block ends; None: as long as it takes."""
        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=total_s, connect=self._timeout_s, sock_read=silence_s)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lbcore", **self._headers()}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        begun = False
        try:
            async with asyncio.timeout(total_s or self._timeout_s):
                response = await self._session.request(
                    method,
                    self._at + path,
                    params=list(params),
                    data=data,
                    headers=headers,
                    timeout=limit,
                    allow_redirects=False,
                    server_hostname=self._server_name,
                )
            begun = True
            async with response:
                _keep_alive(response)
                if response.status != 200:
                    raise Refused(response.status, await _why(response), response.headers.get("Retry-After", ""))
                yield response
        except TimeoutError:
            raise SourceFailed(f"no answer within {total_s or (silence_s if begun else None) or self._timeout_s:g} s") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            closed = isinstance(error, aiohttp.ServerDisconnectedError) and self._context is not None
            hint = "; it may want another client certificate (cert)" if closed else ""
            raise SourceFailed(words(error) + hint) from None


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """An engine's host that vanishes is noticed within a minute, though nothing is sent to it."""
    transport = response.connection.transport if response.connection is not None else None
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 6)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _read(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > most:
            raise SourceFailed(f"the answer is larger than {most >> 20} MiB")
    return bytes(body)


async def _why(response: aiohttp.ClientResponse) -> str:
    """What a refusal says, in a line."""
    if 300 <= response.status < 400:
        return "redirects are not followed: name the right endpoint"
    body = await response.content.read(4096)
    text = body.decode(errors="replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        text = str(document.get("message") or document.get("error") or text)
    return plain(text, MOST_TOLD)


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SourceFailed("the answer is no JSON: is the endpoint right?") from None


def words(error: BaseException) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is refused: {certificate_fault(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"TLS: {tls_fault(error.os_error)}"
    if isinstance(error, aiohttp.ClientOSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, ssl.SSLError):
        return f"TLS: {tls_fault(error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return (str(error) or type(error).__name__).splitlines()[0][:MOST_TOLD]


def certificate_fault(error: BaseException) -> str:
    """Why a certificate is refused: "self-signed certificate"."""
    return str(getattr(error, "verify_message", "") or error)[:MOST_TOLD]


def tls_fault(error: BaseException) -> str:
    """What failed in a handshake: "wrong version number"."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)[:MOST_TOLD]


def context_of(settings: SourceSettings) -> ssl.SSLContext:
    """How TLS is spoken with an engine. Raises SourceFailed naming the file."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except (OSError, ValueError) as error:
        raise SourceFailed(f"ca: {settings.ca!r} cannot be used ({_reason(error)})") from None
    if settings.cert is not None:
        try:
            context.load_cert_chain(settings.cert, settings.key)
        except (OSError, ValueError) as error:
            raise SourceFailed(f"cert: {settings.cert!r} cannot be used ({_reason(error)})") from None
    return context


def _reason(error: Exception) -> str:
    return tls_fault(error) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or str(error)


def is_over_tls(at: str) -> bool:
    """Is this endpoint asked over TLS?"""
    return at.startswith(("https:", "tls:"))
