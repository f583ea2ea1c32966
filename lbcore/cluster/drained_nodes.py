"""Which nodes operators have drained for maintenance. Pure; the last word counts."""

from __future__ import annotations

from lbcore.cluster.orders import FORGET_MS, Order
from lbcore.cluster.words import Words, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.cluster.stamp import StampClock


class DrainedNodes:
    """writes: what the store is to be told, by node; None: to delete."""

    def __init__(self, node: str, clock: StampClock) -> None:
        self._node, self._clock = node, clock
        self._known: dict[str, Order] = {}
        self.writes: dict[str, Order | None] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._known and bool(self._known[node].value)

    def ordered(self, node: str, drained: bool, now_ms: int) -> None:
        """An operator's word, given here."""
        before = self._known.get(node)
        self._known[node] = Order(self._clock.next(now_ms, *([before.stamp] if before else [])), drained, self._node)
        self.writes[node] = self._known[node]

    def reread(self, found: dict[str, Order], now_ms: int) -> None:
        """All that the store has."""
        for node in {*self._known, *found}:
            self.changed(node, found.get(node), now_ms)

    def changed(self, node: str, theirs: Order | None, now_ms: int) -> None:
        """A key was written, or deleted: then it is written again, unless it drains nothing."""
        known = self._known.get(node)
        if theirs is None:
            if known is not None and known.value:
                self.writes[node] = known
            else:
                self._known.pop(node, None)
                self.writes.pop(node, None)
            return
        self._clock.see(theirs.stamp, now_ms)
        if known is None or theirs.stamp >= known.stamp:
            self._known[node] = theirs
            self.writes.pop(node, None)
        else:
            self.writes[node] = known

    def forget(self, now_ms: int) -> None:
        """Drop what drains nothing any more; one node is to do that."""
        for node, order in list(self._known.items()):
            if not order.value and order.stamp.ms < now_ms - FORGET_MS:
                del self._known[node]
                self.writes[node] = None


def read(value: bytes) -> Order:
    """Raises NotOurs."""
    words = Words(value)
    return Order(words.stamp(), words.truth("value"), words.text("by"))


def write(order: Order) -> bytes:
    """The value of its key."""
    return written(**order._asdict())
