"""The table of pools and backends: the control plane's only writer of the shared segment.

Rows are mirrored here as `Row` objects; every change goes through a method of `Table`, which takes its lock, writes the segment
through the engine's writer and publishes the pools that it touched.
"""

from __future__ import annotations

import contextlib
import socket
import time

from lbcore import _engine
from lbcore.config.settings import parse_address
from lbcore.engine.codes import FREE, GONE, STATES
from lbcore.engine.segment import text
from lbcore.table.backend_health import BackendHealth, health_of
from lbcore.table.resolved import Resolved, resolve
from lbcore.table.row import Row
from lbcore.table.settings_rows import SettingsRows
from lbcore.table.settings_rows import TableFull as TableFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


REST_S = 1.0
"""How long a removed row rests at least: a worker may hold a pick of it that it has not counted yet."""


class Table(SettingsRows):
    """The live table. All methods are thread-safe; `lock` may be held around several of them.

    settings are taken as checked. Owns the segment's memory (`fd`) until `close()`.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        workers: int,
        max_backends: int,
        datapath: str,
        loop: tuple[str, str] = ("epoll", ""),
        memory: int | None = None,
        secret: bytes | None = None,
    ) -> None:
        """As of TableMemory. secret: signs the cookies of pools without one of their own; default: a new one."""
        super().__init__(
            secret,
            name=name,
            version=version,
            workers=workers,
            max_backends=max_backends,
            datapath=datapath,
            loop=loop,
            memory=memory,
        )
        self._rows: dict[int, Row] = {}
        self._by_address: dict[tuple[str, str], Row] = {}
        self._leaving: set[int] = set()
        self._free: list[int] = []
        self._fresh = 0
        self._max_backends = int(self.segment.head.max_backends)
        self._takers: dict[tuple[str, int], int] = {}  # by pool and tier: how many take sessions
        if memory is not None:
            self._recall()

    def _recall(self) -> None:
        """Know again what the segment holds."""
        self._writer.mend()
        self._recall_settings()
        names = {index: name for name, index in self._pools.items()}
        self._fresh = int(self.segment.head.rows_used)
        for index in range(self._fresh):
            found = self.segment.backend(index)
            if found.state == FREE or found.pool not in names:
                self._free.append(index)
            else:
                self._recall_row(Row.recalled(self.segment, index, names[found.pool]), gone=found.state == GONE)
        for name in self._pools:
            self.views.publish(name)

    def _recall_row(self, row: Row, *, gone: bool) -> None:
        row.free_at = time.monotonic() + REST_S if gone else None
        self._rows[row.index] = row
        if row.leaving:
            self._leaving.add(row.index)
        else:
            self._by_address[row.pool, row.address] = row
        self._recount(row)

    def time(self, pool: str, timing: int, us: int, *, worker: int = 0, times: int = 1) -> None:
        """Note times as a worker does (csrc/table/timing.h), for tests and benchmarks."""
        with self.lock:
            self._writer.time(self._pools[pool], timing, us, worker=worker, times=times)

    def _pools_left(self) -> set[int]:
        return {self._row_pool(row) for row in self._rows.values() if row.leaving}

    def _row_pool(self, row: Row) -> int:
        return int(self.segment.backend(row.index).pool)

    # --- reading backends ----------------------------------------------------------------------------------------

    def rows(self, pool: str | None = None) -> list[Row]:
        """The backends of a pool or of all, those that leave included."""
        with self.lock:
            return [row for row in self._rows.values() if pool is None or row.pool == pool]

    def find(self, pool: str, address: str) -> Row | None:
        """The backend of that address, unless it is leaving."""
        with self.lock:
            return self._by_address.get((pool, address))

    def by_index(self, index: int) -> Row | None:
        """The backend in a row of the segment."""
        with self.lock:
            return self._rows.get(index)

    def health(self, row: Row) -> BackendHealth:
        """What the workers saw of a backend."""
        with self.lock:
            return health_of(self.segment, row)

    def totals(self) -> list[tuple[int, int, int, int]]:
        """Of every backend row used so far: requests that ended well, that failed, latency in microseconds, and connect
        failures in a row of those who pick without the proxy. One pass of the engine over all sections."""
        with self.lock:
            figures = self._writer.totals()
        return list(zip(figures[::4], figures[1::4], figures[2::4], figures[3::4], strict=True))

    # --- changing backends ---------------------------------------------------------------------------------------

    def add(
        self,
        pool: str,
        address: str,
        *,
        weight: int = 1,
        tier: int = 0,
        source: str,
        state: str = "up",
        reason: str = "",
        resolved: Resolved | None = None,
    ) -> Row:
        """Put a backend into a pool.

        address: "host:port" or "unix:/path". resolved: what `resolve` said of it; asked here if not given, which may take its
        time. Raises ValueError when the address is bad, cannot be resolved or is there already, KeyError when there is no such
        pool, TableFull at max_backends.
        """
        row = Row(pool, address, resolved or resolve(*parse_address(address)), weight=weight, source=source, tier=tier)
        with self.lock:
            if (pool, address) in self._by_address:
                raise ValueError(f"backend {address} is in pool {pool} already")
            pool_row = self._pools[pool]
            row.index = self._take_index()
            row.generation = self._writer.put(
                row.index,
                pool=pool_row,
                weight=weight,
                family=row.family,
                ip=b"" if row.family == socket.AF_UNIX else socket.inet_pton(row.family, row.ip),
                port=row.port,
                scope=row.scope,
                address=address.encode(),
                source=source.encode(),
            )
            self._writer.tier(row.index, tier)
            self._rows[row.index] = row
            self._by_address[pool, address] = row
            self._write_state(row, state, reason)
            return row

    @property
    def is_full(self) -> bool:
        """Is there no row for another backend?"""
        with self.lock:
            return not self._free and self._fresh == self._max_backends

    def _take_index(self) -> int:
        if self._free:
            return self._free.pop()
        if self._fresh == self._max_backends:
            raise TableFull(f"the table holds max_backends={self._max_backends} backends already")
        self._fresh += 1
        return self._fresh - 1

    def set_state(self, row: Row, state: str, reason: str, *, kept: bool = False) -> None:
        """Write a state of STATES and why. kept: it is up only because nobody is better. A leaving row stays as it is."""
        with self.lock:
            if row.leaving:
                return
            if row.kept != kept:
                row.kept = kept
                self._writer.kept(row.index, kept)
            if (row.state, row.reason) != (state, reason):
                self._write_state(row, state, reason)

    def _write_state(self, row: Row, state: str, reason: str) -> None:
        moved = row.state != state
        row.state, row.reason = state, reason
        self._writer.state(row.index, STATES[state], reason.encode())
        if moved:
            self.views.publish(row.pool, at_once=self._recount(row))
            if state == "down" and row.pool in self._cutting:
                self.on_cut()

    def set_known(self, row: Row, known: int) -> None:
        """Write what is known of a backend beside its state: DEAD, PROVEN, for the next control plane."""
        with self.lock:
            if row.known != known:
                row.known = known
                self._writer.known(row.index, known)

    def set_instances(self, row: Row, count: int) -> None:
        """Write how many processes have registered a backend, for the next control plane."""
        with self.lock:
            if row.instances != count:
                row.instances = count
                self._writer.instances(row.index, count)

    def set_weight(self, row: Row, weight: int) -> None:
        """Write a weight, 0..256; 0 takes no new sessions."""
        with self.lock:
            if row.weight != weight:
                row.weight = weight
                self._writer.weight(row.index, weight)
                self.views.publish(row.pool, at_once=self._recount(row))

    def set_tier(self, row: Row, tier: int) -> None:
        """Write a tier: it is picked only while no backend of a lower one can be."""
        with self.lock:
            if row.tier != tier:
                row.tier = tier
                self._writer.tier(row.index, tier)
                self.views.publish(row.pool, at_once=self._recount(row))

    def _recount(self, row: Row) -> bool:
        """Count it among those of its tier that take sessions. True: it is the first of them, or was the last."""
        was, row.counted = row.counted, (row.pool, row.tier) if row.state == "up" and row.weight > 0 else None
        if was == row.counted:
            return False
        turned = False
        for tier, change in ((was, -1), (row.counted, 1)):
            if tier is not None:
                self._takers[tier] = count = self._takers.get(tier, 0) + change
                turned |= count == max(0, change)
        return turned

    def set_load(self, row: Row, load: float | None, elsewhere: float = 0.0) -> None:
        """Write a reported load, 0..1, None: unknown; and what is under way there that did not come from here."""
        with self.lock:
            if (row.load, row.elsewhere) != (load, elsewhere):
                row.load, row.elsewhere = load, elsewhere
                self._writer.load(row.index, -1.0 if load is None else load, elsewhere)

    def set_ramp(self, row: Row, now: float, ramp_ms: int) -> None:
        """Begin a slow start at a monotonic time; 0: end it."""
        with self.lock:
            self._writer.ramp(row.index, int(now * 1000) & 0xFFFFFFFF, ramp_ms)

    def set_capacity(self, row: Row, capacity: float | None) -> None:
        """Write the capacity that was declared, for those who look."""
        with self.lock:
            if row.capacity != capacity:
                row.capacity = capacity
                self._writer.capacity(row.index, capacity or 0.0)

    def in_flight(self, row: Row) -> int:
        """Sessions and exchanges that are under way on a backend."""
        with self.lock:
            return int(self._writer.in_flight(row.index))

    def remove(self, row: Row, drain_ms: int) -> None:
        """Let a backend leave: no new sessions, old ones are cut after drain_ms at the latest; its row rests, then is free.

        Where clients are bound to it by a cookie it drains for all of drain_ms: they come back between two requests.
        """
        with self.lock:
            if row.leaving or self._rows.get(row.index) is not row:
                return
            self._write_state(row, "draining", row.reason if row.state == "draining" else "removed")
            row.cut_at = time.monotonic() + drain_ms / 1000
            self._writer.leaves(row.index, int(row.cut_at * 1000))
            self._leaving.add(row.index)
            del self._by_address[row.pool, row.address]

    def sweep(self, now: float) -> float | None:
        """Cut and free the leaving rows whose time has come, and make the views that were put off.

        Returns when to look again (monotonic seconds), or None.
        """
        with self.lock:
            put_off = self.views.publish_due(now)
            times = [self._sweep_row(self._rows[index], now) for index in list(self._leaving)] + put_off
            return min((when for when in times if when != float("inf")), default=None)

    def _binds(self, row: Row) -> bool:
        """May clients be bound to it that come back while it drains?"""
        pool = self.segment.pool(self._row_pool(row))
        return bool(text(pool.sticky)) and not pool.sticky_moves

    def _sweep_row(self, row: Row, now: float) -> float:
        """One step of a leaving row; a row that was freed wants nothing and answers with infinity."""
        idle = self._writer.in_flight(row.index) == 0
        if row.free_at is None:
            assert row.cut_at is not None
            if (not idle or self._binds(row)) and now < row.cut_at:
                return min(row.cut_at, now + REST_S)
            self._writer.state(row.index, GONE, row.reason.encode())
            self.on_cut()
            row.free_at = now + REST_S
        if idle and now >= row.free_at:
            self._writer.free(row.index)
            self._leaving.discard(row.index)
            del self._rows[row.index]
            self._free.append(row.index)
            return float("inf")
        return max(row.free_at, now + 0.05)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Many changes, one publication a pool at the end. Holds the lock."""
        with self.lock, self.views.batch():
            yield

    def picker(self, pool: str, seed: int = 1) -> _engine.Picker:
        """Picks as a worker would; for tests and benchmarks."""
        with self.lock:
            return _engine.Picker(self._writer, self._pools[pool], seed)
