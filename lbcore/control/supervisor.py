"""The supervisor: owns the listening sockets and the workers, from their start to their drain. One thread.

What it does with them stands beside it: worker_pool (start, settle), taking_over (of another control plane's), listener_changes
(start, reload), replacement (upgrade), ending (drain), hangs.
"""

from __future__ import annotations

import os
import selectors
import threading
import time

from lbcore import forked
from lbcore._engine import inherited_rings
from lbcore.control.bell import Bell
from lbcore.control.ending import Ending
from lbcore.control.hangs import Hangs
from lbcore.control.listener_changes import ListenerChanges
from lbcore.control.replacement import Replacement
from lbcore.control.taking_over import TakingOver
from lbcore.control.worker_pool import WorkerPool
from lbcore.control.worker_slots import WorkerSlots
from lbcore.control.workers import AdoptedWorker
from lbcore.engine import notes
from lbcore.tls.bundle import LISTENER, POOL
from lbcore.tls.publisher import TlsPublisher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from lbcore.config.settings import BalancerSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.listening import Listening
    from lbcore.control.worker_slots import WorkerSlot
    from lbcore.table import Table
    from lbcore.tls.store import Store
    from lbcore.tls.tickets import TicketKey
    from lbcore.topic import Topic

    class Charge(Protocol):
        """What the thread looks after beside the workers: the backends.

        failing: a worker reports failures in a row of the backend in a row, and what fails: CONNECTS or RESPONSES of notes.
        shortage: a worker lacked something on this host, an errno, to reach the backend in a row (NO_ROW: for an accept).
        """

        sooner: Topic[[]]

        def failing(self, index: int, what: int) -> None: ...

        def shortage(self, error: int, index: int) -> None: ...


class Supervisor:
    """Starts the workers of a table, keeps them alive, and ends them.

    tick: called on the supervisor's thread; returns when it wants to be called again (monotonic seconds) or None.
    log: called with one line. on_workers: called with the workers' process ids when a worker was replaced.
    adoption_socket: where a worker, by number, waits for another control plane once this one is gone.
    adoption: what one has left: its workers and sockets are taken over by `start`. shared_keys: as of TlsPublisher.
    """

    def __init__(
        self,
        table: Table,
        settings: BalancerSettings,
        store: Store,
        listening: Listening,
        charge: Charge,
        *,
        processes: bool,
        tick: Callable[[float], float | None],
        log: Callable[[str], None],
        on_workers: Callable[[list[int]], None] = lambda pids: None,
        adoption_socket: Callable[[int], str] | None = None,
        adoption: Adoption | None = None,
        shared_keys: Callable[[], tuple[TicketKey, ...]] = tuple,
    ) -> None:
        self._table, self._charge, self._tick, self._log = table, charge, tick, log
        self._settings, self._adoption = settings, adoption
        self._bell = Bell()
        self._slots = WorkerSlots(table.workers, sorted(os.sched_getaffinity(0)) if settings.pin else None)
        self._listening = listening
        self._tls = TlsPublisher(store, self._tls_rows, self._slots.channels, log, shared_keys)
        self._workers = WorkerPool(
            table,
            settings,
            self._slots,
            listening,
            self._tls,
            processes=processes,
            adoption_socket=adoption_socket,
            on_workers=on_workers,
            log=log,
        )
        self._workers.selector.register(self._bell, selectors.EVENT_READ, None)
        self.listeners: ListenerChanges = ListenerChanges(table, self._workers, self._tls, log)
        self.replacement: Replacement = Replacement(table, self._workers, log)
        self.ending: Ending = Ending(table, self._workers, log)
        self._hangs = Hangs(table, self._slots, settings.worker_timeout_ms / 1000, log)
        self._thread: threading.Thread | None = None
        self._turned_at = 0.0
        charge.sooner.subscribe(self.poke)
        table.on_cut.subscribe(self.wake_workers)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind, start the workers and wait until each serves every listener.

        Raises PortTaken, ConfigError or WorkerFailed; then nothing is left behind, but what there was before.
        """
        adoption, self._adoption = self._adoption, None
        try:
            self.listeners.begin(self._settings, adoption)
            over = TakingOver(self._table, self._workers, adoption) if adoption else None
            for slot in self._slots.serving:
                if not (over and over.take(slot)):
                    self._workers.fill(slot)
            if over:
                over.leave_rest()
            self._thread = threading.Thread(target=self._run, name="lbcore-supervisor", daemon=True)
            self._thread.start()
            self._workers.await_all("did not begin to serve")
        except BaseException:
            if adoption is None:
                self.ending.drain(0)
                self.stop()
            raise

    def stop(self) -> None:
        """Close everything: `ending.drain` has ended the workers."""
        self._workers.close()
        self.poke()
        if self._thread:
            self._thread.join()
        for slot in self._slots.all():
            self._workers.empty(slot)
        self._workers.selector.close()
        self._bell.close()

    def leave(self) -> None:
        """Leave the workers to themselves: their channels end, and they wait for another control plane."""
        self.stop()
        self._listening.close_sockets(ends=False)

    def disown(self) -> None:
        """In a forked child: close what it has of its parent's. Nothing is said to anybody, and no poller is changed."""
        channels = self._slots.channels()
        inherited = forked.descriptors_of_workers(channel.theirs.fileno() for channel in channels)
        self._listening.close_sockets(ends=False)
        for channel in channels:
            channel.close()
        self._workers.selector.close()
        self._bell.close()
        forked.close_inherited(inherited)
        for descriptor in inherited_rings():
            os.close(descriptor)

    def follow(self, settings: BalancerSettings, ready: Callable[[], None] = lambda: None) -> None:
        """New settings: see `ListenerChanges.apply`. Raises PortTaken or ConfigError with nothing changed."""
        self.listeners.apply(settings, ready)
        self._hangs.limit_s = settings.worker_timeout_ms / 1000
        self.poke()

    # --- looking -------------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Have the thread look at everything now."""
        self._bell.ring()

    def wake_workers(self) -> None:
        """Have every worker look at the table now."""
        for channel in self._slots.channels():
            channel.send(notes.WAKE)

    def held_up(self, limit_s: float) -> list[str]:
        """Who of us did not turn within the time although asked to, in words. A worker that is being replaced is excused."""
        asked = time.monotonic()
        self.wake_workers()
        self.poke()

        def late() -> list[str]:
            found = [] if self._turned_at >= asked else ["the control plane"]
            with self._table.lock:  # `stop` may be about to take the memory away
                if self._table.closed:
                    return []
                for slot in self._slots.serving:
                    row = self._table.segment.worker(slot.section)
                    if slot.ready and row.heartbeat_ms < int(asked * 1000):
                        found.append(f"worker {slot.number}")
            return found

        while late() and time.monotonic() < asked + limit_s and not self._workers.closing:
            time.sleep(0.02)
        return late()

    @property
    def hanging(self) -> list[int]:
        """The numbers of workers that serve, but do not turn."""
        return self._hangs.numbers

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return self._slots.pids

    @property
    def processes(self) -> dict[int, int]:
        """Process ids of all workers, those that drain included, by section."""
        return self._slots.processes

    def _tls_rows(self) -> dict[tuple[int, str], int]:
        """The row of each listener and pool, by kind and name."""
        pools = {(POOL, name): index for name, index in self._table.pool_rows().items()}
        return pools | {(LISTENER, name): index for name, index in self._listening.by_name.items()}

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wanted: float | None = 0.0
        while not self._workers.closing:
            for key, _ in self._workers.selector.select(self._patience(wanted)):
                if key.data is None:
                    self._bell.heard()
                else:
                    self._hear(key.data)
            now = self._turned_at = time.monotonic()
            self._workers.fill_due(now)
            try:
                wanted = min((when for when in self._look_after(now) if when is not None), default=None)
            except Exception as error:
                self._log(f"tick failed: {error!r}")
                wanted = now + 1

    def _look_after(self, now: float) -> list[float | None]:
        """All that has its time: when each wants to be looked after again."""
        hangs = None if self._workers.draining else self._hangs.look(now)
        return [self._tick(now), self.listeners.tend(now), hangs]

    def _patience(self, wanted: float | None) -> float | None:
        times = [when for when in (wanted, self._slots.next_restart()) if when is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _hear(self, slot: WorkerSlot) -> None:
        if slot.channel is None:
            if slot in self._slots.retiring and isinstance(slot.worker, AdoptedWorker) and slot.worker.wait(0):
                self._workers.selector.unregister(slot.worker)
                self._workers.bereaved(slot)
            return
        for note in slot.channel.notes():
            if note is None:
                self._workers.bereaved(slot)
                return
            self._obey(slot, note)

    def _obey(self, slot: WorkerSlot, note: notes.Note) -> None:
        with self._workers.changed:
            if note.kind == notes.READY:
                slot.ready = True
            elif note.kind == notes.LISTENING:
                slot.listening.add(note.id)
            self._workers.changed.notify_all()
        if note.kind == notes.FAILING:
            self._charge.failing(note.id, note.value)
        elif note.kind == notes.REFUSED:
            self._log(f"listener {self._listening.name_of(note.id)}: {notes.refusal_words(note)}")
        elif note.kind == notes.CLOSED:
            with self._workers.lock:
                self._listening.parting.closed(slot, note.id)
        elif note.kind == notes.SHORTAGE:
            self._charge.shortage(note.id, note.value)
