"""The web framework, for all that FastPath does not read: it has every form of HTTP/1.1.

aiohttp is imported with the first connection that needs it: it would be a third of what a start costs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lbcore.admin.feed import FIELDS
from lbcore.admin.request import Request, caller_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from lbcore.admin.authorization import Authorization
    from lbcore.admin.calls import Calls, Handler
    from lbcore.admin.feed import Feed

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Framework:
    """Of one event loop. max_body: bytes. idle_s: a silent connection is closed after so long."""

    def __init__(self, calls: Calls, feed: Feed, authorization: Authorization, *, max_body: int, idle_s: float) -> None:
        self._calls, self._feed = calls, feed
        self._authorization = authorization
        self._max_body, self._idle_s = max_body, idle_s
        self._loading = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    async def protocol(self) -> asyncio.Protocol:
        """For one more connection."""
        async with self._loading:
            if self._runner is None:
                await asyncio.to_thread(_load)  # heartbeats are answered meanwhile
                self._runner = await self._started()
        server = self._runner.server
        assert server is not None
        return server()

    async def close(self) -> None:
        """End all connections; requests under way are given up."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _started(self) -> web.AppRunner:
        from aiohttp import web

        runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            access_log=None,
            keepalive_timeout=self._idle_s,
            shutdown_timeout=0.5,
        )
        await runner.setup()
        return runner

    def _application(self) -> web.Application:
        from aiohttp import web

        @web.middleware
        async def guard(request: web.Request, handler: Answer) -> web.StreamResponse:
            return await self._guarded(request, handler)

        application = web.Application(middlewares=[guard], client_max_size=self._max_body)
        application.router.add_get("/events", self._events, allow_head=False)
        for method, path, handler in self._calls.handlers:
            add = application.router.add_get if method == "GET" else application.router.add_post
            add(path, self._carried_out(handler))
        return application

    async def _guarded(self, web_request: web.Request, handler: Answer) -> web.StreamResponse:
        """Authorization first; then every failure becomes one JSON line."""
        from aiohttp import web

        request = _request_of(web_request)
        try:
            self._authorization.check(request)
            return await handler(web_request)
        except web.HTTPException as error:
            allow = error.headers.get("Allow")
            fields = {"Allow": allow} if allow else {}
            return web.json_response({"error": error.reason}, status=error.status, headers=fields)
        except Exception as error:
            status, body, fields = self._calls.failed(request, error)
            return web.Response(status=status, body=body, headers=fields)

    def _carried_out(self, call: Handler) -> Answer:
        from aiohttp import web

        async def answer(web_request: web.Request) -> web.StreamResponse:
            status, body, fields = await call(_request_of(web_request))
            return web.Response(status=status, body=body, headers=fields)

        return answer

    async def _events(self, web_request: web.Request) -> web.StreamResponse:
        """Until the listener leaves, falls behind, or `close`."""
        from aiohttp import web

        response = web.StreamResponse(headers=FIELDS)
        operator = self._authorization.is_operator(_request_of(web_request))
        with self._feed.joined(web_request.transport, operator) as listener:
            with contextlib.suppress(ConnectionError):  # it left, or was dropped
                await response.prepare(web_request)
                while told := await listener.next():
                    await response.write(told)
        return response


def _load() -> None:
    import aiohttp.web  # noqa: F401


def _request_of(web_request: web.Request) -> Request:
    """As aiohttp has read it."""
    caller = caller_of(web_request.transport)
    return Request(web_request.method, web_request.path, web_request.headers, caller, web_request.query, web_request.read)
