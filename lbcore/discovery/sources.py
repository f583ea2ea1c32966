"""Sources: where backends come from beside the configuration, the API and leases. One thread runs them all.

A source is a class with `claim`, `pool` and a coroutine `run(publish)`, which calls `publish` with the whole set of
(address, weight) whenever that changed, address being "IP:PORT". Its claim, "KIND:WHAT", tells it from the pool's other
sources. It keeps to itself what goes wrong: what it published last stays true.
"""

from __future__ import annotations

import contextlib
import threading
import time

from lbcore.backoff import Backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from lbcore.config.settings import PoolSettings, SourceSettings
    from lbcore.discovery.found import Found, Publish

    class Source(Protocol):
        """What `Sources` runs."""

        claim: str
        pool: str

        def run(self, publish: Publish) -> Awaitable[None]: ...


FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


class Sources:
    """Runs sources from `start` to `stop`. on_found: called in its thread with (pool, claim, found)."""

    def __init__(
        self, sources: list[Source], on_found: Callable[[str, str, list[Found]], None], log: Callable[[str], None]
    ) -> None:
        self._sources = sources
        self._on_found = on_found
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def claims(self) -> set[tuple[str, str]]:
        """(pool, claim) of each."""
        return {(source.pool, source.claim) for source in self._sources}

    def start(self) -> None:
        """Begin, in a thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lbcore-sources", daemon=True)
        self._thread.start()
        self._begun.wait()

    def stop(self) -> None:
        """End all and wait for it."""
        if self._thread is None:
            return
        self._stopping = True
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()
        self._thread = None

    def _run(self) -> None:
        import asyncio

        async def all_of_them() -> None:
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
            self._begun.set()
            await asyncio.gather(*(self._keep(source) for source in self._sources))

        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(all_of_them())
        finally:
            self._begun.set()

    async def _keep(self, source: Source) -> None:
        """Run a source; one that fails is run again after a pause, longer each time."""
        import asyncio

        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            began = time.monotonic()
            try:
                await source.run(lambda found: self._on_found(source.pool, source.claim, found))
            except asyncio.CancelledError as error:
                if self._stopping:
                    raise
                self._log(f"pool {source.pool}: source {source.claim} failed: {error!r}")  # a cancellation of its own making
            except Exception as error:
                self._log(f"pool {source.pool}: source {source.claim} failed: {error!r}")
            if time.monotonic() - began > LONGEST_PAUSE_S:
                backoff.begin_anew()
            await asyncio.sleep(backoff.next())


def made(
    pools: list[PoolSettings],
    log: Callable[[str], None],
    known: Callable[[str, str], list[Found]] = lambda pool, claim: [],
    on_shortage: Callable[[int, str], None] | None = None,
) -> list[Source]:
    """The sources that these pools name. known: what a source, by pool and claim, has named so far. on_shortage: called with an
    errno and a name that this host lacked something to look up."""
    return [_make(pool.name, source, log, known, on_shortage) for pool in pools for source in pool.sources]


def _make(
    pool: str,
    source: SourceSettings,
    log: Callable[[str], None],
    known: Callable[[str, str], list[Found]],
    on_shortage: Callable[[int, str], None] | None,
) -> Source:
    if source.kind == "file":
        from lbcore.discovery.watch import FileSource

        assert source.path is not None
        return FileSource(pool, source.path, log, interval_s=source.interval_ms / 1000)
    from lbcore.discovery.dns import DnsSource

    return DnsSource(pool, source, log, known, on_shortage)
