"""The calls of programs, read without a web framework: nearly all calls of an admin server are heartbeats, probes and scrapes.

A connection that only ever asks for OF_BACKENDS and LOOKS in the plainest form of HTTP/1.1 stays here. With the first byte
that is anything else the whole connection goes to the framework, which answers or refuses as ever; it waits while the framework
is loaded.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from lbcore.admin.request import LOOKS, OF_BACKENDS, Fields, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lbcore.admin.request import Reply

_CALLS = [*(("POST", path) for path in OF_BACKENDS), *(("GET", path) for path in LOOKS)]
_STARTS = tuple(f"{method} {path} HTTP/1.1\r\n".encode() for method, path in _CALLS)
_HEAD = re.compile(rb"([A-Z]+) ([a-z/]+) HTTP/1\.1\r\n((?:[A-Za-z][A-Za-z0-9-]*:[ ]?[!-~](?:[ -~]*[!-~])?\r\n){1,40})\r\n")
"""RFC 9112 5, without what few clients send: empty values, obs-text, white space around, names of other token characters."""
_PART = re.compile(rb"(?:[^\r\n]+\r\n)*[^\r\n]*\r?")
"""The beginning of a head."""
_MAX_HEAD = 4096
AT_ONCE = 32
"""Calls of one connection that are answered until others have their turn."""
_WHOLE_S = 10.0
"""A call that began must be whole by then."""
_LENGTH = re.compile(r"[0-9]{1,6}")
_REASONS = {200: "OK", 201: "Created", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 422: "Unprocessable Content"}
_REASONS |= {429: "Too Many Requests", 503: "Service Unavailable"}


class FastPath(asyncio.Protocol):
    """One connection.

    answer: to a call of OF_BACKENDS, with its body; look: to one of LOOKS; neither raises. others: makes the protocol that
    takes any other connection. caller_of: who calls over a connection, as in Request. open_now: all such connections. max_body:
    bytes. idle_s: a silent connection is closed after so long.
    """

    def __init__(
        self,
        answer: Callable[[Request, bytes], Reply],
        look: Callable[[Request], Awaitable[Reply]],
        others: Callable[[], Awaitable[asyncio.Protocol]],
        caller_of: Callable[[asyncio.BaseTransport], str | None],
        open_now: set[asyncio.Transport],
        *,
        max_body: int,
        idle_s: float,
    ) -> None:
        self._answer, self._answer_look, self._others, self._caller_of = answer, look, others, caller_of
        self._open_now = open_now
        self._max_body, self._idle_s = max_body, idle_s
        self._held = b""
        self._paused = False
        self._task: asyncio.Task[None] | None = None  # what is under way; meanwhile nothing is read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._caller = transport, self._caller_of(transport)
        self._open_now.add(transport)
        self._loop = asyncio.get_running_loop()
        self._at_rest = self._loop.time()
        self._timer = self._loop.call_later(_WHOLE_S, self._watch)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._let_go()

    def pause_writing(self) -> None:
        """The peer sends, and reads nothing: it is not heard until it does."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self._again()

    def data_received(self, data: bytes) -> None:
        """Answer what is whole, keep what is not, hand over what is not plain."""
        if not self._held:
            self._at_rest = self._loop.time()
        self._held += data
        self._go_on()

    def _go_on(self) -> None:
        """So much that others do not wait for long; the rest after them."""
        for _ in range(AT_ONCE):
            if not self._held or self._paused or self._task or self._transport.is_closing() or not self._answer_one():
                return
        if self._held and not self._task:
            self._transport.pause_reading()
            self._loop.call_soon(self._again)

    def _again(self) -> None:
        if not self._paused and not self._task:
            self._transport.resume_reading()
            self._go_on()

    def _answer_one(self) -> bool:
        """The first of what waits; False: it is not whole, or not for us."""
        end = self._held.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._held) > _MAX_HEAD or not _begins_well(self._held):
                self._hand_over()
            return False
        found = _HEAD.fullmatch(self._held, 0, end) if self._held.startswith(_STARTS) else None
        fields = Fields(found[3].decode("ascii")) if found else None
        size = -1 if found is None or fields is None else self._size(found[1] == b"GET", fields)
        if found is None or fields is None or size < 0:
            self._hand_over()
            return False
        if len(self._held) < end + size:
            return False
        if len(self._held) > end + size and _closes(fields):
            self._hand_over()  # RFC 9112 9.6: nothing follows the last call
            return False
        body, self._held = self._held[end : end + size], self._held[end + size :]
        self._reply(Request(found[1].decode(), found[2].decode(), fields, self._caller), body)
        return True

    def _size(self, looks: bool, fields: Fields) -> int:
        """Of the body; -1: this is not a plain request."""
        lengths, hosts = fields.all("Content-Length") or (["0"] if looks else []), fields.all("Host")
        if len(lengths) != 1 or len(hosts) != 1 or not _LENGTH.fullmatch(lengths[0]):
            return -1
        if "Transfer-Encoding" in fields or "Expect" in fields or "Upgrade" in fields:
            return -1
        if fields.get("Connection", "close").lower() not in ("close", "keep-alive"):
            return -1
        size = int(lengths[0])
        return size if size <= (0 if looks else self._max_body) else -1

    def _reply(self, request: Request, body: bytes) -> None:
        self._at_rest = self._loop.time()
        if request.method == "GET":
            self._transport.pause_reading()
            self._task = self._loop.create_task(self._reply_later(request))
        else:
            self._send(self._answer(request, body), closes=_closes(request.fields))

    async def _reply_later(self, request: Request) -> None:
        reply = await self._answer_look(request)
        self._task, self._at_rest = None, self._loop.time()
        if not self._transport.is_closing():
            self._send(reply, closes=_closes(request.fields))
            self._again()

    def _send(self, reply: Reply, *, closes: bool) -> None:
        status, text, more = reply
        lines = [
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}",
            f"Content-Length: {len(text)}",
            *(f"{name}: {value}" for name, value in more.items()),
            *(["Connection: close"] if closes else []),
        ]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text)
        if closes:
            self._transport.close()

    def _hand_over(self) -> None:
        self._timer.cancel()
        self._transport.pause_reading()
        self._task = self._loop.create_task(self._give())

    async def _give(self) -> None:
        """To the framework, with what came."""
        try:
            inner = await self._others()
        except Exception as error:
            self._transport.abort()
            self._loop.call_exception_handler({"message": "the web framework cannot be loaded", "exception": error})
            return
        if self._transport.is_closing():
            return
        held = self._held
        self._let_go()
        self._transport.set_protocol(inner)
        inner.connection_made(self._transport)
        self._transport.resume_reading()
        inner.data_received(held)

    def _let_go(self) -> None:
        self._timer.cancel()
        self._open_now.discard(self._transport)
        self._held = b""

    def _watch(self) -> None:
        """Is it silent for too long, or in the middle of a call?"""
        limit_s = _WHOLE_S if self._held and not self._paused else self._idle_s
        if not self._task and self._loop.time() - self._at_rest >= limit_s:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(_WHOLE_S, self._watch)


def _begins_well(part: bytes) -> bool:
    """May this become a plain call?"""
    return any(start.startswith(part[: len(start)]) for start in _STARTS) and _PART.fullmatch(part) is not None


def _closes(fields: Mapping[str, str]) -> bool:
    return fields.get("Connection", "").lower() == "close"
