"""Operators' orders, as the nodes of a cluster agree on them. Pure."""

from __future__ import annotations

from lbcore.cluster.moves import Obey
from lbcore.cluster.orders import Order, Orders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lbcore.cluster.keys import Backend
    from lbcore.cluster.moves import Move
    from lbcore.cluster.stamp import StampClock


MARGIN_MS = 3_600_000
"""Clocks of nodes may differ by so much until one writes again what another has forgotten."""


class OrderBook:
    """writes: what the store is to be told, None: to delete. moves: what our members are to obey."""

    def __init__(self, node: str, clock: StampClock) -> None:
        self._node, self._clock = node, clock
        self.known: dict[Backend, Orders] = {}
        self.writes: dict[Backend, Orders | None] = {}
        self.moves: list[Move] = []

    def ordered(self, backend: Backend, kind: str, value: object, now_ms: int) -> None:
        """An operator's word, given here and obeyed already. kind, value: as in `Orders`."""
        known = self.known.get(backend, Orders())
        order = Order(self._clock.next(now_ms, known.stamp), value, self._node)
        self._set(backend, known._replace(**{kind: order}))

    def reread(self, found: Mapping[Backend, Orders], now_ms: int) -> None:
        """All that the store has. What it has no more is written again: it was wiped, or is older."""
        self.writes.clear()
        for backend in list(self.known):
            if backend not in found:
                self.changed(backend, None, now_ms)
        for backend, orders in found.items():
            self.changed(backend, orders, now_ms)

    def changed(self, backend: Backend, theirs: Orders | None, now_ms: int) -> None:
        """A key was written, or deleted."""
        known = self.known.get(backend, Orders())
        if theirs is None and known.is_void(now_ms):
            self.known.pop(backend, None)
            self.writes.pop(backend, None)
            return
        merged = known.merged(theirs or Orders())
        self._clock.see(merged.stamp, now_ms)
        self.known[backend] = merged
        for kind, before, after in zip(Orders._fields, known, merged, strict=True):
            if after is not None and after != before:
                self.moves.append(Obey(backend, kind, after.value))
        self.writes.pop(backend, None)
        if merged != theirs:
            self.writes[backend] = merged

    def forget(self, now_ms: int) -> None:
        """Drop what changes nothing any more; one node is to do that."""
        for backend, orders in list(self.known.items()):
            if orders.is_void(now_ms - MARGIN_MS):
                del self.known[backend]
                self.writes[backend] = None

    def _set(self, backend: Backend, orders: Orders) -> None:
        self.known[backend] = orders
        self.writes[backend] = orders
