"""The supervisor: owns the listening sockets and the workers, from their start to their drain. One thread."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
import threading
import time

from lbcore import _engine, forked
from lbcore.control.hangs import Hangs
from lbcore.control.listening import Listening
from lbcore.control.worker_limits import limits_of
from lbcore.control.worker_slots import WorkerSlot, WorkerSlots
from lbcore.control.workers import AdoptedWorker, ProcessWorker, ThreadWorker
from lbcore.engine import notes
from lbcore.engine.channel import Channel, move_sessions
from lbcore.errors import LbcoreError, StillDraining, WorkerFailed
from lbcore.tls.bundle import LISTENER, POOL
from lbcore.tls.publisher import TlsPublisher
from lbcore.tls.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings, ListenerSettings
    from lbcore.control.adoption import Adoption
    from lbcore.control.sockets import ListenerSockets
    from lbcore.control.systemd import Inherited
    from lbcore.table import Table

START_LIMIT_S = 20.0
END_S = 2.0
"""A worker that has been told to stop has so long until it is killed."""
LOOK_S = 0.2


class Supervisor:
    """Starts the workers of a table, keeps them alive, and ends them.

    tick: called on the supervisor's thread; returns when it wants to be called again (monotonic seconds) or None.
    on_failing: called with a backend row's index when a worker reports failures in a row, and with what fails: CONNECTS or
    RESPONSES of notes.
    on_shortage: called with the errno of what a worker lacked on this host, and with the row of the backend that was to be
    reached (NO_ROW: a client was to be accepted).
    log: called with one line. on_workers: called with the workers' process ids when a worker was replaced.
    inherited: sockets that are bound already, for those listeners that they fit.
    adoption_socket: where a worker, by number, waits for another control plane once this one is gone.
    adoption: what one has left; its
    workers and sockets are taken over by `start`.
    """

    def __init__(
        self,
        table: Table,
        settings: BalancerSettings,
        *,
        workers: int,
        processes: bool,
        tick: Callable[[float], float | None],
        on_failing: Callable[[int, int], None],
        on_shortage: Callable[[int, int], None],
        log: Callable[[str], None],
        on_workers: Callable[[list[int]], None] = lambda pids: None,
        inherited: Inherited | None = None,
        adoption_socket: Callable[[int], str] | None = None,
        adoption: Adoption | None = None,
    ) -> None:
        self._table = table
        self._turned_at = 0.0
        self._make = ProcessWorker if processes else ThreadWorker
        self._limits = limits_of(settings, workers, processes=processes)
        self._filtered = processes and settings.seccomp == "auto" and _can_filter(log)
        self._tick, self._on_failing, self._on_shortage = tick, on_failing, on_shortage
        self._log, self._on_workers = log, on_workers
        self._slots = WorkerSlots(workers, sorted(os.sched_getaffinity(0)) if settings.pin else None)
        self._changed = threading.Condition()
        self._lock = threading.RLock()  # listeners and slots: reload and restart may meet
        self._replacing = threading.Lock()  # one after the other, whoever asks
        self._tls = TlsPublisher(Store(log), self._tls_rows, self._slots.channels, log)
        self._listening = Listening(table, workers, inherited, self._tls.expires_s)
        self._selector = selectors.DefaultSelector()
        self._wake_ours, self._wake_theirs = socket.socketpair()
        self._wake_ours.setblocking(False)
        self._wake_theirs.setblocking(False)
        self._selector.register(self._wake_ours, selectors.EVENT_READ, None)
        self._adoption_socket, self._adoption = adoption_socket, adoption
        self._hangs = Hangs(table, self._slots, settings.worker_timeout_ms / 1000, log)
        self._thread: threading.Thread | None = None
        self._draining = False
        self._closing = False
        self._end_by = math.inf  # when a worker that still has not ended is killed: `hurry` brings it nearer

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self, settings: BalancerSettings) -> None:
        """Bind, start the workers and wait until each serves every listener.

        Raises PortTaken, ConfigError or WorkerFailed; then nothing is left behind, but what there was before.
        """
        inherited = self._adoption is not None
        try:
            self._tls.adopt(self._tls.read(settings), settings)
            self._listening.open_all(settings, self._adoption)
            self._table.set_routes(self._listening.packed_routes(settings))
            self._tls.tell(POOL)
            self._tls.tell(LISTENER)
            for slot in self._slots.serving:
                if not self._take_over(slot):
                    self._fill(slot)
            self._leave_inherited()
            self._thread = threading.Thread(target=self._run, name="lbcore-supervisor", daemon=True)
            self._thread.start()
            self._await(lambda: all(self._serves(slot) for slot in self._slots.serving), "did not begin to serve")
        except BaseException:
            if not inherited:
                self.stop(0)
            raise

    def stop(self, drain_s: float) -> None:
        """Stop accepting, let sessions finish for drain_s seconds at most, end the workers, close everything."""
        with self._lock:  # a worker that is just being started is told as well, and none is started after
            self._draining = True
            self._table.set_draining(True)
            self._listening.close_sockets()
            for slot in self._slots.all():
                slot.restart_at = None
                if slot.channel:
                    slot.channel.send(notes.DRAIN, value=int(drain_s * 1000))
        self._await_end(drain_s + END_S)
        self._close()

    def disown(self) -> None:
        """In a forked child: close what it has of its parent's. Nothing is said to anybody, and no poller is changed."""
        channels = self._slots.channels()
        inherited = forked.descriptors_of_workers(channel.theirs.fileno() for channel in channels)
        self._listening.close_sockets()
        for channel in channels:
            channel.close()
        self._selector.close()
        self._wake_ours.close()
        self._wake_theirs.close()
        forked.close_inherited(inherited)

    def abandon(self) -> None:
        """Leave the workers to themselves: their channels end, and they wait for another control plane."""
        self._close()
        self._listening.close_sockets()

    def hurry(self) -> None:
        """End a drain that is under way now. A worker that hangs hears nothing of it: it has as long as any other to end."""
        self._end_by = min(self._end_by, time.monotonic() + END_S)
        for channel in self._slots.channels():
            channel.send(notes.STOP)

    def _await_end(self, limit_s: float) -> None:
        self._end_by = min(self._end_by, time.monotonic() + limit_s)
        for slot in self._slots.all():
            if slot.worker and not self._ends(slot.worker):
                self._log(f"worker {slot.number} does not end: killed")
                slot.worker.kill()

    def _ends(self, worker: ProcessWorker | AdoptedWorker | ThreadWorker) -> bool:
        """Is it gone in time? The time may be brought nearer meanwhile."""
        while not worker.wait(max(0.0, min(LOOK_S, self._end_by - time.monotonic()))):
            if time.monotonic() >= self._end_by:
                return False
        return True

    def _close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.poke()
        if self._thread:
            self._thread.join()
        for slot in self._slots.all():
            self._empty(slot)
        self._selector.close()
        self._wake_ours.close()
        self._wake_theirs.close()

    def poke(self) -> None:
        """Have the thread look at everything now."""
        try:
            self._wake_theirs.send(b"!")
        except OSError:
            return

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

        while late() and time.monotonic() < asked + limit_s and not self._closing:
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

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each listener really listens, by name."""
        return self._listening.addresses

    # --- a new worker in the place of an old one ---------------------------------------------------------------------

    def check_places(self, drain_ms: int) -> None:
        """Can each worker be replaced now? Raises StillDraining while one that was replaced before has not ended.

        drain_ms: the longest that those may drain that another control plane replaced.
        """
        now = time.monotonic()
        with self._lock:
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
        """Likewise one. Raises LbcoreError when there is no such worker."""
        if number >= len(self._slots.serving):
            raise LbcoreError(f"worker {number}: there are {len(self._slots.serving)}, counted from 0")
        with self._replacing:
            self._replace(number, drain_ms)

    def _replace(self, number: int, drain_ms: int) -> None:
        slot = self._slots.successor(number)
        if self._table.holder(slot.section) is not None:
            raise WorkerFailed(f"worker {number}: the one that was replaced before still drains")
        # it may be gone, but not settled yet: that would wipe the figures of whoever has its section then
        self._await(lambda: not self._slots.is_retiring(slot.section), "that has drained was not settled")
        self._slots.coming = slot
        try:
            if not self._fill(slot, succeeds=True):
                raise WorkerFailed(f"worker {number}: the balancer is being stopped")
            self._await(lambda: bool(slot.lost) or self._serves(slot), "did not begin to serve")
            if slot.lost:
                raise WorkerFailed(f"worker {number}: the new one ended before it served: {slot.lost}")
        except WorkerFailed:
            with self._lock:
                self._slots.coming = None
                if slot.worker:
                    self._slots.retiring.append(slot)  # so that its end is no reason to start it again
            if slot.worker:
                slot.worker.kill()
            raise
        with self._lock:
            old = self._slots.replace(slot)
            if slot.channel and any(map(self._listening.is_of_datagrams, self._listening.rows_of(number))):
                move_sessions(old.channel, slot.channel)
            old.drained_at = time.monotonic() + drain_ms / 1000
            if old.channel:
                old.channel.send(notes.DRAIN, notes.GENTLY, drain_ms)
        self._tell_workers()
        self._log(f"worker {number}: process {slot.worker.pid if slot.worker else '?'} has taken its place, the old one drains")

    # --- what another control plane has left ---------------------------------------------------------------------

    def _take_over(self, slot: WorkerSlot) -> bool:
        """Put a worker that another control plane left on its slot: is there one?"""
        if self._adoption is None:
            return False
        sections = self._slots.sections(slot.number)
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
        slot.channel, slot.ready, slot.started_at = orphan.channel, True, time.monotonic()
        # what its last control plane had removed it may close still: it is told that it is to serve it
        slot.listening = {row for row in orphan.sockets if not self._listening.is_of_datagrams(row)}
        self._selector.register(slot.channel.ours, selectors.EVENT_READ, slot)
        for index in set(self._listening.rows) - slot.listening:
            self._hand_over(slot, index)
        return True

    def _remember_drains(self, slot: WorkerSlot, sections: set[int]) -> None:
        """Workers that were draining when their control plane went: nobody speaks with them any more, but they count."""
        for section in sections:
            pid = self._table.holder(section)
            if pid is None:
                continue
            old = WorkerSlot(slot.number, None, section)
            try:
                old.worker = AdoptedWorker(pid)
            except OSError:
                self._table.bury_worker(section)
                continue
            self._slots.retiring.append(old)
            self._selector.register(old.worker, selectors.EVENT_READ, old)

    def _leave_inherited(self) -> None:
        """Listeners that the settings do not name any more are served to the end of their queues, then closed."""
        if self._adoption is None:
            return
        for row in self._adoption.rows - set(self._listening.rows):
            self._listening.part(row, {slot for slot in self._slots.serving if self._adoption.has(slot.section, row)})
            self._slots.unlisten(row)
            self._table.set_listener(row, None)
        self._adoption.release(keep_channels=True)
        self._adoption = None

    # --- listeners -----------------------------------------------------------------------------------------------

    def look_up(self, settings: BalancerSettings) -> None:
        """Ask name servers for the hosts that listeners name, before `apply`, which waits for nobody. Raises ConfigError."""
        self._listening.look_up(settings)

    def apply(self, settings: BalancerSettings, ready: Callable[[], None] = lambda: None) -> None:
        """Follow new listeners: kept ones take their new settings, new ones are served, the rest is drained and closed.

        All new ones are bound before anything else changes; then `ready` is called: whom routes lead to must be there when they
        hold. Files of keys and certificates are read anew. Raises PortTaken or ConfigError with nothing changed.
        """
        with self._lock:
            self._apply(settings, ready)
        self._await(lambda: all(self._serves(slot) for slot in self._slots.serving), "did not take the new listeners")

    def _apply(self, settings: BalancerSettings, ready: Callable[[], None]) -> None:
        secrets = self._tls.read(settings)
        self._hangs.limit_s = settings.worker_timeout_ms / 1000
        opened, routes = self._listening.open_fresh(settings, self._slots.retiring)
        leaving = self._listening.follow(settings)
        self._tls.adopt(secrets, settings)
        self._tls.tell(POOL)  # before rows say that notes.TLS is spoken
        ready()
        self._tls.tell(LISTENER)
        for index in self._listening.rows:
            self._listening.write(index)
        for index in opened:
            for slot in self._slots.staying():
                self._hand_over(slot, index, succeeds=slot is self._slots.coming)
        self._table.set_routes(routes)
        for index, (listener, sockets) in leaving.items():
            self._close_listener(index, listener, sockets)
        self._tls.withdraw()
        self.poke()

    def _close_listener(self, index: int, listener: ListenerSettings, sockets: ListenerSockets) -> None:
        """Our copies first: what is queued stays with the workers, who accept it before they close theirs. Those of datagrams
        go with the last session."""
        if listener.mode == "udp":
            serving = {slot for slot in self._slots.staying() if slot.channel and sockets.of_worker(slot.number)}
            self._listening.parting.add(index, listener, sockets, serving)
        else:
            sockets.close()
        self._slots.unlisten(index)
        self._table.set_listener(index, None)

    def _tls_rows(self) -> dict[tuple[int, str], int]:
        """The row of each listener and pool, by kind and name."""
        pools = {(POOL, name): index for name, index in self._table.pool_rows().items()}
        return pools | {(LISTENER, name): index for name, index in self._listening.by_name.items()}

    def _tend_tls(self, now: float) -> float | None:
        """Files that changed, keys of tickets whose time has come. When to look again."""
        wanted = self._tls.wanted_at
        if wanted is None or now < wanted or self._draining:
            return None if self._draining else wanted
        if not self._lock.acquire(blocking=False):  # a reload is under way, and reads all files by itself
            return now + 1
        try:
            if self._tls.tick(now):
                for index in self._listening.rows:
                    self._listening.write(index)
            return self._tls.wanted_at
        finally:
            self._lock.release()

    def _hand_over(self, slot: WorkerSlot, index: int, *, succeeds: bool = False) -> None:
        """succeeds: another worker reads the same socket still."""
        bound = self._listening.socket_of(index, slot.number)
        if slot.channel and bound:
            waits = succeeds and self._listening.is_of_datagrams(index)
            how = (notes.SESSIONS_FIRST if waits else 0) | (notes.ITS_OWN if self._listening.is_own(index) else 0)
            slot.channel.send(notes.LISTEN, index, how, descriptor=bound.fileno())

    # --- workers -------------------------------------------------------------------------------------------------

    def _serves(self, slot: WorkerSlot) -> bool:
        return slot.ready and slot.listening >= self._listening.rows_of(slot.number)

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or condition(), START_LIMIT_S)
            if not condition():
                when = "before we ended" if self._closing else f"within {START_LIMIT_S:.0f} s"
                raise WorkerFailed(f"a worker {what} {when}")

    def _fill(self, slot: WorkerSlot, *, succeeds: bool = False) -> bool:
        """Put a new worker on a slot, unless we end: is there one? Raises WorkerFailed with the slot empty.

        succeeds: it is to take the place of one that serves.
        """
        with self._lock:
            if not self._draining:
                slot.begin()
                try:
                    self._begin(slot)
                except OSError as error:  # no descriptor, process or memory is left
                    slot.channel = slot.worker = None
                    raise WorkerFailed(f"worker {slot.number} cannot be started: {error.strerror or error}") from None
                for index in self._listening.rows:
                    self._hand_over(slot, index, succeeds=succeeds)
            return not self._draining

    def _begin(self, slot: WorkerSlot) -> None:
        """Start its worker. Raises OSError with nothing begun."""
        adoption_socket = self._adoption_socket(slot.section) if self._adoption_socket else None
        self._table.use_section(slot.section)
        channel = Channel()
        try:
            self._selector.register(channel.ours, selectors.EVENT_READ, slot)
            slot.worker = self._make(
                self._table, slot.section, channel, self._limits, slot.core, adoption_socket, self._filtered
            )
        except OSError:
            with contextlib.suppress(KeyError):
                self._selector.unregister(channel.ours)
            channel.close()
            raise
        slot.channel = channel
        self._tls.greet(channel)

    def _fill_again(self, now: float) -> None:
        """Start anew what is to be started by now; what cannot be, a little later."""
        for slot in self._slots.serving:
            if slot.restart_at is None or now < slot.restart_at:
                continue
            try:
                if self._fill(slot):
                    self._tell_workers()
            except WorkerFailed as error:
                self._log(f"{error}: again in {slot.put_off_restart() * 1000:.0f} ms")

    def _tell_workers(self) -> None:
        try:
            self._on_workers(self.pids)
        except OSError as error:  # a full disk, perhaps; commands find the workers that were there before
            self._log(f"word of the new workers cannot be left for commands: {error}")

    def _empty(self, slot: WorkerSlot) -> None:
        if slot.channel:
            if not self._closing:
                self._selector.unregister(slot.channel.ours)
            slot.channel.close()
            slot.channel = None

    def _bereaved(self, slot: WorkerSlot) -> None:
        """The worker of a slot is gone: settle its account, and have it replaced unless we end."""
        worker = slot.worker
        self._empty(slot)
        slot.ready = False
        if worker is None or not worker.wait(5):
            return
        self._table.bury_worker(slot.section)
        with self._lock:
            self._listening.parting.closed(slot)
        if slot in self._slots.retiring:
            with self._changed:
                self._slots.retiring.remove(slot)
                self._changed.notify_all()
            self._log(f"worker {slot.number}: the old one has drained")
            return
        if slot is self._slots.coming:
            with self._changed:
                slot.lost = worker.obituary
                self._changed.notify_all()
            return
        if self._draining:
            return
        pause_s = slot.plan_restart()
        self._log(f"worker {slot.number} is gone ({worker.obituary}): restart in {pause_s * 1000:.0f} ms")

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wanted: float | None = 0.0
        while not self._closing:
            for key, _ in self._selector.select(self._patience(wanted)):
                if key.data is None:
                    self._swallow_pokes()
                else:
                    self._hear(key.data)
            now = self._turned_at = time.monotonic()
            self._fill_again(now)
            try:
                times = [when for when in (self._tick(now), self._tend_tls(now), self._look_for_hangs(now)) if when is not None]
                wanted = min(times, default=None)
            except Exception as error:
                self._log(f"tick failed: {error!r}")
                wanted = now + 1

    def _look_for_hangs(self, now: float) -> float | None:
        return None if self._draining else self._hangs.look(now)

    def _patience(self, wanted: float | None) -> float | None:
        times = [when for when in (wanted, self._slots.next_restart()) if when is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _swallow_pokes(self) -> None:
        try:
            while self._wake_ours.recv(4096):
                pass
        except OSError:
            return

    def _hear(self, slot: WorkerSlot) -> None:
        if slot.channel is None:
            if slot in self._slots.retiring and isinstance(slot.worker, AdoptedWorker) and slot.worker.wait(0):
                self._selector.unregister(slot.worker)
                self._bereaved(slot)
            return
        for note in slot.channel.notes():
            if note is None:
                self._bereaved(slot)
                return
            with self._changed:
                if note.kind == notes.READY:
                    slot.ready = True
                elif note.kind == notes.LISTENING:
                    slot.listening.add(note.id)
                self._changed.notify_all()
            if note.kind == notes.FAILING:
                self._on_failing(note.id, note.value)
            elif note.kind == notes.REFUSED:
                self._log(f"listener {self._listening.name_of(note.id)}: {notes.refusal_words(note)}")
            elif note.kind == notes.CLOSED:
                with self._lock:
                    self._listening.parting.closed(slot, note.id)
            elif note.kind == notes.SHORTAGE:
                self._on_shortage(note.id, note.value)


def _can_filter(log: Callable[[str], None]) -> bool:
    """Is libseccomp there? Said once here, not by each worker."""
    try:
        _engine.seccomp_version()
    except OSError as error:
        log(f"system calls of workers are not filtered: {error.strerror}")
        return False
    return True
