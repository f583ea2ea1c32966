"""The admin server: one thread, one event loop, the calls of interface "Admin endpoints" over TCP and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from lbcore.admin.access import Access
from lbcore.admin.authorization import Authorization
from lbcore.admin.calls import Calls
from lbcore.admin.fast_path import FastPath
from lbcore.admin.feed import Feed
from lbcore.admin.framework import Framework
from lbcore.admin.request import caller_of
from lbcore.admin.sockets import AdminSockets
from lbcore.config.secret import revealed

if TYPE_CHECKING:
    from collections.abc import Callable

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
    status, metrics, ready, reload, upgrade, drain_node, pick: what the balancer answers. own: where it listens itself, (host,
    port) each.
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
        drain_node: Callable[[str | None, bool], str] | None,
        pick: Callable[[str, str | None, int], Pick],
        own: Callable[[], list[tuple[str, int]]],
        log: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._control_path = control_path
        self._log = log
        rate = settings.rate if settings else 0
        self._authorization = Authorization(_access_of(settings), rate, membership, own)
        self._calls = Calls(
            self._authorization,
            membership,
            status=status,
            metrics=metrics,
            ready=ready,
            reload=reload,
            upgrade=upgrade,
            drain_node=drain_node,
            pick=pick,
            log=log,
        )
        self._feed = Feed(self._calls.document)
        self._sockets = AdminSockets()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._quiet_until = 0.0
        self.address: str | None = None

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
        framework = Framework(self._calls, self._feed, self._authorization, max_body=MAX_BODY, idle_s=IDLE_S)
        plain: set[asyncio.Transport] = set()

        def protocol() -> asyncio.Protocol:
            answer, look = self._calls.answer_backend, self._calls.answer_look
            return FastPath(answer, look, framework.protocol, caller_of, plain, max_body=MAX_BODY, idle_s=IDLE_S)

        servers = [await self._loop.create_server(protocol, sock=bound) for bound in self._sockets.bound]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        self._feed.close()
        for transport in list(plain):
            transport.abort()
        await framework.close()
        self._calls.close()

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no call failed for, such as that none can be accepted: asyncio tries that a hundred times in a row."""
        if loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + QUIET_S
            self._log(f"admin: {context['message']}: {context.get('exception')}")


def _access_of(settings: AdminSettings | None) -> Access:
    if settings is None:
        return Access(None, [])
    return Access(revealed(settings.token), settings.allow, revealed(settings.read_token))
