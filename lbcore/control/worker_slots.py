"""The places of workers, which outlive the workers that fill them."""

from __future__ import annotations

import time

from lbcore.control.workers import AdoptedWorker, ProcessWorker, ThreadWorker
from lbcore.engine import notes
from lbcore.engine.channel import Channel

STABLE_S = 10.0
"""A worker that lived so long is restarted at once, as is the first that did not; the next such, after a pause that doubles."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0


class WorkerSlot:
    """A worker's place: its section of the segment and its listening sockets stay when the worker is started anew.

    listening: the listeners' rows that the worker said it serves. early_ends: workers in a row that did not live for STABLE_S.
    restart_at: when the next one is to begin; None: not at all. lost: how a worker that was to take another's place ended.
    drained_at: when its worker, which drains, has ended at the latest (monotonic seconds).
    """

    def __init__(self, number: int, core: int | None, section: int) -> None:
        self.number = number
        self.section = section
        self.core = core
        self.channel: Channel | None = None
        self.worker: ProcessWorker | ThreadWorker | AdoptedWorker | None = None
        self.listening: set[int] = set()
        self.ready: bool = False
        self.started_at: float = 0.0
        self.early_ends: int = 0
        self.restart_at: float | None = None
        self.lost = ""
        self.drained_at: float = 0.0

    def begin(self) -> None:
        """A worker is about to be started here."""
        self.ready, self.restart_at, self.started_at = False, None, time.monotonic()
        self.listening.clear()

    def plan_restart(self) -> float:
        """The worker has ended and another is wanted: after how many seconds?"""
        now = time.monotonic()
        self.early_ends = self.early_ends + 1 if now - self.started_at < STABLE_S else 0
        pause_s = _pause_s(self.early_ends)
        self.restart_at = now + pause_s
        return pause_s

    def put_off_restart(self) -> float:
        """No worker could be started: after how many seconds is it tried again?"""
        self.early_ends = max(2, self.early_ends + 1)
        pause_s = _pause_s(self.early_ends)
        self.restart_at = time.monotonic() + pause_s
        return pause_s


class WorkerSlots:
    """The slots of all workers.

    serving: by number. retiring: whose worker drains, with another in its place. coming: whose worker is to take another's
    place.
    """

    def __init__(self, count: int, cores: list[int] | None) -> None:
        """cores: what the workers are pinned to, in turn; None: they are not."""
        self.serving: list[WorkerSlot] = [
            WorkerSlot(number, cores[number % len(cores)] if cores else None, number) for number in range(count)
        ]
        self.retiring: list[WorkerSlot] = []
        self.coming: WorkerSlot | None = None

    def all(self) -> list[WorkerSlot]:
        """Wherever there is a worker."""
        return [*self.serving, *self.retiring, *([self.coming] if self.coming else [])]

    def staying(self) -> list[WorkerSlot]:
        """Those whose worker is not to end: it follows every reload."""
        return [*self.serving, *([self.coming] if self.coming else [])]

    def channels(self) -> list[Channel]:
        """To every worker."""
        return [slot.channel for slot in self.all() if slot.channel]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that serve."""
        return [slot.worker.pid for slot in self.serving if slot.worker]

    @property
    def processes(self) -> dict[int, int]:
        """Process ids of all workers by their sections."""
        return {slot.section: slot.worker.pid for slot in self.all() if slot.worker}

    def unlisten(self, row: int) -> None:
        """Have all workers close a listener, once they have accepted what is queued there."""
        for slot in self.staying():
            slot.listening.discard(row)
            if slot.channel:
                slot.channel.send(notes.UNLISTEN, row)

    def sections(self, number: int) -> tuple[int, int]:
        """Those that a worker of this number may have: one, or the other while the old one drains in the first."""
        return number, number + len(self.serving)

    def is_retiring(self, section: int) -> bool:
        """Does this section belong to a worker that drains, or has drained and is not settled?"""
        return any(slot.section == section for slot in self.retiring)

    def successor(self, number: int) -> WorkerSlot:
        """A slot like this one, of the other section, to be filled beside it."""
        old = self.serving[number]
        return WorkerSlot(number, old.core, (old.section + len(self.serving)) % (2 * len(self.serving)))

    def replace(self, slot: WorkerSlot) -> WorkerSlot:
        """The one that was to come serves from now on. Returns the slot that retires."""
        old = self.serving[slot.number]
        self.coming = None
        self.serving[slot.number] = slot
        self.retiring.append(old)
        old.restart_at = None
        return old

    def next_restart(self) -> float | None:
        """When the next worker is to be started again (monotonic seconds), if any is."""
        return min((slot.restart_at for slot in self.serving if slot.restart_at is not None), default=None)


def _pause_s(early_ends: int) -> float:
    """How long a place stays empty whose workers have ended early so often in a row."""
    return 0.0 if early_ends < 2 else float(min(FIRST_PAUSE_S * 2 ** (early_ends - 2), LONGEST_PAUSE_S))
