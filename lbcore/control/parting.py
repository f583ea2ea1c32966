"""Listeners of mode udp that a reload has removed: workers keep a socket until the sessions of its clients have ended.

Meanwhile a listener's row is nobody else's, and its sockets stay open here: a group that shrinks would send datagrams of one
worker's clients to another. A listener of the same address takes row, sockets and sessions back.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ListenerSettings
    from lbcore.control.sockets import ListenerSockets
    from lbcore.control.worker_slots import WorkerSlot


class Removed(NamedTuple):
    """A listener that was. sockets: ours; None: only workers have any. slots: whose workers serve sessions of it still."""

    url: str
    port: int
    idle_s: float
    sockets: ListenerSockets | None
    slots: set[WorkerSlot]


class Parting:
    """All of them, by row. The supervisor's lock guards it."""

    def __init__(self) -> None:
        self._removed: dict[int, Removed] = {}

    @property
    def rows(self) -> set[int]:
        """Rows that are not free yet."""
        return set(self._removed)

    def add(self, row: int, listener: ListenerSettings, sockets: ListenerSockets, slots: set[WorkerSlot]) -> None:
        """The workers of these slots are about to be told that it was removed: each says when it has closed it."""
        self.put(row, Removed(listener.url, sockets.port, listener.idle_timeout_ms / 1000, sockets, slots))

    def put(self, row: int, removed: Removed) -> None:
        """Likewise, as `take` gave it."""
        self._removed[row] = removed
        self._settle(row)

    def take(self, url: str, retiring: list[WorkerSlot]) -> tuple[int, Removed] | None:
        """What a listener of this URL takes back: its row, and what there is of it. Nothing where a worker that drains serves
        sessions of it: two would read the same socket."""
        for row, removed in self._removed.items():
            if removed.url == url and removed.port and removed.sockets and not removed.slots & set(retiring):
                removed.sockets.forget_queued({slot.number for slot in removed.slots})
                return row, self._removed.pop(row)
        return None

    def holder(self, port: int) -> Removed | None:
        """Who keeps a port."""
        return next((removed for removed in self._removed.values() if removed.port == port), None)

    def closed(self, slot: WorkerSlot, row: int | None = None) -> None:
        """The worker of a slot has closed a row; None: it has ended."""
        for at in [row] if row is not None else list(self._removed):
            if at in self._removed:
                self._removed[at].slots.discard(slot)
                self._settle(at)

    def _settle(self, row: int) -> None:
        if not self._removed[row].slots:
            self._close(self._removed.pop(row))

    def close(self) -> None:
        """Close our copies of all of them."""
        while self._removed:
            self._close(self._removed.popitem()[1])

    @staticmethod
    def _close(removed: Removed) -> None:
        if removed.sockets:
            removed.sockets.close(ends=True)
