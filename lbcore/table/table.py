"""The table of pools and backends: the control plane's only writer of the shared segment.

Rows are mirrored here as `Row` objects; every change goes through a method of `Table`, which takes its lock, writes the segment
through the engine's writer and publishes the pools that it touched.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from lbcore import _engine, locks
from lbcore.config.settings import parse_address, split_host_port
from lbcore.engine.codes import DATAPATHS, DRAINING, FREE, GONE, SECTIONS, SERVING, STATES
from lbcore.engine.segment import Segment, SegmentError, make_memory, map_shared, text
from lbcore.forked import NotOurs
from lbcore.table import packed
from lbcore.table.backend_health import BackendHealth, health_of
from lbcore.table.counts import Counts
from lbcore.table.resolved import Resolved, resolve
from lbcore.table.row import Row
from lbcore.table.views import Views
from lbcore.topic import Topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import Any

    from lbcore.config.settings import ListenerSettings, PoolSettings

MAX_LISTENERS = 64
MAX_POOLS = 256
REST_S = 1.0
"""How long a removed row rests at least: a worker may hold a pick of it that it has not counted yet."""


class TableFull(ValueError):
    """No row is free: raise max_backends."""


class Table:
    """The live table. All methods are thread-safe; `lock` may be held around several of them.

    settings are taken as checked. Owns the segment's memory (`fd`) until `close()`.
    """

    def __init__(
        self, *, name: str, version: str, workers: int, max_backends: int, datapath: str, memory: int | None = None
    ) -> None:
        """memory: descriptor of a segment whose writer is gone, ours from now on; its numbers count, and what is in it stays.

        Raises OSError when the memory cannot be had, SegmentError when it is of another layout.
        """
        sections = SECTIONS * workers
        limits = (MAX_LISTENERS, MAX_POOLS, max_backends, sections)
        size = _engine.segment_bytes(listeners=MAX_LISTENERS, pools=MAX_POOLS, backends=max_backends, workers=sections)
        self.lock: Any = locks.rlock("table")
        self.fd: int = make_memory(size) if memory is None else memory
        self.memory: mmap.mmap = map_shared(self.fd)
        fresh = memory is None
        try:
            self._writer: Any = _engine.TableWriter(self.memory, create=limits if fresh else None)
            self.segment: Segment = Segment(self.memory)
        except (OSError, SegmentError):
            self.memory.close()
            raise
        self.workers: int = int(self.segment.head.workers) // SECTIONS
        if fresh:
            self._writer.sections(workers)  # the others count when they are used
        self._write_head(name, version, DATAPATHS[datapath], fresh=fresh)
        self._pools: dict[str, int] = {}
        self._policies: dict[str, str] = {}
        self._tenants: dict[tuple[str, str], int] = {}
        self._last_tenant = 0
        self._secret = os.urandom(16)
        self._rows: dict[int, Row] = {}
        self._by_address: dict[tuple[str, str], Row] = {}
        self._leaving: set[int] = set()
        self._free: list[int] = []
        self._fresh = 0
        self._max_backends = int(self.segment.head.max_backends)
        self.counts: Counts = Counts(self._writer, self.segment)
        self.views: Views = Views(self._pools, self._writer.publish)
        self.on_cut: Topic[[]] = Topic()
        self._cutting: set[str] = set()  # pools that cut the sessions of a backend that is down
        self._takers: dict[tuple[str, int], int] = {}  # by pool and tier: how many take sessions
        if not fresh:
            self._recall()

    def _write_head(self, name: str, version: str, datapath: int, *, fresh: bool) -> None:
        head = self.segment.head
        self._writer.head(
            name=name.encode(),
            version=version.encode(),
            started_ms=int(time.time() * 1000) if fresh else head.started_ms,
            control_pid=os.getpid(),
            datapath=datapath if fresh else head.datapath,
            client_key=os.urandom(16) if fresh else bytes(head.client_key),
        )

    def _recall(self) -> None:
        """Know again what the segment holds."""
        self._writer.mend()
        for index in range(MAX_POOLS):
            pool = self.segment.pool(index)
            if pool.state:
                self._pools[text(pool.name)] = index
        self._recall_tenants()
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

    def _recall_tenants(self) -> None:
        """Listeners and pools keep their numbers, and with them their figures; no number that was ever given is given again."""
        segment = self.segment
        given = {("pool", name): int(segment.pool(index).tenant) for name, index in self._pools.items()}
        for index in range(MAX_LISTENERS):
            row = segment.listener(index)
            if row.state:
                given["listener", str(index)] = int(row.tenant)
        rows = [segment.listener(index) for index in range(MAX_LISTENERS)]
        rows += [segment.pool(index) for index in range(MAX_POOLS)]
        figures = [segment.listener_tally(worker, at) for worker in range(segment.head.workers) for at in range(len(rows))]
        self._tenants = given
        self._last_tenant = max(int(entry.tenant) for entry in (*rows, *figures))

    def _recall_row(self, row: Row, *, gone: bool) -> None:
        row.free_at = time.monotonic() + REST_S if gone else None
        self._rows[row.index] = row
        if row.leaving:
            self._leaving.add(row.index)
        else:
            self._by_address[row.pool, row.address] = row
        self._recount(row)

    def close(self) -> None:
        """Unmap and give the memory back. The table is not to be used any more."""
        with self.lock:
            self._writer.release()
            self.segment.close()
            self.memory.close()
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def disown(self) -> None:
        """In a forked child: the memory is its parent's, and nothing is written there from here."""
        self.lock = locks.rlock("table")
        self._writer = NotOurs()
        self.counts.disown()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self.fd < 0

    # --- listeners and pools -------------------------------------------------------------------------------------

    def set_listener(
        self, index: int, listener: ListenerSettings | None, address: str = "", certificate_expires_s: int = 0
    ) -> None:
        """Write a listener row; None frees it, but leaves its time limits to the sessions that came through it.

        certificate_expires_s: Unix time, when the first of its certificates does; 0: it has none.
        """
        with self.lock:
            tenant = ("listener", str(index))
            if listener is None:
                self._writer.listener(index, packed.freed_listener_row(self.segment.listener(index)))
                self._tenants.pop(tenant, None)
                return
            row = packed.listener_row(
                listener,
                pool=None if listener.pool is None else self._pools[listener.pool],
                address=address,
                tenant=self._tenant(tenant),
                certificate_expires_s=certificate_expires_s,
            )
            self._writer.listener(index, row)

    def listener_at(self, index: int) -> tuple[str, str, str, int]:
        """Name, mode, host and port of a listener row."""
        row = self.segment.listener(index)
        mode, _, where = text(row.address).partition("://")
        return text(row.name), mode, *split_host_port(where)

    def set_pool(self, pool: PoolSettings) -> None:
        """Write a pool's settings; a new name takes a new row. Raises TableFull."""
        with self.lock:
            known = self._pools.get(pool.name)
            index = self._free_pool() if known is None else known
            row = packed.pool_row(pool, tenant=self._tenant(("pool", pool.name)), sticky_key=self._sticky_key(pool))
            self._writer.pool(index, row)
            self._pools[pool.name] = index
            self._follow_cuts(pool)
            if known is None or self._policies.get(pool.name) != pool.policy:
                self._policies[pool.name] = pool.policy
                self.views.publish(pool.name)

    def _follow_cuts(self, pool: PoolSettings) -> None:
        """A pool that cuts sessions from now on does so at once, of those that are down already."""
        if pool.on_down == "cut" and pool.name not in self._cutting:
            self._cutting.add(pool.name)
            self.on_cut()
        elif pool.on_down != "cut":
            self._cutting.discard(pool.name)

    def set_outage(self, pool: str, outage: bool) -> None:
        """Say in the segment whether a pool has no usable backend."""
        with self.lock:
            if pool in self._pools:
                self._writer.outage(self._pools[pool], outage)

    def _sticky_key(self, pool: PoolSettings) -> bytes:
        """What signs the pool's cookie: of its secret, or of one that lives as long as the table."""
        if not pool.sticky:
            return b""
        known = self.segment.pool(self._pools[pool.name]) if pool.name in self._pools else None
        if not pool.sticky_secret and known is not None and text(known.sticky) == pool.sticky:
            return bytes(known.sticky_key)  # cookies that are out stay good
        return packed.sticky_key(pool.name, pool.sticky_secret.reveal().encode() if pool.sticky_secret else self._secret)

    def _tenant(self, whose: tuple[str, str]) -> int:
        """The number of a pool or listener, by which its figures are told from those of one that had its row before."""
        if whose not in self._tenants:
            self._last_tenant += 1
            self._tenants[whose] = self._last_tenant
        return self._tenants[whose]

    def time(self, pool: str, timing: int, us: int, *, worker: int = 0, times: int = 1) -> None:
        """Note times as a worker does (csrc/table/timing.h), for tests and benchmarks."""
        with self.lock:
            self._writer.time(self._pools[pool], timing, us, worker=worker, times=times)

    def set_observed(self, log_every: int, trace_every: int = 0) -> None:
        """Have one of so many endings recorded for the access log, and one of so many exchanges traced; 0: none."""
        with self.lock:
            self._writer.observe(log_every, trace_every)

    def tell_log(self, written: int, lost: int) -> None:
        """How far the access log is. Its thread is the only writer of these two, and takes no lock: it must not wait."""
        self._writer.log_tally(written, lost)

    def set_routes(self, table: bytes) -> None:
        """Publish routes, as `lbcore.table.routes.pack` made them."""
        with self.lock:
            self._writer.routes(table)

    def pool_rows(self) -> dict[str, int]:
        """The row of each pool, by name."""
        with self.lock:
            return dict(self._pools)

    def drop_pool(self, name: str) -> None:
        """Free a pool's row. Its backends must have been removed."""
        with self.lock:
            self._writer.pool(self._pools.pop(name), packed.freed_pool_row())
            self._tenants.pop(("pool", name), None)
            self._policies.pop(name, None)
            self._cutting.discard(name)

    def _free_pool(self) -> int:
        taken = set(self._pools.values()) | {self._row_pool(row) for row in self._rows.values() if row.leaving}
        for index in range(MAX_POOLS):
            if index not in taken:
                return index
        raise TableFull(f"a balancer has at most {MAX_POOLS} pools")

    def _row_pool(self, row: Row) -> int:
        return int(self.segment.backend(row.index).pool)

    def pools(self) -> list[str]:
        """The names of all pools."""
        with self.lock:
            return list(self._pools)

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

        address: "host:port". resolved: what `resolve` said of it; asked here if not given, which may take its time. Raises
        ValueError when the address is bad, cannot be resolved or is there already, KeyError when there is no such pool,
        TableFull at max_backends.
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
                ip=socket.inet_pton(row.family, row.ip),
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

    def pickers(self) -> dict[int, int]:
        """Process ids of those who pick without the proxy, by section."""
        with self.lock:
            head = self.segment.head
            pids = {section: self.segment.worker(section).pid for section in range(head.workers, self.segment.sections)}
            return {section: pid for section, pid in pids.items() if pid}

    def bury_picker(self, section: int) -> None:
        """Free the section of a picking process that is gone."""
        with self.lock:
            self._writer.bury_picker(section)

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

    # --- workers -------------------------------------------------------------------------------------------------

    def use_section(self, section: int) -> None:
        """A worker that this section is for is about to begin: what it counts is summed with the others'."""
        with self.lock:
            if section >= self.segment.head.sections:
                self._writer.sections(section + 1)

    def holder(self, section: int) -> int | None:
        """The process that a worker's section belongs to, also when it drains; None: nobody."""
        row = self.segment.worker(section)
        return int(row.pid) if row.state in (SERVING, DRAINING) else None

    def set_ready(self, ready: bool) -> None:
        """Say in the segment whether clients should come: what health_path of listeners answers."""
        with self.lock:
            self._writer.ready(ready)

    def set_draining(self, draining: bool) -> None:
        """Say in the segment that the balancer drains."""
        with self.lock:
            self._writer.draining(draining)

    def bury_worker(self, worker: int) -> None:
        """Settle the figures of a worker that is gone: its sessions count as lost."""
        with self.lock:
            self._writer.bury(worker)

    def set_hanging(self, section: int, hangs: bool) -> None:
        """Say in the segment that a worker does not turn although asked to, or does again."""
        with self.lock:
            self._writer.hanging(section, hangs)

    def picker(self, pool: str, seed: int = 1) -> _engine.Picker:
        """Picks as a worker would; for tests and benchmarks."""
        with self.lock:
            return _engine.Picker(self._writer, self._pools[pool], seed)
