"""A call of the admin server, whoever read it from the wire; and the answer that it is no success."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from aiohttp import web

OF_BACKENDS = ("/register", "/heartbeat", "/deregister")
"""Calls that backends make for themselves."""


class Request(NamedTuple):
    """caller: the address that calls; None over a unix socket. fields: of the head, by name in any case."""

    method: str
    path: str
    fields: Mapping[str, str]
    caller: str | None

    @property
    def authorization(self) -> str | None:
        """What it shows."""
        return self.fields.get("Authorization")


def request_of(web_request: web.Request) -> Request:
    """As aiohttp has read it."""
    return Request(web_request.method, web_request.path, web_request.headers, caller_of(web_request.transport))


def caller_of(transport: asyncio.BaseTransport | None) -> str | None:
    """The address that calls; None over a unix socket."""
    bound = transport.get_extra_info("socket") if transport is not None else None
    if bound is not None and bound.family == socket.AF_UNIX:
        return None
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if peer else ""


class Refusal(Exception):
    """An answer that is no success: a status, and a body."""

    def __init__(self, status: int, error: str, *, retry_after_s: int | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.headers: dict[str, str] = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.body: dict[str, Any] = {"error": error, **more}
