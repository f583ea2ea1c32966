"""The calls of backends, read without a web framework: nearly all calls of an admin server are heartbeats.

A connection that only ever asks `POST /register`, `/heartbeat` or `/deregister` in the plainest form of HTTP/1.1 stays here.
With the first byte that is anything else the whole connection goes to the framework, which answers or refuses as ever; it waits
while the framework is loaded.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from lbcore.admin.request import OF_BACKENDS, Fields, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lbcore.admin.request import Reply

_STARTS = tuple(f"POST {path} HTTP/1.1\r\n".encode() for path in OF_BACKENDS)
_HEAD = re.compile(rb"POST ([a-z/]+) HTTP/1\.1\r\n((?:[A-Za-z][A-Za-z0-9-]*:[ ]?[!-~](?:[ -~]*[!-~])?\r\n){1,40})\r\n")
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


class FastPath(asyncio.Protocol):
    """One connection.

    answer: what a call is answered with; it never raises. others: makes the protocol that takes any other connection.
    caller_of: who calls over a connection, as in Request. open_now: all such connections. max_body: bytes. idle_s: a silent
    connection is closed after so long.
    """

    def __init__(
        self,
        answer: Callable[[Request, bytes], Reply],
        others: Callable[[], Awaitable[asyncio.Protocol]],
        caller_of: Callable[[asyncio.BaseTransport], str | None],
        open_now: set[asyncio.Transport],
        *,
        max_body: int,
        idle_s: float,
    ) -> None:
        self._answer, self._others, self._caller_of = answer, others, caller_of
        self._open_now = open_now
        self._max_body, self._idle_s = max_body, idle_s
        self._held = b""
        self._paused = False
        self._given: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._caller = transport, self._caller_of(transport)
        self._open_now.add(transport)
        self._loop = asyncio.get_running_loop()
        self._at_rest = self._loop.time()
        self._timer = self._loop.call_later(_WHOLE_S, self._look)

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
        self._transport.resume_reading()
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Answer what is whole, keep what is not, hand over what is not plain."""
        if not self._held:
            self._at_rest = self._loop.time()
        self._held += data
        self._go_on()

    def _go_on(self) -> None:
        """So much that others do not wait for long; the rest after them."""
        for _ in range(AT_ONCE):
            if not self._held or self._paused or self._transport.is_closing() or not self._answer_one():
                return
        if self._held:
            self._transport.pause_reading()
            self._loop.call_soon(self._again)

    def _again(self) -> None:
        if not self._paused and not self._given:
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
        fields = Fields(found[2].decode("ascii")) if found else None
        size = -1 if fields is None else self._size(fields)
        if found is None or fields is None or size < 0:
            self._hand_over()
            return False
        if len(self._held) < end + size:
            return False
        if len(self._held) > end + size and _closes(fields):
            self._hand_over()  # RFC 9112 9.6: nothing follows the last call
            return False
        body, self._held = self._held[end : end + size], self._held[end + size :]
        self._reply(found[1].decode(), fields, body)
        return True

    def _size(self, fields: Fields) -> int:
        """Of the body; -1: this is not a plain request."""
        lengths, hosts = fields.all("Content-Length"), fields.all("Host")
        if len(lengths) != 1 or len(hosts) != 1 or not _LENGTH.fullmatch(lengths[0]):
            return -1
        if "Transfer-Encoding" in fields or "Expect" in fields or "Upgrade" in fields:
            return -1
        if fields.get("Connection", "close").lower() not in ("close", "keep-alive"):
            return -1
        size = int(lengths[0])
        return size if size <= self._max_body else -1

    def _reply(self, path: str, fields: Fields, body: bytes) -> None:
        self._at_rest = self._loop.time()
        status, text, more = self._answer(Request("POST", path, fields, self._caller), body)
        closes = _closes(fields)
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
        self._given = self._loop.create_task(self._give())

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

    def _look(self) -> None:
        """Is it silent for too long, or in the middle of a call?"""
        limit_s = _WHOLE_S if self._held and not self._paused else self._idle_s
        if self._loop.time() - self._at_rest >= limit_s:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(_WHOLE_S, self._look)


def _begins_well(part: bytes) -> bool:
    """May this become a plain call?"""
    return any(start.startswith(part[: len(start)]) for start in _STARTS) and _PART.fullmatch(part) is not None


def _closes(fields: Fields) -> bool:
    return fields.get("Connection", "").lower() == "close"
