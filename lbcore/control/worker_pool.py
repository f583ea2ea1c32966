"""The workers of a balancer: started in their slots, given listeners, waited for, and settled when they are gone."""

from __future__ import annotations

import contextlib
import selectors

from lbcore import _engine, locks
from lbcore.control.worker_limits import limits_of
from lbcore.control.workers import ProcessWorker, ThreadWorker
from lbcore.engine import notes
from lbcore.engine.channel import Channel
from lbcore.errors import WorkerFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import BalancerSettings
    from lbcore.control.listening import Listening
    from lbcore.control.worker_slots import WorkerSlot, WorkerSlots
    from lbcore.table import Table
    from lbcore.tls.publisher import TlsPublisher

START_LIMIT_S = 20.0


class WorkerPool:
    """lock guards slots and listeners: reload and restart may meet. changed: what workers have said, and closing.

    on_workers: called with the process ids when a worker was replaced. adoption_socket: where a worker, by section, waits for
    another control plane once this one is gone. draining: no worker is started any more. closing: nobody waits any more.
    """

    def __init__(
        self,
        table: Table,
        settings: BalancerSettings,
        slots: WorkerSlots,
        listening: Listening,
        tls: TlsPublisher,
        *,
        processes: bool,
        adoption_socket: Callable[[int], str] | None,
        on_workers: Callable[[list[int]], None],
        log: Callable[[str], None],
    ) -> None:
        self.slots: WorkerSlots = slots
        self.listening: Listening = listening
        self.lock: Any = locks.rlock("workers")
        self.changed: threading.Condition = locks.condition("workers_changed")
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.draining: bool = False
        self.closing: bool = False
        self._table, self._tls, self._log = table, tls, log
        self._make = ProcessWorker if processes else ThreadWorker
        self._limits = limits_of(settings, len(slots.serving), processes=processes)
        self._filtered = processes and settings.seccomp == "auto" and _can_filter(log)
        self._adoption_socket, self._on_workers = adoption_socket, on_workers

    def watch(self, slot: WorkerSlot) -> None:
        """Hear what the worker of a slot says."""
        assert slot.channel is not None
        self.selector.register(slot.channel.ours, selectors.EVENT_READ, slot)

    # --- waiting -------------------------------------------------------------------------------------------------

    def serves(self, slot: WorkerSlot) -> bool:
        """Does its worker serve all that it should?"""
        return slot.ready and slot.listening >= self.listening.rows_of(slot.number)

    def await_all(self, what: str) -> None:
        """Until every worker serves every listener. Raises WorkerFailed."""
        self.wait_until(lambda: all(self.serves(slot) for slot in self.slots.serving), what)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """what: a worker did instead, in words. Raises WorkerFailed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closing or condition(), START_LIMIT_S)
            if not condition():
                when = "before we ended" if self.closing else f"within {START_LIMIT_S:.0f} s"
                raise WorkerFailed(f"a worker {what} {when}")

    def close(self) -> None:
        """Nobody waits any more."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    # --- workers that begin --------------------------------------------------------------------------------------

    def fill(self, slot: WorkerSlot, *, succeeds: bool = False) -> bool:
        """Put a new worker on a slot, unless we end: is there one? Raises WorkerFailed with the slot empty.

        succeeds: it is to take the place of one that serves.
        """
        with self.lock:
            if not self.draining:
                slot.begin()
                try:
                    self._begin(slot)
                except OSError as error:  # no descriptor, process or memory is left
                    slot.channel = slot.worker = None
                    raise WorkerFailed(f"worker {slot.number} cannot be started: {error.strerror or error}") from None
                for index in self.listening.rows:
                    self.hand_over(slot, index, succeeds=succeeds)
            return not self.draining

    def _begin(self, slot: WorkerSlot) -> None:
        """Start its worker. Raises OSError with nothing begun."""
        adoption_socket = self._adoption_socket(slot.section) if self._adoption_socket else None
        self._table.sections.use(slot.section)
        channel = Channel()
        try:
            self.selector.register(channel.ours, selectors.EVENT_READ, slot)
            slot.worker = self._make(
                self._table, slot.section, channel, self._limits, slot.core, adoption_socket, self._filtered
            )
        except OSError:
            with contextlib.suppress(KeyError):
                self.selector.unregister(channel.ours)
            channel.close()
            raise
        slot.channel = channel
        self._tls.greet(channel)

    def fill_due(self, now: float) -> None:
        """Start anew what is to be started by now; what cannot be, a little later."""
        for slot in self.slots.serving:
            if slot.restart_at is None or now < slot.restart_at:
                continue
            try:
                if self.fill(slot):
                    self.tell()
            except WorkerFailed as error:
                self._log(f"{error}: again in {slot.put_off_restart() * 1000:.0f} ms")

    def hand_over(self, slot: WorkerSlot, index: int, *, succeeds: bool = False) -> None:
        """Give a listener's socket to a worker. succeeds: another worker reads the same socket still."""
        bound = self.listening.socket_of(index, slot.number)
        if slot.channel and bound:
            waits = succeeds and self.listening.is_of_datagrams(index)
            how = (notes.SESSIONS_FIRST if waits else 0) | (notes.ITS_OWN if self.listening.is_own(index) else 0)
            slot.channel.send(notes.LISTEN, index, how, descriptor=bound.fileno())

    def tell(self) -> None:
        """The workers are others now."""
        try:
            self._on_workers(self.slots.pids)
        except OSError as error:  # a full disk, perhaps; commands find the workers that were there before
            self._log(f"word of the new workers cannot be left for commands: {error}")

    # --- workers that end ----------------------------------------------------------------------------------------

    def empty(self, slot: WorkerSlot) -> None:
        """Let go of the channel to a slot's worker."""
        if slot.channel:
            if not self.closing:
                self.selector.unregister(slot.channel.ours)
            slot.channel.close()
            slot.channel = None

    def bereaved(self, slot: WorkerSlot) -> None:
        """The worker of a slot is gone: settle its account, and have it replaced unless we end."""
        worker = slot.worker
        self.empty(slot)
        slot.ready = False
        if worker is None or not worker.wait(5):
            return
        self._table.sections.bury(slot.section)
        with self.lock:
            self.listening.parting.closed(slot)
        if slot in self.slots.retiring:
            with self.changed:
                self.slots.retiring.remove(slot)
                self.changed.notify_all()
            self._log(f"worker {slot.number}: the old one has drained")
            return
        if slot is self.slots.coming:
            with self.changed:
                slot.lost = worker.obituary
                self.changed.notify_all()
            return
        if self.draining:
            return
        pause_s = slot.plan_restart()
        self._log(f"worker {slot.number} is gone ({worker.obituary}): restart in {pause_s * 1000:.0f} ms")


def _can_filter(log: Callable[[str], None]) -> bool:
    """Is libseccomp there? Said once here, not by each worker."""
    try:
        _engine.seccomp_version()
    except OSError as error:
        log(f"system calls of workers are not filtered: {error.strerror}")
        return False
    return True
