"""The admin server: one thread, one event loop, the calls of interface "Admin endpoints" over TCP and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web

from lbcore.admin import access
from lbcore.admin.access import Access
from lbcore.admin.bodies import Announcement, BackendOrder, BadBody, Farewell, Release, parse
from lbcore.admin.holds import Holds
from lbcore.admin.limits import Rate, Refusals
from lbcore.discovery.membership import Membership, normal
from lbcore.errors import ConfigError, LbcoreError, NoBackend, PortTaken
from lbcore.settings import DEFAULT_POOL, AdminSettings, join_host_port, split_host_port
from lbcore.signature import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lbcore._engine import Pick
    from lbcore.table import Row

MAX_BODY = 64 << 10
IDLE_S = 75.0
HEADER_S = 10.0

_UNGUARDED = {"/healthz", "/readyz"}
_OF_BACKENDS = {"/register", "/heartbeat", "/deregister"}
"""Calls that a pool's own token or key may admit too."""


class _Refusal(Exception):
    """An answer that is no success: a status, and a body."""

    def __init__(self, status: int, error: str, *, retry_after_s: int | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.body = {"error": error, **more}


class AdminServer:
    """Serves until `stop()`.

    settings: the public listener, or None for the control socket only. control_path: a unix socket for operators, or None.
    status, ready, reload, pick: what the balancer answers. own: where the balancer itself listens, (host, port) each.
    """

    def __init__(
        self,
        settings: AdminSettings | None,
        *,
        control_path: str | None,
        membership: Membership,
        status: Callable[[], dict[str, Any]],
        ready: Callable[[], tuple[bool, str]],
        reload: Callable[[], None],
        pick: Callable[[str, str | None, int], Pick],
        own: Callable[[], list[tuple[str, int]]],
        log: Callable[[str], None],
    ) -> None:
        self._pick, self._own = pick, own
        self._rate = Rate(settings.rate if settings else 0)
        self._refusals = Refusals(log)
        self._verifier = Verifier()
        self._holds = Holds()
        self._settings = settings
        self._control_path = control_path
        self._membership = membership
        self._status, self._ready, self._reload, self._log = status, ready, reload, log
        self._access = Access(settings.token if settings else None, settings.allow if settings else [])
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
        for bound in self._sockets:
            await web.SockSite(runner, bound).start()
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()
        self._holds.close()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        application.add_routes(
            [
                web.post("/register", self._register),
                web.post("/heartbeat", self._heartbeat),
                web.post("/deregister", self._deregister),
                web.get("/backends", self._backends),
                web.get("/status", self._get_status),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/pick", self._get_pick),
                web.post("/release", self._release),
                web.post("/backends/{verb}", self._order),
                web.post("/reload", self._post_reload),
            ]
        )
        return application

    # --- who asks ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Rights first; then every failure becomes one JSON line."""
        try:
            self._check_token(request)
            self._check_rate(request)
            return await handler(request)
        except _Refusal as refusal:
            if refusal.status in (401, 403, 429):
                self._refusals.note(refusal.status, _caller(request), request.path, str(refusal))
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
        except BadBody as error:
            self._refusals.note(422, _caller(request), request.path, str(error))
            return web.json_response({"error": str(error), "key": error.key}, status=422)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status, headers=_only_allow(error))
        except Exception as error:
            self._log(f"admin: {request.method} {request.path}: {error!r}")
            return web.json_response({"error": "internal error"}, status=500)

    def _check_token(self, request: web.Request) -> None:
        if _by_unix(request) or request.path in _UNGUARDED:
            return
        if request.path in _OF_BACKENDS and self._may_be_member(request):
            return
        header = request.headers.get("Authorization")
        if (self._access.needs_token or header is not None) and not self._access.has_token(header):
            raise _Refusal(401, "no token, or a wrong one")

    def _check_rate(self, request: web.Request) -> None:
        if not _by_unix(request) and not self._is_operator(request) and not self._rate.allows(request.remote):
            raise _Refusal(429, "too many calls from your address (admin.rate)", retry_after_s=1)

    def _may_be_member(self, request: web.Request) -> bool:
        """Does the caller show what any pool admits? Which pool it means is in its body, which strangers are not asked for."""
        header, signed = request.headers.get("Authorization"), "X-LB-Signature" in request.headers
        leases = [self._membership.rules(pool).lease for pool in self._membership.pools()]
        return any((signed and lease.hmac_key) or (lease.token and access.shows(header, lease.token)) for lease in leases)

    def _check_member(self, request: web.Request, pool: str, body: bytes) -> None:
        """May the caller speak for backends of this pool? With the operators' token or the pool's, signed if it has a key."""
        lease, header = self._membership.rules(pool).lease, request.headers.get("Authorization")
        if self._is_operator(request):
            return
        if lease.token is not None:
            shown = access.shows(header, lease.token)
        else:
            shown = not self._access.needs_token and (header is None or lease.hmac_key is not None)
            shown = shown or (lease.hmac_key is not None and header is None)
        if not shown:
            raise _Refusal(401, "no token, or a wrong one")
        if lease.hmac_key is not None:
            fault = self._verifier.fault(lease.hmac_key, request.method, request.path, request.headers, body)
            if fault:
                raise _Refusal(401, f"the call does not count: {fault}")

    def _is_operator(self, request: web.Request) -> bool:
        return _by_unix(request) or self._access.has_token(request.headers.get("Authorization"))

    def _check_may_speak(self, request: web.Request, server_ip: str, *, joins: bool) -> None:
        if not self._is_operator(request) and not self._access.may_speak_for(request.remote, server_ip):
            raise _Refusal(403, f"server_ip: {server_ip} is not the address you call from")
        if not joins:
            return
        if access.is_nobodys(server_ip):
            raise _Refusal(403, f"server_ip: {server_ip} is link-local, or a cloud's metadata server: no backend")
        if access.is_loopback(server_ip) and not access.is_loopback(_caller(request)):
            raise _Refusal(403, f"server_ip: {server_ip} is this host, you call from another")
        if not self._access.is_allowed(server_ip):
            raise _Refusal(403, f"server_ip: {server_ip} is not in a network that may register (admin.allow)")

    def _check_not_own(self, server_ip: str, port: int) -> None:
        if access.is_own(server_ip, port, self._own()):
            raise _Refusal(403, f"{join_host_port(server_ip, port)} is this balancer itself")

    # --- backends ------------------------------------------------------------------------------------------------

    async def _register(self, request: web.Request) -> web.Response:
        body = parse(await request.read(), Announcement)
        pool = self._pool(body.pool)
        self._check_member(request, pool, await request.read())
        self._check_may_speak(request, body.server_ip, joins=True)
        port = self._port_to_join(pool, body.port)
        self._check_not_own(body.server_ip, port)
        address = join_host_port(body.server_ip, port)
        try:
            row, new = self._membership.register(pool, address, body.report)
        except ValueError as error:
            raise _Refusal(422, str(error)) from None
        return web.json_response(self._lease(row), status=201 if new else 200)

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body = parse(await request.read(), Announcement)
        pool = self._pool(body.pool)
        self._check_member(request, pool, await request.read())
        self._check_may_speak(request, body.server_ip, joins=False)
        address = self._known_address(pool, body.server_ip, body.port)
        row = self._membership.heartbeat(pool, address, body.report)
        if row is None:
            raise _Refusal(404, f"{address} has no lease in pool {pool}", action="register")
        return web.json_response(self._lease(row))

    async def _deregister(self, request: web.Request) -> web.Response:
        body = parse(await request.read(), Farewell)
        pool = self._pool(body.pool)
        self._check_member(request, pool, await request.read())
        self._check_may_speak(request, body.server_ip, joins=False)
        address = self._known_address(pool, body.server_ip, body.port)
        row = self._membership.find(pool, address)
        if row is not None and row.source != "lease" and not self._is_operator(request):
            raise _Refusal(403, f"{address} was not registered: it is named by {row.source}")
        row = self._membership.deregister(pool, address) or self._membership.leaving(pool, address)
        if row is None:
            raise _Refusal(404, f"{address} is not in pool {pool}")
        return web.json_response(self._lease(row) | {"active": self._membership.active(row)})

    def _pool(self, named: str | None) -> str:
        pools = self._membership.pools()
        if named is None:
            named = pools[0] if len(pools) == 1 else DEFAULT_POOL
        if named not in pools:
            raise BadBody(f"pool: {named!r} is unknown (known: {', '.join(pools)})", "pool")
        return named

    def _port_to_join(self, pool: str, named: int | None) -> int:
        port = named or self._membership.rules(pool).lease.port
        if port is None:
            raise BadBody(f"port: missing (pool {pool} has no lease.port)", "port")
        return port

    def _known_address(self, pool: str, server_ip: str, named: int | None) -> str:
        """The backend that a caller means. Without a port: the pool's lease.port, or the only backend of that host."""
        port = named or self._membership.rules(pool).lease.port
        if port is not None:
            address = join_host_port(server_ip, port)
            if named or self._membership.find(pool, address):
                return address
        here = self._membership.on_host(pool, server_ip)
        if len(here) == 1:
            return here[0].address
        if port is not None:
            return join_host_port(server_ip, port)
        if here:
            raise BadBody(f"port: missing ({server_ip} has {len(here)} backends in pool {pool})", "port")
        raise _Refusal(404, f"{server_ip} has no lease in pool {pool}", action="register")

    def _lease(self, row: Row) -> dict[str, Any]:
        lease = self._membership.rules(row.pool).lease
        return {
            "id": row.id,
            "address": row.address,
            "pool": row.pool,
            "generation": row.generation,
            "heartbeat_s": lease.heartbeat_ms / 1000,
            "lease_s": lease.length_ms / 1000,
            "state": row.state,
        }

    # --- looking -------------------------------------------------------------------------------------------------

    async def _backends(self, request: web.Request) -> web.Response:
        return web.json_response({"pools": self._document()["pools"]})

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._document())

    def _document(self) -> dict[str, Any]:
        try:
            return self._status()
        except LbcoreError as error:
            raise _Refusal(503, str(error)) from None

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        ready, reason = self._ready()
        return web.json_response({"ready": ready, "reason": reason}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        from lbcore.observe.metrics import CONTENT_TYPE, render

        body = render(self._document(), self._refusals.counts)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    # --- picking without the proxy ---------------------------------------------------------------------------------

    async def _get_pick(self, request: web.Request) -> web.Response:
        """A backend by the pool's policy. hold_s: it counts as in use for so long, or until POST /release."""
        pool = self._pool(request.query.get("pool"))
        hold_s = _number(request, "hold_s", 0, 3600)
        cost = int(_number(request, "cost", 1, 65_535))
        try:
            picked = self._pick(pool, request.query.get("key"), max(1, cost))
        except NoBackend as error:
            raise _Refusal(503, str(error), retry_after_s=1) from None
        except OSError as error:
            raise _Refusal(503, f"no section is free to pick from: {error.strerror}") from None
        answer: dict[str, Any] = {"address": picked.address, "id": picked.id, "pool": pool}
        if not hold_s:
            picked.release("left")
            return web.json_response(answer)
        name = self._holds.keep(picked, hold_s)
        if name is None:
            picked.release("left")
            raise _Refusal(503, "too many picks are held")
        return web.json_response(answer | {"pick": name, "hold_s": hold_s})

    async def _release(self, request: web.Request) -> web.Response:
        body = parse(await request.read(), Release)
        if not self._holds.release(body.pick, body.outcome):
            raise _Refusal(404, "no such pick is held: it was released, or its time is over")
        return web.json_response({"status": "released"})

    # --- operators -----------------------------------------------------------------------------------------------

    async def _order(self, request: web.Request) -> web.Response:
        if not self._is_operator(request):
            raise _Refusal(403, "this takes the token, or the control socket")
        verb = request.match_info["verb"]
        if verb not in ("add", "drain", "ready", "remove", "weight"):
            raise _Refusal(404, f"{verb}: unknown (known: add, drain, ready, remove, weight)")
        body = parse(await request.read(), BackendOrder)
        row = await asyncio.to_thread(self._carry_out, verb, body)  # adding resolves a name, which may take its time
        return web.json_response(
            {"id": row.id, "address": row.address, "pool": row.pool, "state": row.state, "weight": row.weight}
        )

    def _carry_out(self, verb: str, body: BackendOrder) -> Row:
        pool = self._pool(body.pool)
        try:
            if verb == "add":
                return self._membership.add(pool, body.address, 1 if body.weight is None else body.weight)
            row = self._membership.find(pool, body.address)
        except ValueError as error:
            raise _Refusal(422, f"address: {error}") from None
        if row is None:
            raise _Refusal(404, f"{normal(body.address)} is not in pool {pool}")
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
        if not self._is_operator(request):
            raise _Refusal(403, "this takes the token, or the control socket")
        try:
            await asyncio.to_thread(self._reload)
        except ConfigError as error:
            raise _Refusal(422, "the configuration was not taken", problems=error.problems) from None
        except LbcoreError as error:
            raise _Refusal(409, str(error), problems=[str(error)]) from None
        return web.json_response({"status": "reloaded"})


def _caller(request: web.Request) -> str | None:
    """The address that calls; None over a unix socket."""
    return None if _by_unix(request) else request.remote


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


def _by_unix(request: web.Request) -> bool:
    transport = request.transport
    bound = transport.get_extra_info("socket") if transport is not None else None
    return bound is not None and bound.family == socket.AF_UNIX


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
