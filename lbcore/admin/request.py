"""A call of the admin server and the reply to it, whoever reads the one from the wire and writes the other."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator

OF_BACKENDS = ("/register", "/heartbeat", "/deregister")
"""Calls that backends make for themselves: POST."""
LOOKS = ("/healthz", "/readyz", "/status", "/backends", "/metrics")
"""Calls of programs that watch: GET."""


class Fields(Mapping[str, str]):
    """Fields of a head by name in any case; of several with one name, the first."""

    def __init__(self, head: str) -> None:
        """head: lines that are known to be well formed."""
        self._values: dict[str, list[str]] = {}
        for line in head.split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            self._values.setdefault(name.lower(), []).append(value.lstrip(" "))

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """The value of each field with this name."""
        return self._values.get(name.lower(), [])


async def _no_body() -> bytes:
    return b""


class Request(NamedTuple):
    """caller: the address that calls; None over a unix socket. fields: of the head, by name in any case. query: what the
    target asks for, decoded. read: the whole body."""

    method: str
    path: str
    fields: Mapping[str, str]
    caller: str | None
    query: Mapping[str, str] = MappingProxyType({})
    read: Callable[[], Awaitable[bytes]] = _no_body

    @property
    def authorization(self) -> str | None:
        """What it shows."""
        return self.fields.get("Authorization")


class Reply(NamedTuple):
    """fields: of the head, beside the length of the body."""

    status: int
    body: bytes
    fields: dict[str, str]


def json_reply(document: dict[str, Any], status: int = 200, fields: Mapping[str, str] = MappingProxyType({})) -> Reply:
    """A reply that is a JSON object."""
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8", **fields})


def caller_of(transport: asyncio.BaseTransport | None) -> str | None:
    """The address that calls; None over a unix socket."""
    bound = transport.get_extra_info("socket") if transport is not None else None
    if bound is not None and bound.family == socket.AF_UNIX:
        return None
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if peer else ""


class Refusal(Exception):
    """A response that is no success: a status, and a body."""

    def __init__(self, status: int, error: str, *, retry_after_s: int | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.headers: dict[str, str] = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.body: dict[str, Any] = {"error": error, **more}
