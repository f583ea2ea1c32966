"""Stand-ins of engines: an HTTP API on a loopback port that a test starts, stops, breaks and starts again."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web
from harness import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

WELL, HANGS, GARBAGE, REDIRECTS, CUT, HUGE, OVERLOADED = "well", "hangs", "garbage", "redirects", "cut", "huge", "overloaded"
"""What it does with requests."""


class HttpPeer:
    """Subclasses answer in `handle`. mode: one of the above. asked: (path, query) of each request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.mode = WELL
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.call(self._start())

    def stop(self) -> None:
        """Close the listening socket, and reset all connections."""
        self.call(self._stop())

    def close(self) -> None:
        """End it."""
        self.stop()
        self.call(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run this where requests are answered."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        if self._runner is not None:
            return
        application = web.Application(client_max_size=1 << 20)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True).start()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for connection in list(runner.server.connections if runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        self.headers.append(dict(request.headers))
        if self.mode == WELL:
            return await self.handle(request)
        if self.mode == HANGS:
            await asyncio.sleep(3600)
        if self.mode == REDIRECTS:
            return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{self.port}/elsewhere"})
        if self.mode == OVERLOADED:
            return web.Response(status=503, text="overloaded\n")
        if self.mode == CUT:
            return await _cut(request)
        if self.mode == HUGE:
            return web.Response(body=b"[" + b" " * (17 << 20) + b"]", content_type="application/json")
        return web.Response(text="<html>welcome</html>")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError


async def _end_tasks() -> None:
    """Requests that hang, or wait for a change."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _cut(request: web.Request) -> web.StreamResponse:
    """A response that ends in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'[{"Service"')
    if request.transport is not None:
        request.transport.abort()
    return response


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
