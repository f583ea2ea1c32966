"""The prober: one thread asks every backend how it is, for all workers. Results go to membership, which judges them.

asyncio is loaded in the thread.
"""

from __future__ import annotations

import heapq
import random
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lbcore.discovery.membership import Membership
    from lbcore.discovery.probe import Asker
    from lbcore.table import Row

CONCURRENT = 256
"""Probes under way at once, at most."""
REFRESH_S = 1.0
FIRST_WITHIN_S = 0.25
JITTER = 0.1
AGAIN_S = 1.0
"""When probes could not begin."""


class Prober:
    """Probes what `membership.targets()` names, each at its interval give or take a tenth, never two at once of one backend."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership = membership
        self._log = log
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._stopping = False
        self._schedule: list[tuple[float, int, Row]] = []
        self._known: set[str] = set()
        self._urgent: list[Row] = []
        self._hurried: list[Row] = []
        self._asked: set[str] = set()  # probes under way, by row id
        self._again: set[str] = set()  # of these: to be repeated at once
        self._serial = 0
        self._asker: Asker | None = None
        self._begun, self._ended = threading.Event(), threading.Event()
        membership.on_new.subscribe(self.poke)
        membership.on_suspect.subscribe(self.hurry)

    def start(self) -> None:
        """Begin to probe."""
        self._thread = threading.Thread(target=self._main, name="lbcore-probes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; probes under way are given up."""
        self._stopping = True
        self._ended.set()
        if self._thread:
            self._begun.wait()
            self._wake()
            self._thread.join()

    def poke(self, row: Row) -> None:
        """Probe this backend now: somebody waits for the answer."""
        self._urgent.append(row)
        self._wake()

    def hurry(self, row: Row) -> None:
        """Probe this backend now, though its next probe is planned; once more if a probe is under way."""
        self._hurried.append(row)
        self._wake()

    def _wake(self) -> None:
        if self._loop is not None and self._woken is not None:
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:
                return  # the loop has just ended

    def _main(self) -> None:
        import asyncio

        while not self._stopping:
            try:
                _spare_descriptors()
                asyncio.run(self._run())
            except OSError as error:  # no descriptor is left: there may be later
                self._log(f"probes cannot run: {error.strerror or error}: again in {AGAIN_S:g} s")
                self._begun.set()
                self._ended.wait(AGAIN_S)
        self._begun.set()

    # --- the schedule --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        import asyncio

        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        places = asyncio.Semaphore(CONCURRENT)
        under_way: set[asyncio.Task[None]] = set()
        refresh_at = 0.0
        try:
            while not self._stopping:
                now = time.monotonic()
                self._take_urgent(now)
                if now >= refresh_at:
                    self._take_new(now)
                    refresh_at = now + REFRESH_S
                while self._schedule and self._schedule[0][0] <= now:
                    await places.acquire()
                    task = asyncio.create_task(self._probe(heapq.heappop(self._schedule)[2], places))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                until = min(refresh_at, self._schedule[0][0] if self._schedule else refresh_at)
                await self._sleep(until - time.monotonic())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if self._asker is not None:
                await self._asker.close()

    async def _sleep(self, seconds: float) -> None:
        import asyncio

        assert self._woken is not None
        try:
            await asyncio.wait_for(self._woken.wait(), max(0.001, seconds))
        except TimeoutError:
            return
        self._woken.clear()

    def _plan(self, row: Row, when: float) -> None:
        self._serial += 1
        heapq.heappush(self._schedule, (when, self._serial, row))

    def _take_new(self, now: float) -> None:
        for target in self._membership.targets():
            if target.row.id not in self._known:
                self._known.add(target.row.id)
                self._plan(target.row, now + random.uniform(0, min(FIRST_WITHIN_S, target.probe.interval_ms / 1000)))

    def _take_urgent(self, now: float) -> None:
        while self._urgent:
            row = self._urgent.pop()
            if row.id not in self._known and self._membership.target(row) is not None:
                self._known.add(row.id)
                self._plan(row, now)
        while self._hurried:
            row = self._hurried.pop()
            if row.id in self._asked:
                self._again.add(row.id)
            elif row.id in self._known:
                self._schedule = [entry for entry in self._schedule if entry[2].id != row.id]
                heapq.heapify(self._schedule)
                self._plan(row, now)

    def _asks(self) -> Asker:
        from lbcore.discovery.probe import Asker

        if self._asker is None:
            self._asker = Asker()
        return self._asker

    async def _probe(self, row: Row, places: asyncio.Semaphore) -> None:
        """One probe of one backend, its verdict, and its next appointment."""
        from lbcore.discovery.probe import ProbeFailed, ProbeShortage

        try:
            probe = self._membership.target(row)
            if probe is None:
                self._known.discard(row.id)
                return
            began = time.monotonic()
            self._asked.add(row.id)
            try:
                await self._asks().ask(row, probe)
            except ProbeShortage as shortage:
                self._membership.shortages.probe(shortage.error, row.address)
            except ProbeFailed as failure:
                self._membership.observations.probe_result(row, False, str(failure), began)
            except Exception as error:  # nothing that a backend sends may end its probes
                self._log(f"probe of {row.address}: {error!r}")
                self._membership.observations.probe_result(row, False, f"probe failed: {error!r}", began)
            else:
                self._membership.observations.probe_result(row, True, began=began)
            planned = began + probe.interval_ms / 1000 * random.uniform(1 - JITTER, 1 + JITTER)
            self._plan(row, began if row.id in self._again else planned)
        finally:
            self._asked.discard(row.id)
            self._again.discard(row.id)
            places.release()
            self._wake()


def _spare_descriptors() -> None:
    """Are there as many as an event loop takes? It complains at length where it finds out by itself. Raises OSError."""
    import os

    opened: list[int] = []
    try:
        for _ in range(4):
            opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for fd in opened:
            os.close(fd)
