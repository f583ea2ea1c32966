"""GET /events: what changed in the status document, each second, as server-sent events (WHATWG HTML 9.2).

The first event of a listener is the whole; those that follow say what has changed since. They tell no rates, but counters and a
clock, of which whoever listens makes rates.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from lbcore.admin.request import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL_S = 1.0
MOST_LISTENERS = 32
MOST_BEHIND = 4
"""Events that may wait for a listener; with one more it is dropped, and may come again."""
SEND_BUFFER = 256 << 10
"""Bytes that the kernel holds for a listener that does not read. The events that wait beside them are shared by all."""

_OF_HEAD = ("name", "pid", "uptime_s", "version", "datapath", "generation", "draining", "listeners")
_OF_WORKERS = (
    "accepted", "active", "refused", "closed", "bytes_in", "bytes_out", "requests", "requests_active", "queued",
    "responses_2xx", "responses_3xx", "responses_4xx", "responses_5xx", "requests_failed", "connect_failures", "retries",
    "datagrams_in", "datagrams_out", "datagrams_dropped", "http2_streams_active", "calls_active",
)  # fmt: skip
_OF_SOURCES = ("kind", "what", "state", "trouble", "last_contact_s", "revision", "entries", "skipped")
_OF_BACKENDS = (
    "address", "generation", "source", "state", "reason", "weight", "share", "leaves_in_s", "active", "sessions", "failures",
    "latency_ms", "load", "capacity",
)  # fmt: skip

FIELDS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of the response's head."""

Digest = dict[str, Any]


def _cluster(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a node, what does not change all the time; None: it is in no cluster."""
    if told is None:
        return None
    return {"node": told["node"], "connected": told["connected"], "drained": told["drained"], "nodes": len(told["nodes"])}


def digest(document: dict[str, Any]) -> Digest:
    """Of a status document, what a screen needs: {"head", "workers", "totals", "pools": {name: ...}, "backends": {id: ...}}."""
    backends = {
        entry["id"]: {"pool": pool["name"], **{key: entry.get(key) for key in _OF_BACKENDS}}
        for pool in document["pools"]
        for entry in pool["backends"]
    }
    workers = document["workers"]
    return {
        "head": {**{key: document[key] for key in _OF_HEAD}, "cluster": _cluster(document.get("cluster"))},
        "workers": [{"id": worker["id"], "pid": worker["pid"], "state": worker.get("state")} for worker in workers],
        "totals": {key: sum(worker.get(key, 0) for worker in workers) for key in _OF_WORKERS},
        "pools": {pool["name"]: {key: pool.get(key) for key in ("policy", "queued", "latency")} for pool in document["pools"]},
        "sources": [
            {"pool": pool["name"], **{key: source[key] for key in _OF_SOURCES}}
            for pool in document["pools"]
            for source in pool.get("sources", ())
        ],
        "backends": backends,
    }


def changes(before: Digest | None, after: Digest) -> Digest:
    """An event's data: `after`, but of the backends what is not as before, and `gone`, the ids of those that left.

    `whole` says that there was no before.
    """
    known = before["backends"] if before else {}
    backends = {}
    for name, entry in after["backends"].items():
        old = known.get(name)
        said = entry if old is None else {key: value for key, value in entry.items() if value != old[key]}
        if said:
            backends[name] = said
    gone = [name for name in known if name not in after["backends"]]
    return {**after, "whole": before is None, "backends": backends, "gone": gone}


def event(data: Digest) -> bytes:
    """An event on the wire."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


class Listener:
    """What waits for one who listens. `dropped` once it has fallen behind, or must go."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.dropped: bool = False

    def tell(self, told: bytes) -> None:
        """One more event, or, when too many wait, the end."""
        if len(self._waiting) >= MOST_BEHIND:
            self.drop()
            return
        self._waiting.append(told)
        self._news.set()

    def drop(self) -> None:
        """Cut it off."""
        self.dropped = True
        self._transport.abort()
        self._news.set()

    async def next(self) -> bytes:
        """The event that waits longest; empty: it was dropped."""
        while not self._waiting and not self.dropped:
            self._news.clear()
            await self._news.wait()
        return b"" if self.dropped else self._waiting.popleft()


class Feed:
    """Of one event loop. status: makes the document; it may raise LbcoreError while the balancer stops.

    A document is made once for all listeners, in a thread, and only while there are any.
    """

    def __init__(self, status: Callable[[], dict[str, Any]], interval_s: float = INTERVAL_S) -> None:
        self._status = status
        self._interval_s = interval_s
        self._listeners: set[Listener] = set()
        self._last: Digest | None = None
        self._last_at = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    @contextlib.contextmanager
    def joined(self, transport: asyncio.BaseTransport | None, operator: bool) -> Iterator[Listener]:
        """One more listener, told all that happens inside. operator: may it change backends? Raises Refusal."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise Refusal(503, f"{MOST_LISTENERS} dashboards are connected already", retry_after_s=5)
        if not isinstance(transport, asyncio.Transport):
            raise Refusal(503, "the connection is gone")
        _bound_kernel_buffer(transport)
        listener = Listener(transport)
        listener.tell(b"event: you\n" + event({"operator": operator}))
        self._join(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _join(self, listener: Listener) -> None:
        """From now on it is told all; first the whole, from what was last, or with the first event that comes."""
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._last = None
            self._task = asyncio.create_task(self._run())
        elif self._last is not None:
            listener.tell(event({**changes(None, self._last), "at": self._last_at}))

    async def _run(self) -> None:
        """Tell all, as long as anybody listens."""
        while self._listeners:
            try:
                after = digest(await asyncio.to_thread(self._status))
            except Exception:  # it stops, or has a fault that GET /status tells better: listeners come again and are told
                self.close()
                break
            self._last_at = time.monotonic()
            told = event({**changes(self._last, after), "at": self._last_at})
            self._last = after
            for listener in list(self._listeners):
                listener.tell(told)
            await asyncio.sleep(self._interval_s)

    def close(self) -> None:
        """End all."""
        for listener in list(self._listeners):
            listener.drop()
        self._listeners.clear()


def _bound_kernel_buffer(transport: asyncio.Transport) -> None:
    bound = transport.get_extra_info("socket")
    if bound is not None:
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
