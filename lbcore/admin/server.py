"""The admin server: one thread, one event loop, the calls of interface "Admin endpoints" over TCP and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web

from lbcore.admin.access import Access
from lbcore.admin.authorization import Authorization
from lbcore.admin.bodies import BadBody
from lbcore.admin.dashboard import page
from lbcore.admin.fast_path import FastPath
from lbcore.admin.feed import Feed
from lbcore.admin.limits import Refusals
from lbcore.admin.operator_calls import OperatorCalls
from lbcore.admin.picks import PickCalls
from lbcore.admin.registrations import Registrations
from lbcore.admin.request import OF_BACKENDS, Refusal, Request, caller_of, request_of
from lbcore.admin.sockets import AdminSockets
from lbcore.config.secret import revealed
from lbcore.errors import LbcoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lbcore._engine import Pick
    from lbcore.admin.bodies import UpgradeCall
    from lbcore.config.settings import AdminSettings
    from lbcore.discovery.membership import Membership

MAX_BODY = 64 << 10
IDLE_S = 75.0
QUIET_S = 10.0
"""How long nothing more is said of faults that no call has."""


class AdminServer:
    """Serves until `stop()`.

    settings: the public listener, or None for the control socket only. control_path: a unix socket for operators, or None.
    status, metrics, ready, reload, upgrade, pick: what the balancer answers. own: where it listens itself, (host, port) each.
    """

    def __init__(
        self,
        settings: AdminSettings | None,
        *,
        control_path: str | None,
        membership: Membership,
        status: Callable[[], dict[str, Any]],
        metrics: Callable[[bool], bytes],
        ready: Callable[[], tuple[bool, str, dict[str, Any]]],
        reload: Callable[[], None],
        upgrade: Callable[[UpgradeCall], str] | None,
        pick: Callable[[str, str | None, int], Pick],
        own: Callable[[], list[tuple[str, int]]],
        log: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._control_path = control_path
        self._status, self._ready, self._render_metrics, self._log = status, ready, metrics, log
        self._refusals = Refusals(log, membership.count)
        self._feed = Feed(self._document)
        asked = _access_of(settings)
        self._authorization = Authorization(asked, settings.rate if settings else 0, membership, own)
        self._registrations = Registrations(membership, self._authorization)
        self._picks = PickCalls(pick, self._registrations.pool)
        self._operator_calls = OperatorCalls(
            membership, self._authorization, pool=self._registrations.pool, reload=reload, upgrade=upgrade
        )
        self._sockets = AdminSockets()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._quiet_until = 0.0
        self.address: str | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind and serve. Raises PortTaken or ConfigError with nothing left behind."""
        try:
            if self._settings is not None:
                self.address = self._sockets.bind(self._settings.listen)
            if self._control_path is not None:
                self._sockets.bind(f"unix:{self._control_path}")
        except BaseException:
            self._sockets.close()
            raise
        self._thread = threading.Thread(target=self._main, name="lbcore-admin", daemon=True)
        self._thread.start()
        self._started.wait()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._log(f"admin: the server failed: {error!r}")
        finally:
            self._started.set()

    def stop(self) -> None:
        """Close everything; requests under way are given up."""
        if self._thread and self._loop and self._stop:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._sockets.close()

    def disown(self) -> None:
        """In a forked child: let its copies of the sockets go."""
        self._sockets.disown()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._on_fault)
        runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            access_log=None,
            keepalive_timeout=IDLE_S,
            shutdown_timeout=0.5,
        )
        await runner.setup()
        others = runner.server
        assert others is not None
        plain: set[asyncio.Transport] = set()

        def protocol() -> asyncio.Protocol:
            return FastPath(self._answer, others, caller_of, plain, max_body=MAX_BODY, idle_s=IDLE_S)

        servers = [await self._loop.create_server(protocol, sock=bound) for bound in self._sockets.bound]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        self._feed.close()
        for transport in list(plain):
            transport.abort()
        await runner.cleanup()
        self._picks.close()

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no call failed for, such as that none can be accepted: asyncio tries that a hundred times in a row."""
        if loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + QUIET_S
            self._log(f"admin: {context['message']}: {context.get('exception')}")

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        application.add_routes(
            [
                *(web.post(path, self._of_a_backend) for path in OF_BACKENDS),
                web.get("/", self._dashboard),
                web.get("/events", self._events, allow_head=False),
                web.get("/backends", self._backends),
                web.get("/status", self._get_status),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.post("/pick", self._picks.pick),
                web.post("/release", self._picks.release),
                web.post("/backends/{verb}", self._operator_calls.backend),
                web.post("/reload", self._operator_calls.reload),
                web.post("/upgrade", self._operator_calls.upgrade),
            ]
        )
        return application

    # --- who asks ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Authorization first; then every failure becomes one JSON line."""
        asked = request_of(request)
        try:
            self._authorization.check(asked)
            return await handler(request)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status, headers=_only_allow(error))
        except Exception as error:
            status, body, headers = self._failed(asked, error)
            return web.json_response(body, status=status, headers=headers)

    def _failed(self, request: Request, error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
        """What is answered instead: status, body, fields of the head."""
        if isinstance(error, Refusal):
            if error.status in (401, 403, 429):
                self._refusals.note(error.status, request.caller, request.path, str(error))
            return error.status, error.body, error.headers
        if isinstance(error, BadBody):
            self._refusals.note(422, request.caller, request.path, str(error))
            return 422, {"error": str(error), "key": error.key}, {}
        self._log(f"admin: {request.method} {request.path}: {error!r}")
        return 500, {"error": "internal error"}, {}

    # --- backends ------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, data: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        """To a call in plain form."""
        try:
            self._authorization.check(request)
            return *self._registrations.answer(request, data), {}
        except Exception as error:
            return self._failed(request, error)

    async def _of_a_backend(self, web_request: web.Request) -> web.Response:
        status, answer = self._registrations.answer(request_of(web_request), await web_request.read())
        return web.json_response(answer, status=status)

    # --- looking -------------------------------------------------------------------------------------------------

    async def _dashboard(self, web_request: web.Request) -> web.Response:
        body, fields = page()
        return web.Response(body=body, headers=fields)

    async def _events(self, web_request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(web_request, self._authorization.is_operator(request_of(web_request)))

    async def _backends(self, web_request: web.Request) -> web.Response:
        return web.json_response({"pools": self._document()["pools"]})

    async def _get_status(self, web_request: web.Request) -> web.Response:
        return web.json_response(self._document())

    def _document(self) -> dict[str, Any]:
        try:
            return self._status()
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None

    async def _healthz(self, web_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, web_request: web.Request) -> web.Response:
        ready, reason, known = self._ready()
        return web.json_response({"ready": ready, "reason": reason, **known}, status=200 if ready else 503)

    async def _metrics(self, web_request: web.Request) -> web.Response:
        from lbcore.observe.metrics import CONTENT_TYPE, OPENMETRICS_TYPE, wants_openmetrics

        new = wants_openmetrics(web_request.headers.get("Accept", ""))
        try:  # in a thread: heartbeats do not wait for a scrape of a thousand backends
            body = await asyncio.to_thread(self._render_metrics, new)
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None
        return web.Response(body=body, headers={"Content-Type": OPENMETRICS_TYPE if new else CONTENT_TYPE})


def _access_of(settings: AdminSettings | None) -> Access:
    if settings is None:
        return Access(None, [])
    return Access(revealed(settings.token), settings.allow, revealed(settings.read_token))


def _only_allow(error: web.HTTPException) -> dict[str, str]:
    allow = error.headers.get("Allow")
    return {"Allow": allow} if allow else {}
