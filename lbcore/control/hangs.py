"""Workers that hang: each is asked once a second to turn. One that does not is told of, and after a while replaced."""

from __future__ import annotations

from lbcore.control.workers import ThreadWorker
from lbcore.engine import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.control.worker_slots import WorkerSlot, WorkerSlots
    from lbcore.table import Table

ASK_S = 1.0
"""One that has not turned for so long by itself is asked to."""
HANGS_S = 2.0
"""One that has not turned so long after that hangs."""
LATE_S = 1.0
"""A look that comes later than this was held up itself, as with a machine that slept: then nobody is blamed."""


class Hangs:
    """Of one balancer; the supervisor's thread calls `look`. limit_s: how long a worker may hang until its process is killed,
    so that another takes its place; 0: for ever."""

    def __init__(self, table: Table, slots: WorkerSlots, limit_s: float, log: Callable[[str], None]) -> None:
        self.limit_s = limit_s
        self._table = table
        self._slots = slots
        self._log = log
        self._due = 0.0
        self._asked: dict[int, float] = {}  # by section: since when it owes a turn
        self._hanging: dict[int, WorkerSlot] = {}
        for section in range(table.segment.head.workers):
            table.sections.set_hanging(section, False)

    @property
    def numbers(self) -> list[int]:
        """Workers that serve, and hang."""
        hanging = list(self._hanging.values())
        return [slot.number for slot in self._slots.serving if slot in hanging]

    def look(self, now: float) -> float:
        """Ask all, and judge those who owe an answer. Returns when to look again (monotonic seconds)."""
        if now < self._due:
            return self._due
        if now > self._due + LATE_S:
            self._asked.clear()
        self._due = now + ASK_S
        slots = {slot.section: slot for slot in self._slots.all() if slot.channel and slot.ready}
        for section in set(self._asked) - set(slots):
            del self._asked[section]
        for section in [section for section, slot in self._hanging.items() if slots.get(section) is not slot]:
            self._recover(section)
        for section, slot in slots.items():
            self._look_at(section, slot, now)
        return self._due

    def _look_at(self, section: int, slot: WorkerSlot, now: float) -> None:
        turned_ms = self._table.segment.worker(section).heartbeat_ms
        asked = self._asked.get(section)
        if asked is not None and turned_ms >= int(asked * 1000):
            asked = None
            del self._asked[section]
            if section in self._hanging:
                self._recover(section)
                self._log(f"worker {slot.number} turns again")
        if asked is None:
            if turned_ms < (now - ASK_S / 2) * 1000 and slot.channel:
                self._asked[section] = now
                slot.channel.send(notes.WAKE)
            return
        if now - asked >= HANGS_S and section not in self._hanging:
            self._hanging[section] = slot
            self._table.sections.set_hanging(section, True)
            self._log(f"worker {slot.number} (process {slot.worker.pid if slot.worker else '?'}) hangs{self._outlook(slot)}")
        if section in self._hanging and self.limit_s and now - asked >= self.limit_s:
            self._replace(slot, now - asked)

    def _outlook(self, slot: WorkerSlot) -> str:
        if isinstance(slot.worker, ThreadWorker):
            return ": it is a thread, and cannot be replaced"
        return f": another takes its place after {self.limit_s:g} s" if self.limit_s else ""

    def _replace(self, slot: WorkerSlot, hung_s: float) -> None:
        """End its process; its channel tells the supervisor, who starts another."""
        if slot.worker is not None and not isinstance(slot.worker, ThreadWorker):
            self._log(f"worker {slot.number} hangs for {hung_s:.0f} s: killed")
            slot.worker.strike()
        self._asked.pop(slot.section, None)

    def _recover(self, section: int) -> None:
        del self._hanging[section]
        self._table.sections.set_hanging(section, False)
