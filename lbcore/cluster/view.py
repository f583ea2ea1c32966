"""What a node knows of its cluster: the store's keys go in, changes of the store and moves of our members come out. Pure."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, TypeVar

from lbcore.cluster import drained_nodes, entry, loads, marks, orders
from lbcore.cluster.drained_nodes import DrainedNodes
from lbcore.cluster.entry import Entry, Node, Owner
from lbcore.cluster.keys import FORMAT, Keys
from lbcore.cluster.loads import Loads
from lbcore.cluster.moves import Obey
from lbcore.cluster.order_book import OrderBook
from lbcore.cluster.orders import Order, Orders
from lbcore.cluster.registry import Registry
from lbcore.cluster.stamp import StampClock
from lbcore.cluster.words import NotOurs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.cluster.keys import Backend
    from lbcore.cluster.keys import Name as KeyName
    from lbcore.cluster.moves import Move
    from lbcore.cluster.ticket_ring import SharedKey, TicketRing
    from lbcore.store.interface import Change, Item

T = TypeVar("T")
K = TypeVar("K")

TICKETS = "tickets"
"""The name of a secret: the keys of TLS tickets."""

FORGET_S = 60.0
"""So often the node that leads looks for orders that change nothing any more."""

MOST_IGNORED = 10_000
"""Keys under the prefix that are none of ours: of more the names are not kept."""


class NotOurPrefix(Exception):
    """Something else keeps its keys there."""


class Pending(NamedTuple):
    """A key to be written. value: None: to be deleted. leased: it goes with this node."""

    key: str
    value: bytes | None
    leased: bool = False


class _Found:
    """The keys of a full read, sorted."""

    def __init__(self) -> None:
        self.leases: dict[Backend, Entry] = {}
        self.orders: dict[Backend, Orders] = {}
        self.nodes: dict[str, Node] = {}
        self.drains: dict[str, Order] = {}
        self.heard: dict[str, frozenset[int]] = {}
        self.format: str | None = None
        self.tickets: bytes | None = None
        self.ours = 0


class View:
    """me: this node. Times are seconds of one clock; now_ms is Unix time. tell: called with a line for the log.

    is_unmarked: the key that says that the prefix is ours is to be written. is_unsaid: our own key is. tickets: the keys
    of TLS tickets, where nodes share a secret. asks: loads that are reported at other nodes count here, too.
    """

    def __init__(
        self,
        me: Owner,
        prefix: str,
        keep_s: float,
        tell: Callable[[str], None],
        tickets: TicketRing | None = None,
        *,
        asks: bool = False,
    ) -> None:
        self.me: Owner = me
        self.asks: bool = asks
        self.keys: Keys = Keys(prefix)
        clock = StampClock(me.node)
        self.registry: Registry = Registry(me, clock, keep_s, self.lives)
        self.orders: OrderBook = OrderBook(me.node, clock)
        self.drained: DrainedNodes = DrainedNodes(me.node, clock)
        self.tickets: TicketRing | None = tickets
        self.loads: Loads = Loads()
        self.told_loads: list[loads.Told] = []
        self.nodes: dict[str, Node] = {}
        self.ignored: set[str] = set()
        self.is_unmarked: bool = False
        self.is_unsaid: bool = False
        self._under_way: list[tuple[dict[Any, Any], Any, Any]] = []
        self._sealed: tuple[SharedKey, ...] | None = None
        self._heard_keys = 0
        self._forget_at = 0.0
        self._tell = tell
        self._told_twin = self._told_ignored = False

    def lives(self, owner: Owner) -> bool:
        """Does a node still hold its lease, in that life?"""
        node = self.nodes.get(owner.node)
        return owner == self.me or (node is not None and node.life == owner.life)

    # --- what the store says -------------------------------------------------------------------------------------

    def reread(self, items: Iterable[Item], now: float, now_ms: int) -> None:
        """All that the store has under our prefix. Raises NotOurPrefix."""
        self.ignored.clear()
        found = _Found()
        for item in items:
            self._sort(found, item.key, item.value)
        self._check_format(found)
        self._tickets_changed(found.tickets, now_ms)
        self._tell_ignored()
        self.nodes = found.nodes
        self.drained.reread(found.drains, now_ms)
        self.registry.vouched_anew(found.heard, now)
        self.registry.connected = True
        self.registry.reread(found.leases, now, now_ms)
        self.orders.reread(found.orders, now_ms)
        self.is_unmarked = found.format is None
        self._follow_nodes(now, now_ms)

    def _check_format(self, found: _Found) -> None:
        if found.format is None and self.ignored and not found.ours:
            raise NotOurPrefix(f"prefix: {self.keys.prefix!r} is used by something else, such as {min(self.ignored)!r}")
        self._check_version(found.format)

    def _check_version(self, written: str | None) -> None:
        if written not in (None, FORMAT):
            raise NotOurPrefix(f"prefix: {self.keys.prefix!r} is written as {written!r:.80}, which this version cannot read")

    def _sort(self, found: _Found, key: str, value: bytes) -> None:
        name = self.keys.read(key)
        try:
            if name is None:
                raise NotOurs("no key of ours")
            if name.kind == "format":
                found.format = value.decode(errors="replace")
            elif name.backend is not None and name.kind == "leases":
                found.leases[name.backend] = entry.read(value)
            elif name.backend is not None:
                found.orders[name.backend] = orders.read(value)
            elif name.kind == "nodes":
                found.nodes[name.node] = entry.read_node(value)
            elif name.kind == "drains":
                found.drains[name.node] = drained_nodes.read(value)
            elif name.node == TICKETS:
                found.tickets = value
            elif name.kind == "heard":
                found.heard[name.node] = marks.read(value)
            elif name.kind == "loads":
                loads.read(value)  # of unknown age
            found.ours += 1
        except NotOurs:
            self._ignore(key)

    def changed(self, changes: Iterable[Change], now: float, now_ms: int) -> None:
        """What a watch has brought. Raises NotOurPrefix."""
        nodes = False
        for change in changes:
            name = self.keys.read(change.key)
            if name is None:
                self._ignore_unless_gone(change)
            elif name.kind == "format":
                self._check_version(None if change.value is None else change.value.decode(errors="replace"))
                self.is_unmarked = change.value is None
            elif name.kind == "leases" and name.backend is not None:
                self.registry.changed(name.backend, self._read(entry.read, change), now, now_ms)
            elif name.kind == "orders" and name.backend is not None:
                self.orders.changed(name.backend, self._read(orders.read, change), now_ms)
            elif name.kind == "heard":
                self.registry.vouched(name.node, self._read(marks.read, change), now)
            elif name.kind == "loads":
                self._loads_told(name.node, self._read(loads.read, change) or [])
            elif name.kind == "secrets":
                self._tickets_changed(change.value, now_ms)
            elif name.kind == "drains":
                self.drained.changed(name.node, self._read(drained_nodes.read, change), now_ms)
                nodes = True
            elif name.kind == "nodes":
                self._node_changed(name, change)
                nodes = True
        if nodes:
            self._follow_nodes(now, now_ms)
        self._tell_ignored()

    def _loads_told(self, by: str, told: list[loads.Told]) -> None:
        """by: a node, and the number of its key."""
        if self.asks and by.rpartition("/")[0] != self.me.node:
            self.told_loads += told

    def _tickets_changed(self, value: bytes | None, now_ms: int) -> None:
        key = self.keys.secret(TICKETS)
        self.ignored.discard(key)
        try:
            if self.tickets is not None:
                self.tickets.changed(value, now_ms)
        except NotOurs:
            self._ignore(key)

    def _node_changed(self, name: KeyName, change: Change) -> None:
        node = self._read(entry.read_node, change)
        if node is None:
            self.nodes.pop(name.node, None)
            self.is_unsaid |= name.node == self.me.node
            return
        self.nodes[name.node] = node
        if name.node == self.me.node and node.life != self.me.life and not self._told_twin:
            self._told_twin = True
            self._tell(f"node: {name.node!r} is used by another balancer, too ({node.address or 'without an address'})")

    def _read(self, read: Callable[[bytes], T], change: Change) -> T | None:
        """None: it is gone, or damaged, which comes to the same: who knows better writes it again."""
        if change.value is None:
            self.ignored.discard(change.key)
            return None
        try:
            value = read(change.value)
        except NotOurs:
            self._ignore(change.key)
            return None
        self.ignored.discard(change.key)
        return value

    def _ignore_unless_gone(self, change: Change) -> None:
        if change.value is None:
            self.ignored.discard(change.key)
        else:
            self._ignore(change.key)

    def _ignore(self, key: str) -> None:
        if len(self.ignored) < MOST_IGNORED:
            self.ignored.add(key)

    def _tell_ignored(self) -> None:
        """Once until there are none any more."""
        if self.ignored and not self._told_ignored:
            self._tell(
                f"prefix: {len(self.ignored)} keys are none of lbcore's, or damaged: ignored, such as {min(self.ignored)!r}"
            )
        self._told_ignored = bool(self.ignored)

    def _follow_nodes(self, now: float, now_ms: int) -> None:
        self.registry.draining = self.me.node in self.drained
        self.loads.wanted = any(node.asks for name, node in self.nodes.items() if name != self.me.node)
        self.registry.owners_changed(now, now_ms)

    def drain(self, node: str, drained: bool, now: float, now_ms: int) -> None:
        """An operator's order at this node, for this one or another."""
        self.drained.ordered(node, drained, now_ms)
        self._follow_nodes(now, now_ms)

    # --- what comes out ------------------------------------------------------------------------------------------

    def moves(self) -> list[Move]:
        """What our members are to follow, once. A weight that a backend has changed since is no order any more."""
        told = [*self.registry.moves, *(move for move in self.orders.moves if not self._is_outdated(move))]
        self.registry.moves.clear()
        self.orders.moves.clear()
        return told

    def _is_outdated(self, move: Move) -> bool:
        if not isinstance(move, Obey) or move.kind != "weight":
            return False
        seen, order = self.registry.seen.get(move.backend), self.orders.known[move.backend].weight
        return seen is not None and order is not None and seen.entry.stamp > order.stamp

    def take_loads(self) -> list[loads.Told]:
        """What other nodes have told of loads, once."""
        told, self.told_loads = self.told_loads, []
        return told

    def pending(self, most: int) -> list[Pending]:
        """So many keys to be written now. They are pending until `written` is called."""
        self._under_way.clear()
        self._sealed = None
        found: list[Pending] = []
        for backend, said in self._some(self.registry.writes, most):
            found.append(Pending(self.keys.of("leases", backend), said and said.write(), leased=True))
        for backend, ordered in self._some(self.orders.writes, most - len(found)):
            found.append(Pending(self.keys.of("orders", backend), ordered and ordered.write()))
        for node, order in self._some(self.drained.writes, most - len(found)):
            found.append(Pending(self.keys.drain(node), order and drained_nodes.write(order)))
        if self.tickets is not None and self.tickets.write and len(found) < most:
            self._sealed = self.tickets.keys
            found.append(Pending(self.keys.secret(TICKETS), self.tickets.value()))
        return found

    def _some(self, writes: dict[K, T], most: int) -> list[tuple[K, T]]:
        found = list(itertools.islice(writes.items(), max(0, most)))
        self._under_way += [(writes, key, value) for key, value in found]
        return found

    def written(self) -> None:
        """The store has what was pending; what has changed meanwhile stays pending."""
        for writes, key, value in self._under_way:
            if key in writes and writes[key] is value:
                del writes[key]
        if self.tickets is not None and self._sealed is not None and self.tickets.keys is self._sealed:
            self.tickets.write = False
        self._under_way.clear()
        self._sealed = None

    def heard(self) -> list[Pending]:
        """What other nodes are to know every few seconds: which of their backends are heard here."""
        values = marks.written(self.registry.foreign())
        self._heard_keys, before = len(values), self._heard_keys
        gone = range(len(values), before)
        node = self.me.node
        told = [Pending(self.keys.heard(node, at), value, leased=True) for at, value in enumerate(values)]
        return [*told, *(Pending(self.keys.heard(node, at), None) for at in gone)]

    def reported(self, now: float) -> list[Pending]:
        """Loads that nodes which ask for them are to know; for one transaction."""
        values = self.loads.take(now, len(self.nodes))
        return [Pending(self.keys.loads(self.me.node, at), value, leased=True) for at, value in enumerate(values)]

    @property
    def unwritten(self) -> int:
        """How much the other nodes do not know yet."""
        tickets = self.tickets is not None and self.tickets.write
        return len(self.registry.writes) + len(self.orders.writes) + len(self.drained.writes) + tickets

    def tick(self, now: float, now_ms: int) -> None:
        """What time alone changes."""
        self.registry.tick(now, now_ms)
        if now >= self._forget_at and self.registry.connected and self.leads:
            self._forget_at = now + FORGET_S
            self.orders.forget(now_ms)
            self.drained.forget(now_ms)

    @property
    def leads(self) -> bool:
        """Is it this node that does what one node is to do?"""
        return self.me.node == min(self.nodes, default="")
