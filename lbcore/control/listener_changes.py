"""Listeners and their certificates follow the settings: at the start, with a reload, and as files change."""

from __future__ import annotations

import time

from lbcore.control.credential_files import CredentialFiles
from lbcore.control.route_maps import RouteMaps
from lbcore.errors import ConfigError
from lbcore.tls.bundle import LISTENER, POOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import BalancerSettings, ListenerSettings, RouteSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.sockets import ListenerSockets
    from lbcore.control.worker_pool import WorkerPool
    from lbcore.table import Table
    from lbcore.tls.publisher import TlsPublisher


class ListenerChanges:
    """Takes them to the table, to the workers and to the TLS of both."""

    def __init__(self, table: Table, workers: WorkerPool, tls: TlsPublisher, log: Callable[[str], None]) -> None:
        self._table, self._workers, self._listening, self._tls = table, workers, workers.listening, tls
        self._log = log
        self._credentials = CredentialFiles(log)
        self._maps = RouteMaps(log, self._publish_maps)
        self._since_us = 0
        self._settings: BalancerSettings | None = None
        self._first: list[RouteSettings] = []

    def begin(self, settings: BalancerSettings, adoption: Adoption | None) -> None:
        """Bind all, before any worker is there. Raises PortTaken or ConfigError."""
        self._credentials.adopt(self._credentials.read(settings))
        self._tls.adopt(self._tls.read(settings), settings)
        self._listening.open_all(settings, adoption)
        self._settings = settings
        self._table.set_routes(self._listening.packed_routes(settings, self._credentials.sets))
        self._follow_maps(settings)
        self._tls.tell(POOL)
        self._tls.tell(LISTENER)

    def look_up(self, settings: BalancerSettings) -> None:
        """Ask name servers for the hosts that listeners name, before `apply`, which waits for nobody. Raises ConfigError."""
        self._listening.look_up(settings)

    def apply(self, settings: BalancerSettings, ready: Callable[[], None]) -> None:
        """Follow new listeners: kept ones take their new settings, new ones are served, the rest is drained and closed.

        All new ones are bound before anything else changes; then `ready` is called: whom routes lead to must be there when they
        hold. Files of keys and certificates are read anew. Raises PortTaken or ConfigError with nothing changed.
        """
        with self._workers.lock:
            self._apply(settings, ready)
        self._workers.await_all("did not take the new listeners")

    def _apply(self, settings: BalancerSettings, ready: Callable[[], None]) -> None:
        secrets, sets = self._tls.read(settings), self._credentials.read(settings)
        slots = self._workers.slots
        opened, routes = self._listening.open_fresh(settings, slots.retiring, sets)
        leaving = self._listening.follow(settings)
        self._tls.adopt(secrets, settings)
        self._credentials.adopt(sets)
        self._settings = settings
        self._tls.tell(POOL)  # before rows say that TLS is spoken
        ready()
        self._tls.tell(LISTENER)
        self._table.set_routes(routes)  # before rows say that a guard stands before their requests
        self._follow_maps(settings)
        if self._first:
            self._publish_maps(settings)
        self._write_all()
        for index in opened:
            for slot in slots.staying():
                self._workers.hand_over(slot, index, succeeds=slot is slots.coming)
        for index, (listener, sockets) in leaving.items():
            self._close(index, listener, sockets)
        self._tls.withdraw()

    def _write_all(self) -> None:
        for index in self._listening.rows:
            self._listening.write(index)

    def _close(self, index: int, listener: ListenerSettings, sockets: ListenerSockets) -> None:
        """Our copies first: what is queued stays with the workers, who accept it before they close theirs. Those of datagrams
        go with the last session."""
        slots = self._workers.slots
        if listener.mode == "udp":
            serving = {slot for slot in slots.staying() if slot.channel and sockets.of_worker(slot.number)}
            self._listening.parting.add(index, listener, sockets, serving)
        else:
            sockets.close(ends=True)
        slots.unlisten(index)
        self._table.set_listener(index, None)

    def _follow_maps(self, settings: BalancerSettings) -> None:
        self._since_us = time.monotonic_ns() // 1000
        self._maps.follow(settings, time.monotonic())

    def _publish_maps(self, settings: BalancerSettings) -> None:
        """Their routes are still the same ones."""
        self._table.set_routes(self._listening.packed_routes(settings, self._credentials.sets, self._since_us, self._first))

    def put_first(self, routes: list[RouteSettings]) -> None:
        """These routes stand before all others from now on, in the place of those that did. Any thread."""
        with self._workers.lock:
            if self._settings is None or self._workers.draining:
                return
            self._first = routes
            self._publish_maps(self._settings)

    def _follow_credentials(self, settings: BalancerSettings) -> None:
        try:
            self._publish_maps(settings)
        except ConfigError as error:  # too many for the table
            for problem in error.problems:
                self._log(f"{problem}; the credentials before stay in force")

    def map_standings(self) -> list[dict[str, Any]]:
        """How the map files of routes are doing (RouteMaps.standings)."""
        return self._maps.standings()

    @property
    def _wanted_at(self) -> float | None:
        times = (self._tls.wanted_at, self._maps.wanted_at, self._credentials.wanted_at)
        return min((when for when in times if when is not None), default=None)

    def tend(self, now: float) -> float | None:
        """Files that changed, keys of tickets whose time has come. When to look again."""
        wanted = self._wanted_at
        if wanted is None or now < wanted or self._workers.draining:
            return None if self._workers.draining else wanted
        if not self._workers.lock.acquire(blocking=False):  # a reload is under way, and reads all files by itself
            return now + 1
        try:
            if self._tls.wanted_at is not None and now >= self._tls.wanted_at and self._tls.tick(now):
                self._write_all()
            self._maps.tick(now)
            if self._credentials.tick(now) and self._settings:
                self._follow_credentials(self._settings)
            return self._wanted_at
        finally:
            self._workers.lock.release()
