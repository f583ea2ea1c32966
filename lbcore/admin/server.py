"""The admin server: one thread, one event loop, the calls of interface "Admin endpoints" over TCP and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from lbcore.admin.access import Access
from lbcore.admin.bodies import BackendOrder, BadBody, Release, UpgradeOrder, parse
from lbcore.admin.call import OF_BACKENDS, Call, Refusal
from lbcore.admin.dashboard import page
from lbcore.admin.feed import Feed
from lbcore.admin.holds import Holds
from lbcore.admin.limits import Refusals
from lbcore.admin.members import Members
from lbcore.admin.plain import PlainCalls
from lbcore.admin.rights import Rights
from lbcore.discovery.membership import Membership, normal
from lbcore.errors import ConfigError, LbcoreError, NoBackend, PortTaken
from lbcore.settings import AdminSettings, join_host_port, split_host_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lbcore._engine import Pick
    from lbcore.table import Row

T = TypeVar("T")
MAX_BODY = 64 << 10
IDLE_S = 75.0


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
        metrics: Callable[[dict[int, int], bool], bytes],
        ready: Callable[[], tuple[bool, str]],
        reload: Callable[[], None],
        upgrade: Callable[[UpgradeOrder], str] | None,
        pick: Callable[[str, str | None, int], Pick],
        own: Callable[[], list[tuple[str, int]]],
        log: Callable[[str], None],
    ) -> None:
        self._pick = pick
        self._render_metrics = metrics
        self._refusals = Refusals(log)
        self._holds = Holds()
        self._feed = Feed(self._document)
        self._settings = settings
        self._control_path = control_path
        self._membership = membership
        self._status, self._ready, self._reload, self._upgrade, self._log = status, ready, reload, upgrade, log
        asked = Access(settings.token if settings else None, settings.allow if settings else [])
        self._rights = Rights(asked, settings.rate if settings else 0, membership, own)
        self._members = Members(membership, self._rights)
        self._sockets: list[socket.socket] = []
        self._paths: list[str] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self.address: str | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind and serve. Raises PortTaken or ConfigError with nothing left behind."""
        try:
            if self._settings is not None:
                self._bind_public(self._settings.listen)
            if self._control_path is not None:
                self._bind_unix(self._control_path)
        except BaseException:
            self._unbind()
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
        self._unbind()

    def _bind_public(self, listen: str) -> None:
        if listen.startswith("unix:"):
            self._bind_unix(listen.removeprefix("unix:"))
            self.address = listen
            return
        host, port = split_host_port(listen)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            bound = socket.socket(family, socket.SOCK_STREAM)
            self._sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(1024)
        except OSError as error:
            raise _explain(listen, error) from None
        real = bound.getsockname()
        self.address = f"http://{join_host_port(real[0], real[1])}"

    def _bind_unix(self, path: str) -> None:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets.append(bound)
        try:
            _remove_stale(path)
            bound.bind(path)
            self._paths.append(path)
            os.chmod(path, 0o600)  # before anybody can connect
            bound.listen(256)
        except OSError as error:
            raise _explain(f"unix:{path}", error) from None

    def _unbind(self) -> None:
        for bound in self._sockets:
            bound.close()
        for path in self._paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._sockets, self._paths = [], []

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
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
            return PlainCalls(self._answer, others, _caller, plain, max_body=MAX_BODY, idle_s=IDLE_S)

        servers = [await self._loop.create_server(protocol, sock=bound) for bound in self._sockets]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        self._feed.close()
        for transport in list(plain):
            transport.abort()
        await runner.cleanup()
        self._holds.close()

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
                web.get("/pick", self._get_pick),
                web.post("/release", self._release),
                web.post("/backends/{verb}", self._order),
                web.post("/reload", self._post_reload),
                web.post("/upgrade", self._post_upgrade),
            ]
        )
        return application

    # --- who asks ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Rights first; then every failure becomes one JSON line."""
        call = _call_of(request)
        try:
            self._rights.check(call)
            return await handler(request)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status, headers=_only_allow(error))
        except Exception as error:
            status, body, headers = self._failed(call, error)
            return web.json_response(body, status=status, headers=headers)

    def _failed(self, call: Call, error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
        """What is answered instead: status, body, fields of the head."""
        if isinstance(error, Refusal):
            if error.status in (401, 403, 429):
                self._refusals.note(error.status, call.caller, call.path, str(error))
            return error.status, error.body, error.headers
        if isinstance(error, BadBody):
            self._refusals.note(422, call.caller, call.path, str(error))
            return 422, {"error": str(error), "key": error.key}, {}
        self._log(f"admin: {call.method} {call.path}: {error!r}")
        return 500, {"error": "internal error"}, {}

    # --- backends ------------------------------------------------------------------------------------------------

    def _answer(self, call: Call, data: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        """To a call in plain form."""
        try:
            self._rights.check(call)
            return *self._members.answer(call, data), {}
        except Exception as error:
            return self._failed(call, error)

    async def _of_a_backend(self, request: web.Request) -> web.Response:
        status, answer = self._members.answer(_call_of(request), await request.read())
        return web.json_response(answer, status=status)

    # --- looking -------------------------------------------------------------------------------------------------

    async def _dashboard(self, request: web.Request) -> web.Response:
        body, fields = page()
        return web.Response(body=body, headers=fields)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(request, self._rights.is_operator(_call_of(request)))

    async def _backends(self, request: web.Request) -> web.Response:
        return web.json_response({"pools": self._document()["pools"]})

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._document())

    def _document(self) -> dict[str, Any]:
        try:
            return self._status()
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        ready, reason = self._ready()
        return web.json_response({"ready": ready, "reason": reason}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        from lbcore.observe.metrics import CONTENT_TYPE, OPENMETRICS_TYPE, wants_openmetrics

        new = wants_openmetrics(request.headers.get("Accept", ""))
        try:  # in a thread: heartbeats do not wait for a scrape of a thousand backends
            body = await asyncio.to_thread(self._render_metrics, dict(self._refusals.counts), new)
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None
        return web.Response(body=body, headers={"Content-Type": OPENMETRICS_TYPE if new else CONTENT_TYPE})

    # --- picking without the proxy ---------------------------------------------------------------------------------

    async def _get_pick(self, request: web.Request) -> web.Response:
        """A backend by the pool's policy. hold_s: it counts as in use for so long, or until POST /release."""
        pool = self._members.pool(request.query.get("pool"))
        hold_s = _number(request, "hold_s", 0, 3600)
        cost = int(_number(request, "cost", 1, 65_535))
        try:
            picked = self._pick(pool, request.query.get("key"), max(1, cost))
        except NoBackend as error:
            raise Refusal(503, str(error), retry_after_s=1) from None
        except OSError as error:
            raise Refusal(503, f"no section is free to pick from: {error.strerror}") from None
        answer: dict[str, Any] = {"address": picked.address, "id": picked.id, "pool": pool}
        if not hold_s:
            picked.release("left")
            return web.json_response(answer)
        name = self._holds.keep(picked, hold_s)
        if name is None:
            picked.release("left")
            raise Refusal(503, "too many picks are held")
        return web.json_response(answer | {"pick": name, "hold_s": hold_s})

    async def _release(self, request: web.Request) -> web.Response:
        body = parse(await request.read(), Release)
        if not self._holds.release(body.pick, body.outcome):
            raise Refusal(404, "no such pick is held: it was released, or its time is over")
        return web.json_response({"status": "released"})

    # --- operators -----------------------------------------------------------------------------------------------

    async def _order(self, request: web.Request) -> web.Response:
        self._rights.check_operator(_call_of(request))
        verb = request.match_info["verb"]
        if verb not in ("add", "drain", "ready", "remove", "weight"):
            raise Refusal(404, f"{verb}: unknown (known: add, drain, ready, remove, weight)")
        body = parse(await request.read(), BackendOrder)
        row = await asyncio.to_thread(self._carry_out, verb, body)  # adding resolves a name, which may take its time
        return web.json_response(
            {"id": row.id, "address": row.address, "pool": row.pool, "state": row.state, "weight": row.weight}
        )

    def _carry_out(self, verb: str, body: BackendOrder) -> Row:
        pool = self._members.pool(body.pool)
        try:
            if verb == "add":
                return self._membership.add(pool, body.address, 1 if body.weight is None else body.weight)
            row = self._membership.find(pool, body.address)
        except ValueError as error:
            raise Refusal(422, f"address: {error}") from None
        if row is None:
            raise Refusal(404, f"{normal(body.address)} is not in pool {pool}")
        if verb == "weight":
            if body.weight is None:
                raise BadBody("weight: missing", "weight")
            self._membership.set_weight(row, body.weight)
        elif verb == "remove":
            self._membership.remove(row)
        elif verb == "drain":
            self._membership.drain(row)
        else:
            self._membership.ready(row)
        return row

    async def _post_reload(self, request: web.Request) -> web.Response:
        self._rights.check_operator(_call_of(request))
        await self._obey(self._reload)
        return web.json_response({"status": "reloaded"})

    async def _post_upgrade(self, request: web.Request) -> web.Response:
        if self._upgrade is None:
            raise Refusal(409, "only a balancer that runs as a command can be upgraded")
        self._rights.check_operator(_call_of(request))
        upgrade, order = self._upgrade, parse(await request.read() or b"{}", UpgradeOrder)
        if (order.step == "worker") != (order.worker is not None):
            raise BadBody("worker: which, with the step 'worker' alone", "worker")
        told = await self._obey(lambda: upgrade(order))
        return web.json_response({"status": "able" if order.step == "check" else "upgrading", "to": told})

    async def _obey(self, order: Callable[[], T]) -> T:
        """Carry out an operator's order that may take a while; that it is one was checked."""
        try:
            return await asyncio.to_thread(order)
        except ConfigError as error:
            raise Refusal(422, "the configuration was not taken", problems=error.problems) from None
        except LbcoreError as error:
            raise Refusal(409, str(error), problems=[str(error)]) from None


def _call_of(request: web.Request) -> Call:
    return Call(request.method, request.path, request.headers, _caller(request.transport))


def _caller(transport: asyncio.BaseTransport | None) -> str | None:
    """The address that calls; None over a unix socket."""
    bound = transport.get_extra_info("socket") if transport is not None else None
    if bound is not None and bound.family == socket.AF_UNIX:
        return None
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if peer else ""


def _number(request: web.Request, name: str, default: float, most: float) -> float:
    """A number of the query. Raises BadBody."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise BadBody(f"{name}: {text!r} is not allowed (allowed: a number from 0 to {most:g})", name)
    return value


def _only_allow(error: web.HTTPException) -> dict[str, str]:
    allow = error.headers.get("Allow")
    return {"Allow": allow} if allow else {}


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError(EADDRINUSE) when somebody does."""
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _explain(listen: str, error: OSError) -> LbcoreError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"admin.listen: {listen}: the address is in use")
    return ConfigError(f"admin.listen: {listen}: {error.strerror or error}")
