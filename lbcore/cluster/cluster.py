"""A balancer's part in a cluster: one thread that carries words between its members and the store. Nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque

from lbcore.backoff import Backoff
from lbcore.cluster.entry import Node, Owner
from lbcore.cluster.following import Following
from lbcore.cluster.keys import Backend
from lbcore.cluster.session import Session, now_ms
from lbcore.cluster.ticket_ring import TicketRing
from lbcore.cluster.view import View
from lbcore.config.settings import is_unix
from lbcore.log_once import LogOnce
from lbcore.store.interface import LeaseGone, Refused, StoreError
from lbcore.tls.tickets import TicketKey
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import ClusterSettings
    from lbcore.discovery.membership import Membership
    from lbcore.store.interface import Store

START_S = 5.0
"""A balancer that starts waits so long for the store, unless no member answers: it begins with all that the others know."""
KEYS_S = 1.0
"""One that takes over workers knows all that; it waits for the shared keys of TLS tickets only, lest it make one of its own."""
LOOK_S = 0.1
RETRY_S = 30.0
"""So often backends that did not fit in are tried again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
REMOVED = "removed by an operator"


class Cluster:
    """Runs from `start` to `stop`. address: where this node's admin server listens, "" while it does not.

    rotation_ms: how often keys of TLS tickets change.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        membership: Membership,
        *,
        address: Callable[[], str],
        store: Store,
        rotation_ms: Callable[[], int],
        log: Callable[[str], None],
    ) -> None:
        self._settings, self._address, self._store = settings, address, store
        self._since_ms = now_ms()
        self._rotation_ms = rotation_ms
        me = Owner(settings.node, secrets.token_hex(8))
        tickets = TicketRing(settings.secret.reveal().encode()) if settings.secret else None
        self._asks = settings.trust == "reports"
        self._view = View(
            me, settings.prefix, settings.keep_ms / 1000, lambda line: log(f"cluster: {line}"), tickets, asks=self._asks
        )
        self._following = Following(membership, log)
        self._log_once = LogOnce(log, "cluster", over="connected")
        self._events: deque[tuple[str, str, str, object]] = deque()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._synced = threading.Event()
        self._goodbye = True
        self._is_over = False
        self._published = False
        membership.on_lease.subscribe(lambda pool, address, why: self._told(pool, address, "lease", why))
        membership.on_order.subscribe(self._told)
        membership.on_report.subscribe(self._view.loads.hear)

    # --- life, on others' threads --------------------------------------------------------------------------------

    def start(self, *, takes_over: bool = False) -> None:
        """Once. Begin, and wait for a moment until what the others know is here. takes_over: workers and backends are here."""
        self._thread = threading.Thread(target=self._run, name="lbcore-cluster", daemon=True)
        self._thread.start()
        self._synced.wait(START_S if not takes_over else KEYS_S if self._view.tickets else 0)

    def stop(self) -> None:
        """End; our keys go from the store."""
        self._end()

    def leave(self) -> None:
        """End, and leave our keys to who goes on here."""
        self._goodbye = False
        self._end()

    def _end(self) -> None:
        if self._thread is None:
            return
        self._is_over = True
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()
        self._thread = None

    def _told(self, pool: str, address: str, kind: str, value: object) -> None:
        """A member has news. Called under the members' lock, so that events keep their order."""
        if is_unix(address):  # this host's alone
            return
        self._events.append((pool, address, kind, value))
        self._poke()

    def _poke(self) -> None:
        loop = self._loop
        if loop is not None and not self._wake.is_set():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake.set)

    def reshow(self) -> None:
        """The pools are others now: what the cluster knows of new ones is to be shown."""
        self._told("", "", "reshow", None)

    def drain_node(self, name: str | None, drained: bool) -> str:
        """An operator's order: a node, None: this one, is to serve no more, or again: its name. Raises ValueError for one that
        is not there."""
        node = name or self._view.me.node
        if drained and node not in self._view.nodes and node != self._view.me.node:
            known = ", ".join(sorted(self._view.nodes)) or "none"
            raise ValueError(f"node: {node!r} is unknown (known: {known})")
        self._told("", node, "node", drained)
        return node

    @property
    def is_drained(self) -> bool:
        """Is this node to serve no more?"""
        return self._view.me.node in self._view.drained

    def ticket_keys(self) -> tuple[TicketKey, ...]:
        """That all nodes have, the newest first; none where they share no secret, or before the first is known."""
        ring, now, ms = self._view.tickets, time.monotonic(), now_ms()
        return tuple(TicketKey(now - (ms - key.born_ms) / 1000, key.secret) for key in ring.keys) if ring else ()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self._serve())
        finally:
            self._synced.set()

    async def _serve(self) -> None:
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        if self._is_over:
            return
        self._session = session = Session(self._store, self._view, self._node, self._store_changed)
        for backend, told in self._following.leased():
            if told is not None:
                self._view.registry.assume(backend, told, time.monotonic())
        keeping = asyncio.ensure_future(self._keep_up())
        try:
            await self._stay_in_contact(session)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await session.end(goodbye=self._goodbye)
            self._loop = None

    async def _stay_in_contact(self, session: Session) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            began = time.monotonic()
            try:
                await session.run()
            except LeaseGone:
                pass  # this process was held up, or an operator has ended the lease
            except Refused as error:
                self._log_once.tell(f"{error.option}: {error}")
                backoff.lengthen()
            except StoreError as error:
                self._log_once.tell(f"the store cannot be reached: {error}")
            except Exception as error:
                self._log_once.tell(f"a fault of lbcore's own: {error!r}")
                backoff.lengthen()
            else:
                continue  # it is time to read all again
            self._let_begin()
            if time.monotonic() - began > LONGEST_PAUSE_S:
                backoff.begin_anew()
            await asyncio.sleep(backoff.next())

    async def _keep_up(self) -> None:
        """With our own members and with time, whether there is a store or not."""
        retry_at = time.monotonic() + RETRY_S
        while True:
            self._wake.clear()
            try:
                self._hear()
                self._view.tick(time.monotonic(), now_ms())
                if self._synced.is_set():
                    self._turn_ticket_keys()
                if time.monotonic() >= retry_at:
                    retry_at = time.monotonic() + RETRY_S
                    self._retry()
                self._follow()
            except Exception as error:
                self._log_once.tell(f"a fault of lbcore's own: {error!r}")
            if self._view.unwritten and self._session is not None:
                self._session.write_soon()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    def _retry(self) -> None:
        if self._following.misses_some():
            self._view.registry.show_all()

    def _turn_ticket_keys(self) -> None:
        if self._view.tickets is not None:
            self._view.tickets.rotate(now_ms(), self._rotation_ms(), leads=self._view.leads)

    def _let_begin(self) -> None:
        """What the others know is here, or cannot be had now. Before that no key of tickets is made: there may be one."""
        if not self._synced.is_set():
            self._turn_ticket_keys()
            self._synced.set()

    def _store_changed(self) -> None:
        """The session has read something."""
        assert self._session is not None
        self._follow()
        if self._session.connected:
            self._log_once.tell("")
            self._publish_once()
            self._let_begin()
        if self._view.unwritten:
            self._session.write_soon()

    def _follow(self) -> None:
        moves = self._view.moves()
        if moves:
            self._following.follow(moves)
        if told := self._view.take_loads():
            self._following.heed(told)

    def _publish_once(self) -> None:
        """What operators have ordered here before there was a cluster, or while it was away, others are to hear of."""
        if self._published:
            return
        self._published = True
        orders = self._view.orders
        for backend, weight, tier in self._following.added():
            if backend not in orders.known:
                orders.ordered(backend, "member", (weight, tier), now_ms())
        for backend in self._following.drained():
            if backend not in orders.known:
                orders.ordered(backend, "drain", True, now_ms())

    # --- what our own members say --------------------------------------------------------------------------------

    def _hear(self) -> None:
        events = [self._events.popleft() for _ in range(len(self._events))]
        leases = {
            Backend(pool, address)
            for pool, address, kind, value in events
            if kind in ("lease", "weight") and not (kind == "lease" and value)
        }
        told = dict(self._following.look(leases))
        for pool, address, kind, value in events:
            try:
                self._hear_one(Backend(pool, address), kind, value, told)
            except Exception as error:  # those after it are heard all the same
                self._log_once.tell(f"a fault of lbcore's own: {address}: {error!r}")

    def _hear_one(self, backend: Backend, kind: str, value: object, told: dict[Backend, Any]) -> None:
        registry, now, ms = self._view.registry, time.monotonic(), now_ms()
        if kind == "reshow":
            registry.show_all()
        elif kind == "node":
            self._view.drain(backend.address, bool(value), now, ms)
        elif kind == "lease" and value:
            registry.left(backend, str(value), now, ms)
        elif kind == "lease" or (kind == "weight" and backend in registry.held):
            if told.get(backend) is not None:
                registry.heard(backend, told[backend], now, ms)
            else:
                registry.silent(backend, now, ms)
        elif kind == "member" and value is False:
            self._hear_removal(backend, now, ms)
        else:
            self._view.orders.ordered(backend, kind, value, ms)

    def _hear_removal(self, backend: Backend, now: float, ms: int) -> None:
        """Of a registration, or of what an operator had added; what the file names is each node's own."""
        self._view.registry.left(backend, REMOVED, now, ms)
        known = self._view.orders.known.get(backend)
        if known is not None and known.added is not None:
            self._view.orders.ordered(backend, "member", False, ms)
        if known is not None and known.is_drained:
            self._view.orders.ordered(backend, "drain", False, ms)

    # --- what is seen --------------------------------------------------------------------------------------------

    def _node(self) -> Node:
        return Node(self._view.me.life, self._address(), VERSION, self._since_ms, self.is_drained, self._asks)

    def status(self) -> dict[str, Any]:
        """JSON-ready: part of the status document."""
        session, view, now, ms = self._session, self._view, time.monotonic(), now_ms()
        contact = session.contact if session else None
        connected = bool(session and session.connected)
        seen_s = None if contact is None else round(now - contact, 3)
        return {
            "kind": self._settings.kind,
            "node": view.me.node,
            "prefix": view.keys.prefix,
            "connected": connected,
            "error": self._log_once.last,
            "revision": session.revision if session else 0,
            "last_contact_s": seen_s,
            "lag_s": round(session.lag_s, 4) if session else 0.0,
            "drained": self.is_drained,
            "registrations": len(view.registry.seen),
            "heard": len(view.registry.held),
            "unwritten": view.unwritten,
            "ignored": len(view.ignored),
            "trust": self._settings.trust,
            "reports": {"sent": view.loads.sent, "used": self._following.used},
            "nodes": [
                {
                    "name": name,
                    "address": node.address,
                    "version": node.version,
                    "since_s": round(max(0.0, (ms - node.since_ms) / 1000), 1),
                    "last_seen_s": 0.0 if connected else seen_s,
                    "draining": name in view.drained,
                }
                for name, node in sorted(view.nodes.copy().items())
            ],
        }
