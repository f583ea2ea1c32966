"""The contact of a node with the store: it joins and reads all, then watches, renews and writes, until a call fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from lbcore.cluster.keys import FORMAT
from lbcore.cluster.view import NotOurPrefix
from lbcore.store.interface import MOST_OPERATIONS, LeaseGone, Put, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from typing import Any

    from lbcore.cluster.entry import Node
    from lbcore.cluster.view import Pending, View
    from lbcore.store.interface import Changes, Store, Written

LEASE_S = 15
"""Of a node: so long after its last word its keys go."""
RENEW_S = 5.0
GAP_S = 0.02
"""Between two writes that are not full: what comes meanwhile goes with the second."""
MOST_HEARD = 32
"""Keys of 16 kB of one transaction; etcd takes 1.5 MB."""
MOST_KEYS = 1_000_000
"""Under the prefix: ten for each backend that a balancer may have."""
LOADS_S = 0.25
"""So often it is looked whether there are loads to be told."""
READ_AGAIN_S = 600.0
"""So often everything is read again, for what no watch has told."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)


@contextlib.contextmanager
def _our_prefix() -> Iterator[None]:
    """Raises Refused where it is none of ours."""
    try:
        yield
    except NotOurPrefix as error:
        raise Refused(str(error).removeprefix("prefix: "), "prefix") from None


class Session:
    """node: what this node says of itself now. on_change: called after each change of the view."""

    def __init__(self, store: Store, view: View, node: Callable[[], Node], on_change: Callable[[], None]) -> None:
        self._store, self._view, self._node, self._on_change = store, view, node, on_change
        self._lease = 0
        self._said: Node | None = None
        self._to_write = asyncio.Event()
        self._sent: deque[tuple[int, float]] = deque(maxlen=1000)
        self.connected: bool = False
        self.revision: int = 0
        self.contact: float | None = None
        self.lag_s: float = 0.0

    def write_soon(self) -> None:
        """There may be something to write."""
        self._to_write.set()

    async def run(self) -> None:
        """Until something fails. Raises StoreError; LeaseGone: the next run takes another lease."""
        try:
            await self._join()
            await self._first_to_fail(self._watch(), self._renew(), self._flush(), self._tell_loads(), self._read_again())
        except BaseException:  # not where all is to be read again
            self.connected = self._view.registry.connected = False
            raise

    async def _first_to_fail(self, *works: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    # --- to join -------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        await self._hold_lease()
        listing = await self._store.read(self._view.keys.prefix, MOST_KEYS)
        with _our_prefix():
            self._view.reread(listing.items, time.monotonic(), now_ms())
        await self._mark_prefix()
        self.revision = listing.revision
        self._sent.clear()
        self._view.loads.begin_anew()
        await self._say_node()
        self.connected = True
        self._changed()
        self.write_soon()

    async def _hold_lease(self) -> None:
        """The one that we have, or another one."""
        if self._lease:
            try:
                await self._store.renew(self._lease)
                return
            except LeaseGone:
                self._lose_lease()
        self._lease = await self._store.grant(LEASE_S)

    def _lose_lease(self) -> None:
        self._lease = 0
        self._said = None
        self._view.registry.lease_lost(time.monotonic(), now_ms())

    async def _mark_prefix(self) -> None:
        """As ours, where it is new or was wiped."""
        if self._view.is_unmarked:
            await self._store.write([Put(self._view.keys.format, FORMAT.encode())], absent=self._view.keys.format)
            self._view.is_unmarked = False

    async def _say_node(self) -> None:
        node = self._node()
        await self._under_lease([Put(self._view.keys.node(self._view.me.node), node.write(), self._lease)])
        self._said = node

    async def _under_lease(self, puts: list[Put], deletes: list[str] | None = None) -> Written:
        try:
            return await self._store.write(puts, deletes or [])
        except LeaseGone:
            self._lose_lease()
            raise

    # --- to stay -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async with contextlib.aclosing(self._store.watch(self._view.keys.prefix, self.revision + 1)) as watch:
            await self._follow(watch)

    async def _follow(self, watch: AsyncIterator[Changes]) -> None:
        async for told in watch:
            with _our_prefix():
                self._view.changed(told.changes, time.monotonic(), now_ms())
            if self._view.is_unsaid:
                self._view.is_unsaid, self._said = False, None
            if self._view.is_unmarked or self._said is None:
                self.write_soon()  # wiped under our eyes
            self.revision = max(self.revision, told.revision)
            now = time.monotonic()
            while self._sent and self._sent[0][0] <= self.revision:
                self.lag_s = now - self._sent.popleft()[1]
            self._changed()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._hold_lease()
            self.contact = time.monotonic()
            if self._said != self._node():
                await self._say_node()
            heard = self._view.heard()
            for begin in range(0, len(heard), MOST_HEARD):
                await self._write(heard[begin : begin + MOST_HEARD])

    async def _tell_loads(self) -> None:
        while True:
            await asyncio.sleep(LOADS_S)
            if told := self._view.reported(time.monotonic()):
                await self._write(told)

    async def _flush(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            await self._mark_prefix()
            if self._said is None:
                await self._say_node()
            while pending := self._view.pending(MOST_OPERATIONS):
                await self._write(pending)
                self._view.written()
                if len(pending) < MOST_OPERATIONS:
                    await asyncio.sleep(GAP_S)

    async def _write(self, pending: list[Pending]) -> None:
        """In one transaction. Raises StoreError."""
        puts = [Put(key, value, self._lease if leased else 0) for key, value, leased in pending if value is not None]
        began = time.monotonic()
        written = await self._under_lease(puts, [key for key, value, _ in pending if value is None])
        self._sent.append((written.revision, began))
        self.contact = time.monotonic()

    async def _read_again(self) -> None:
        await asyncio.sleep(READ_AGAIN_S)

    def _changed(self) -> None:
        self.contact = time.monotonic()
        self._on_change()

    async def end(self, *, goodbye: bool) -> None:
        """goodbye: our keys go at once, so that other nodes take over what we heard."""
        if goodbye and self._lease:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._store.revoke(self._lease)
        await self._store.close()
