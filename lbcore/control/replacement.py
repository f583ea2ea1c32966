"""A new worker in the place of an old one: it begins to serve, then the old one drains."""

from __future__ import annotations

import time

from lbcore import locks
from lbcore.engine import notes
from lbcore.engine.channel import move_sessions
from lbcore.errors import LbcoreError, StillDraining, WorkerFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.control.worker_pool import WorkerPool
    from lbcore.control.worker_slots import WorkerSlot
    from lbcore.table import Table


class Replacement:
    """Of one balancer's workers, one after the other, whoever asks."""

    def __init__(self, table: Table, workers: WorkerPool, log: Callable[[str], None]) -> None:
        self._table, self._workers, self._slots, self._log = table, workers, workers.slots, log
        self._lock = locks.lock("replacement")

    def check_places(self, drain_ms: int) -> None:
        """Can each worker be replaced now? Raises StillDraining while one that was replaced before has not ended.

        drain_ms: the longest that those may drain that another control plane replaced.
        """
        now = time.monotonic()
        with self._workers.lock:
            held = {slot.section: slot for slot in self._slots.retiring}
            wanted = {self._slots.successor(slot.number).section for slot in self._slots.serving}
            busy = [held[section] for section in wanted & set(held)]
        if busy:
            pids = ", ".join(str(slot.worker.pid) for slot in busy if slot.worker)
            wait_s = max(slot.drained_at - now if slot.drained_at else drain_ms / 1000 for slot in busy)
            raise StillDraining(
                f"{len(busy)} workers that were replaced before still drain (processes {pids})", max(0.0, wait_s)
            )

    def replace_workers(self, drain_ms: int) -> None:
        """One after the other: the new one serves the same sockets, then the old one accepts no more and drains.

        Raises WorkerFailed with the old one still serving.
        """
        for number in range(len(self._slots.serving)):
            self.replace_worker(number, drain_ms)

    def replace_worker(self, number: int, drain_ms: int) -> None:
        """Replace one worker. Raises LbcoreError when there is no such worker."""
        if number >= len(self._slots.serving):
            raise LbcoreError(f"worker {number}: there are {len(self._slots.serving)}, counted from 0")
        with self._lock:
            self._replace(number, drain_ms)

    def _replace(self, number: int, drain_ms: int) -> None:
        slot = self._slots.successor(number)
        if self._table.sections.holder(slot.section) is not None:
            raise WorkerFailed(f"worker {number}: the one that was replaced before still drains")
        # it may be gone, but not settled yet: that would wipe the figures of whoever has its section then
        self._workers.wait_until(lambda: not self._slots.is_retiring(slot.section), "that has drained was not settled")
        self._slots.coming = slot
        try:
            self._begin(slot)
        except WorkerFailed:
            with self._workers.lock:
                self._slots.coming = None
                if slot.worker:
                    self._slots.retiring.append(slot)  # so that its end is no reason to start it again
            if slot.worker:
                slot.worker.kill()
            raise
        self._retire(slot, drain_ms)
        self._workers.tell()
        self._log(f"worker {number}: process {slot.worker.pid if slot.worker else '?'} has taken its place, the old one drains")

    def _begin(self, slot: WorkerSlot) -> None:
        """Start the new one, until it serves. Raises WorkerFailed."""
        if not self._workers.fill(slot, succeeds=True):
            raise WorkerFailed(f"worker {slot.number}: the balancer is being stopped")
        self._workers.wait_until(lambda: bool(slot.lost) or self._workers.serves(slot), "did not begin to serve")
        if slot.lost:
            raise WorkerFailed(f"worker {slot.number}: the new one ended before it served: {slot.lost}")

    def _retire(self, slot: WorkerSlot, drain_ms: int) -> None:
        """Have the old one drain."""
        listening = self._workers.listening
        with self._workers.lock:
            old = self._slots.replace(slot)
            if slot.channel and any(map(listening.is_of_datagrams, listening.rows_of(slot.number))):
                move_sessions(old.channel, slot.channel)
            old.drained_at = time.monotonic() + drain_ms / 1000
            if old.channel:
                old.channel.send(notes.DRAIN, notes.GENTLY, drain_ms)
