"""The scraper: one thread that reads the metrics of model servers, and tells membership their load.

What cannot be read is told once, and changes nothing but that the last read gets stale. asyncio is loaded in the thread.
"""

from __future__ import annotations

import random
import threading
import time

from lbcore.log_once import LogOnce

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from lbcore.discovery.membership import Membership
    from lbcore.discovery.probe import Asker
    from lbcore.discovery.targets import Scraped

CONCURRENT = 64
"""Reads under way at once, at most."""
LOOK_S = 0.05
"""What is due is looked for at most so often, and once a second at least."""
AGAIN_S = 1.0


class Scraper:
    """Reads what `membership.scraped()` names, each at its interval, never twice at once."""

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership, self._log = membership, log
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._due: dict[str, float] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._figures: dict[str, _Figures] = {}

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._main, name="lbcore-loads", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; reads under way are given up."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _main(self) -> None:
        import asyncio

        while not self._stopping.is_set():
            try:
                asyncio.run(self._run())
            except OSError as error:  # no descriptor is left: there may be later
                self._log(f"metrics of backends cannot be read: {error.strerror or error}: again in {AGAIN_S:g} s")
                self._stopping.wait(AGAIN_S)

    async def _run(self) -> None:
        import asyncio

        from lbcore.discovery.probe import Asker

        asker = Asker()
        try:
            while not self._stopping.is_set():
                next_s = self._begin_due(asker, time.monotonic())
                await asyncio.sleep(min(1.0, max(LOOK_S, next_s)) if next_s < 1 else LOOK_S * 4)
        finally:
            for task in self._reading.values():
                task.cancel()
            await asyncio.gather(*self._reading.values(), return_exceptions=True)
            await asker.close()

    def _begin_due(self, asker: Asker, now: float) -> float:
        """Begin the reads whose time has come. Seconds until the next one."""
        import asyncio

        targets = self._membership.scraped()
        self._forget({target.row.id for target in targets})
        for target in targets:
            id, every_s = target.row.id, target.scrape.interval_ms / 1000
            due = self._due.setdefault(id, now + random.uniform(0, min(0.25, every_s)))
            if due <= now and id not in self._reading and len(self._reading) < CONCURRENT:
                self._due[id] = max(due + every_s, now)
                self._reading[id] = asyncio.create_task(self._read(asker, target))
        return min((due - now for id, due in self._due.items() if id not in self._reading), default=1.0)

    def _forget(self, known: set[str]) -> None:
        for kept in (self._due, self._figures):
            for id in kept.keys() - known:
                del kept[id]

    async def _read(self, asker: Asker, target: Scraped) -> None:
        from lbcore.discovery.engine_metrics import MOST_BYTES, MetricsFault, read_load
        from lbcore.discovery.reaching import ProbeFailed

        row, scrape, way = target
        try:
            load = read_load(scrape.gauges, await asker.fetch(row, way, MOST_BYTES))
        except (ProbeFailed, MetricsFault) as fault:
            self._tell(target, str(fault))
        except Exception as error:  # nothing that a backend sends may end the reads
            self._tell(target, f"{type(error).__name__}: {error}")
        else:
            self._membership.measured(row, load.usage, load.in_flight, scrape.stale_ms / 1000)
            self._tell(target, "")
        finally:
            self._reading.pop(row.id, None)

    def _tell(self, target: Scraped, fault: str) -> None:
        figures = self._figures.get(target.row.id)
        if figures is None:
            pool, address = target.row.pool, target.row.address
            told = LogOnce(self._log, f"pool {pool}: load of {address}", "known")
            figures = self._figures[target.row.id] = _Figures(pool, address, told)
        figures.fault.tell(fault)
        if fault:
            figures.failed += 1
        else:
            figures.good += 1
            figures.good_at = time.monotonic()

    def standings(self) -> list[dict[str, Any]]:
        """pool, backend, good, failed (reads), age_s (of the last good one; None: none yet), fault ("": none). Any thread."""
        now = time.monotonic()
        return [figures.document(now) for figures in list(self._figures.values())]


class _Figures:
    """What came of the reads of a backend."""

    __slots__ = ("address", "failed", "fault", "good", "good_at", "pool")

    def __init__(self, pool: str, address: str, fault: LogOnce) -> None:
        self.pool, self.address, self.fault = pool, address, fault
        self.good, self.failed = 0, 0
        self.good_at: float | None = None

    def document(self, now: float) -> dict[str, Any]:
        age_s = None if self.good_at is None else round(now - self.good_at, 1)
        return {
            "pool": self.pool,
            "backend": self.address,
            "good": self.good,
            "failed": self.failed,
            "age_s": age_s,
            "fault": self.fault.last,
        }
