"""The end of a balancer's workers: they accept no more, their sessions have a time to finish, then they are gone."""

from __future__ import annotations

import math
import time

from lbcore.engine import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.control.worker_pool import WorkerPool
    from lbcore.control.workers import AdoptedWorker, ProcessWorker, ThreadWorker
    from lbcore.table import Table

END_S = 2.0
"""A worker that has been told to stop has so long until it is killed."""
LOOK_S = 0.2


class Ending:
    """Of all workers."""

    def __init__(self, table: Table, workers: WorkerPool, log: Callable[[str], None]) -> None:
        self._table, self._workers, self._log = table, workers, log
        self._end_by = math.inf  # when a worker that still has not ended is killed: `hurry` brings it nearer

    def drain(self, drain_s: float) -> None:
        """Stop accepting, let sessions finish for drain_s seconds at most, and end the workers."""
        slots = self._workers.slots
        with self._workers.lock:  # a worker that is just being started is told as well, and none is started after
            self._workers.draining = True
            self._table.set_draining(True)
            self._workers.listening.close_sockets(ends=True)
            for slot in slots.all():
                slot.restart_at = None
                if slot.channel:
                    slot.channel.send(notes.DRAIN, value=int(drain_s * 1000))
        self._end_by = min(self._end_by, time.monotonic() + drain_s + END_S)
        for slot in slots.all():
            if slot.worker and not self._ends(slot.worker):
                self._log(f"worker {slot.number} does not end: killed")
                slot.worker.kill()

    def hurry(self) -> None:
        """End a drain that is under way now. A worker that hangs hears nothing of it: it has as long as any other to end."""
        self._end_by = min(self._end_by, time.monotonic() + END_S)
        for channel in self._workers.slots.channels():
            channel.send(notes.STOP)

    def _ends(self, worker: ProcessWorker | AdoptedWorker | ThreadWorker) -> bool:
        """Is it gone in time? The time may be brought nearer meanwhile."""
        while not worker.wait(max(0.0, min(LOOK_S, self._end_by - time.monotonic()))):
            if time.monotonic() >= self._end_by:
                return False
        return True
