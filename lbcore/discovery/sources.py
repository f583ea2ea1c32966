"""Sources: where backends come from beside the configuration, the API and leases. One thread runs them all.

A source is a class with `claim`, `pool`, `standing` and a coroutine `run(publish)`, which calls `publish` with the whole set of
(address, weight) whenever that changed, address being "IP:PORT". Its claim, "KIND:WHAT", tells it from the pool's other
sources. It keeps to itself what goes wrong: what it published last stays true. `examine` asks once, for `lbcore check`.

tests/discovery/test_source_contract.py holds all kinds to the same rules.
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
    from lbcore.discovery.engines.source import Engine
    from lbcore.discovery.found import Answer, Found, Publish
    from lbcore.discovery.standing import Standing

    Known = Callable[[str, str], list[Found]]

    class Source(Protocol):
        """What `Sources` runs."""

        claim: str
        pool: str
        standing: Standing

        def run(self, publish: Publish) -> Awaitable[None]: ...

        def examine(self) -> Awaitable[Answer]:
            """Raises SourceFailed."""


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

    def standings(self) -> list[Standing]:
        """How each is doing."""
        return [source.standing for source in self._sources]

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
                self._failed(source, error)  # a cancellation of its own making
            except Exception as error:
                self._failed(source, error)
            if time.monotonic() - began > LONGEST_PAUSE_S:
                backoff.begin_anew()
            await asyncio.sleep(backoff.next())

    def _failed(self, source: Source, error: BaseException) -> None:
        source.standing.failed(repr(error))
        self._log(f"pool {source.pool}: source {source.claim} failed: {error!r}")


def made(
    pools: list[PoolSettings],
    log: Callable[[str], None],
    known: Known = lambda pool, claim: [],
    on_shortage: Callable[[int, str], None] | None = None,
) -> list[Source]:
    """The sources that these pools name. known: what a source, by pool and claim, has named so far. on_shortage: called with an
    errno and a name that this host lacked something to look up."""
    sources: list[Source] = []
    for pool in pools:
        claims: dict[str, int] = {}
        for settings in pool.sources:
            source = _make(pool.name, settings, log, known, on_shortage)
            claims[source.claim] = claims.get(source.claim, 0) + 1
            if claims[source.claim] > 1:  # the same name in two clusters
                source.claim += f"#{claims[source.claim]}"
            sources.append(source)
    return sources


def _make(
    pool: str,
    source: SourceSettings,
    log: Callable[[str], None],
    known: Known,
    on_shortage: Callable[[int, str], None] | None,
) -> Source:
    if source.kind == "file":
        from lbcore.discovery.watch import FileSource

        assert source.path is not None
        return FileSource(pool, source.path, log, interval_s=source.interval_ms / 1000)
    if source.kind in ("dns", "srv"):
        from lbcore.discovery.dns import DnsSource

        return DnsSource(pool, source, log, known, on_shortage)
    from lbcore.discovery.engines.source import EngineSource

    return EngineSource(pool, source, _engine(source), log, known, on_shortage)


def _engine(source: SourceSettings) -> Engine:
    """Each brings libraries that only its users load."""
    if source.kind == "consul":
        from lbcore.discovery.engines.consul import Consul

        return Consul(source)
    if source.kind == "kubernetes":
        from lbcore.discovery.engines.kubernetes import Kubernetes

        return Kubernetes(source)
    if source.kind == "nats":
        from lbcore.discovery.engines.nats_kv import NatsKv

        return NatsKv(source)
    from lbcore.discovery.engines.etcd import Etcd

    return Etcd(source)
