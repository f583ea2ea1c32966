"""Workers that another control plane has left, put on slots of ours: each goes on with its sockets and sessions."""

from __future__ import annotations

import selectors
import time

from lbcore.control.worker_slots import WorkerSlot
from lbcore.control.workers import AdoptedWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.control.adoption import Adoption
    from lbcore.control.worker_pool import WorkerPool
    from lbcore.table import Table


class TakingOver:
    """Of what was found when the balancer began."""

    def __init__(self, table: Table, workers: WorkerPool, adoption: Adoption) -> None:
        self._table, self._workers, self._adoption = table, workers, adoption

    def take(self, slot: WorkerSlot) -> bool:
        """Put a worker that another control plane left on its slot: is there one?"""
        sections = self._workers.slots.sections(slot.number)
        found = [self._adoption.orphans[section] for section in sections if section in self._adoption.orphans]
        self._remember_drains(slot, set(sections) - {orphan.number for orphan in found})
        if not found:
            return False
        orphan = found[0]
        slot.section = orphan.number
        try:
            slot.worker = AdoptedWorker(orphan.pid)
        except OSError:
            return False
        listening = self._workers.listening
        slot.channel, slot.ready, slot.started_at = orphan.channel, True, time.monotonic()
        # what its last control plane had removed it may close still: it is told that it is to serve it
        slot.listening = {row for row in orphan.sockets if not listening.is_of_datagrams(row)}
        self._workers.watch(slot)
        for index in set(listening.rows) - slot.listening:
            self._workers.hand_over(slot, index)
        return True

    def _remember_drains(self, slot: WorkerSlot, sections: set[int]) -> None:
        """Workers that were draining when their control plane went: nobody speaks with them any more, but they count."""
        for section in sections:
            pid = self._table.sections.holder(section)
            if pid is None:
                continue
            old = WorkerSlot(slot.number, None, section)
            try:
                old.worker = AdoptedWorker(pid)
            except OSError:
                self._table.sections.bury(section)
                continue
            self._workers.slots.retiring.append(old)
            self._workers.selector.register(old.worker, selectors.EVENT_READ, old)

    def leave_rest(self) -> None:
        """Listeners that the settings do not name any more are served to the end of their queues, then closed."""
        listening, slots = self._workers.listening, self._workers.slots
        for row in self._adoption.rows - set(listening.rows):
            listening.part(row, {slot for slot in slots.serving if self._adoption.has(slot.section, row)})
            slots.unlisten(row)
            self._table.set_listener(row, None)
        self._adoption.release(keep_channels=True)
