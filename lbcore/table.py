"""The table of pools and backends: the control plane's only writer of the shared segment.

Rows are mirrored here as `Row` objects; every change goes through a method of `Table`, which takes its lock, writes the segment
through the engine's pen and publishes the pools that it touched.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections import namedtuple

from lbcore import _engine
from lbcore._layout import ffi
from lbcore.segment import Segment, SegmentError, make_memory, map_shared, text
from lbcore.settings import parse_address, split_host_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from lbcore.settings import ListenerSettings, PoolSettings

STATES = {
    "starting": ffi.integer_const("LB_STARTING"),
    "up": ffi.integer_const("LB_UP"),
    "busy": ffi.integer_const("LB_BUSY"),
    "draining": ffi.integer_const("LB_DRAINING"),
    "down": ffi.integer_const("LB_DOWN"),
}
GONE: int = ffi.integer_const("LB_GONE")
FREE: int = ffi.integer_const("LB_FREE")
_STATE_NAMES = {number: name for name, number in STATES.items()}
POLICIES = {
    "round_robin": ffi.integer_const("LB_ROUND_ROBIN"),
    "least_conn": ffi.integer_const("LB_LEAST_CONN"),
    "p2c": ffi.integer_const("LB_P2C"),
    "random": ffi.integer_const("LB_RANDOM"),
    "ewma": ffi.integer_const("LB_EWMA"),
    "maglev": ffi.integer_const("LB_MAGLEV"),
}
SEND_PROXY = {"off": 0, "v1": 1, "v2": 2}
MODES = {name: ffi.integer_const(f"LB_MODE_{name.upper()}") for name in ("tcp", "http", "udp", "tls", "https")}
FORWARDED = {
    "off": ffi.integer_const("LB_FORWARDED_OFF"),
    "x": ffi.integer_const("LB_FORWARDED_X"),
    "rfc7239": ffi.integer_const("LB_FORWARDED_RFC7239"),
    "both": ffi.integer_const("LB_FORWARDED_BOTH"),
}
HASH_KEYS = {
    "address": ffi.integer_const("LB_HASH_ADDRESS"),
    "path": ffi.integer_const("LB_HASH_PATH"),
    "header": ffi.integer_const("LB_HASH_HEADER"),
    "cookie": ffi.integer_const("LB_HASH_COOKIE"),
}
NO_POOL: int = ffi.integer_const("LB_NO_POOL")
DATAPATHS = {
    "auto": ffi.integer_const("LB_AUTO"),
    "copy": ffi.integer_const("LB_COPY"),
    "splice": ffi.integer_const("LB_SPLICE"),
    "offload": ffi.integer_const("LB_OFFLOAD"),
}

SERVING: int = ffi.integer_const("LB_WORKER_SERVING")
DRAINING: int = ffi.integer_const("LB_WORKER_DRAINING")

SECTIONS = 2
"""A worker's sections of the segment: one that takes its place has the other, while the old one drains."""
MAX_LISTENERS = 64
MAX_POOLS = 256
LARGE_POOL = 500
PUBLISH_EVERY_S = 0.02
"""Views of large pools are made anew at most so often: a state is seen at once anyway, since it is written in place; a schedule
follows. Ten thousand backends that register one after another would else cost as many views of ten thousand."""
REST_S = 1.0
"""How long a removed row rests at least: a worker may hold a pick of it that it has not counted yet."""

Outcome = namedtuple(
    "Outcome",
    "active sessions failures failures_in_row last_errno latency_ms last_success answers_in_row last_status last_answer",
    module=__name__,
)
Outcome.__doc__ = """What the data path saw of a backend, over all workers.

active: sessions now. sessions: connects that succeeded. failures: connects that failed. failures_in_row: the most that one
worker saw since its last success. last_errno: of the last failure, 0 if none. latency_ms: of connects, exponentially weighted.
last_success, last_answer: monotonic seconds, 0 if never; of connects and answers, of answers only.
answers_in_row, last_status: the same of failed answers; status 0: none came.
"""


def _row(struct: str, **fields: object) -> bytes:
    """The bytes of a struct of csrc/shm_layout.h. Raises ValueError when a text does not fit into its field."""
    row = ffi.new(f"{struct} *")
    for name, value in fields.items():
        if not isinstance(value, bytes):
            setattr(row, name, value)
            continue
        field = getattr(row, name)
        if len(value) > len(field):
            raise ValueError(f"{name}: {value.decode(errors='replace')!r} is longer than {len(field)} bytes")
        ffi.memmove(field, value, len(value))
    return bytes(ffi.buffer(row))


def _networks(cidrs: list[str]) -> list[dict[str, object]]:
    """struct lb_network of each: IPv4 mapped into IPv6."""
    found = []
    for cidr in cidrs:
        network = ipaddress.ip_network(cidr)
        v4 = network.version == 4
        packed = (b"\0" * 10 + b"\xff\xff" if v4 else b"") + network.network_address.packed
        found.append({"ip": list(packed), "bits": network.prefixlen + (96 if v4 else 0)})
    return found


class TableFull(ValueError):
    """No row is free: raise max_backends."""


class Row:
    """A backend in the table. Written by Table only."""

    __slots__ = (
        "address",
        "capacity",
        "cut_at",
        "elsewhere",
        "family",
        "free_at",
        "generation",
        "host",
        "index",
        "ip",
        "load",
        "pool",
        "port",
        "reason",
        "scope",
        "source",
        "state",
        "weight",
    )

    pool: str
    index: int
    generation: int
    address: str
    host: str
    port: int
    family: int
    ip: str
    scope: int
    source: str
    weight: int
    load: float | None
    elsewhere: float
    capacity: float | None
    state: str
    reason: str
    cut_at: float | None
    free_at: float | None

    @property
    def id(self) -> str:
        """INDEX.GENERATION: never the same for two registrations."""
        return f"{self.index}.{self.generation}"

    @property
    def leaving(self) -> bool:
        """It was removed: sessions finish, no new ones come."""
        return self.cut_at is not None

    def __repr__(self) -> str:
        return f"<Row {self.pool} {self.address} {self.state} weight={self.weight} id={self.id}>"


Resolved = namedtuple("Resolved", "family ip scope", module=__name__)


def resolve(host: str, port: int) -> Resolved:
    """The first address of a host, IPv4 before IPv6. May take seconds. Raises ValueError if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"{host}: cannot be resolved: {error.strerror or error}") from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    scope = int(address[3]) if len(address) == 4 else 0
    return Resolved(int(family), str(address[0]).partition("%")[0], scope)


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
        self.lock = threading.RLock()
        self.fd = make_memory(size) if memory is None else memory
        self.memory = map_shared(self.fd)
        fresh = memory is None
        try:
            self._pen = _engine.Pen(self.memory, create=limits if fresh else None)
            self.segment = Segment(self.memory)
        except (OSError, SegmentError):
            self.memory.close()
            raise
        head = self.segment.head
        self.workers = int(head.workers) // SECTIONS
        if fresh:
            self._pen.sections(workers)  # the others count when they are used
        self._pen.head(
            name=name.encode(),
            version=version.encode(),
            started_ms=int(time.time() * 1000) if fresh else head.started_ms,
            control_pid=os.getpid(),
            datapath=DATAPATHS[datapath] if fresh else head.datapath,
            client_key=os.urandom(16) if fresh else bytes(head.client_key),
        )
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
        self._max_backends = int(head.max_backends)
        self._batch_depth = 0
        self._dirty: set[str] = set()
        self._put_off: dict[str, float] = {}
        self._published: dict[str, tuple[float, int]] = {}
        self.on_cut: Callable[[], None] = lambda: None
        self.on_put_off: Callable[[float], None] = lambda when: None
        if not fresh:
            self._recall()

    def _recall(self) -> None:
        """Know again what the segment holds."""
        self._pen.mend()
        for index in range(MAX_POOLS):
            pool = self.segment.pool(index)
            if pool.state:
                self._pools[text(pool.name)] = index
        names = {index: name for name, index in self._pools.items()}
        self._fresh = int(self.segment.head.rows_used)
        for index in range(self._fresh):
            found = self.segment.backend(index)
            if found.state == FREE or found.pool not in names:
                self._free.append(index)
            else:
                self._recall_row(index, found, names[found.pool])
        for name in self._pools:
            self._publish(name)

    def _recall_row(self, index: int, found: Any, pool: str) -> None:
        row = Row()
        row.index, row.generation, row.pool = index, int(found.generation), pool
        row.address, row.source, row.reason = self.segment.texts(found)
        row.host, row.port = parse_address(row.address)
        row.family, row.scope, row.weight = int(found.family), int(found.scope), int(found.weight)
        row.ip = socket.inet_ntop(row.family, bytes(found.ip)[: 16 if row.family == socket.AF_INET6 else 4])
        row.load = None if found.load < 0 else float(found.load)
        row.elsewhere, row.capacity = float(found.elsewhere), float(found.capacity) or None
        row.state = _STATE_NAMES.get(found.state, "draining")
        row.cut_at = found.leaves_ms / 1000 if found.leaves_ms else None
        row.free_at = time.monotonic() + REST_S if found.state == GONE else None
        self._rows[index] = row
        if row.leaving:
            self._leaving.add(index)
        else:
            self._by_address[pool, row.address] = row

    def close(self) -> None:
        """Unmap and give the memory back. The table is not to be used any more."""
        with self.lock:
            self._pen.release()
            self.segment.close()
            self.memory.close()
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
            if listener is None:
                row = self.segment.listener(index)
                row_bytes = bytearray(ffi.buffer(row, ffi.sizeof("struct lb_listener_row")))
                row_bytes[:4] = bytes(4)  # state comes first
                self._pen.listener(index, bytes(row_bytes))
                self._tenants.pop(("listener", str(index)), None)
                return
            self._pen.listener(
                index,
                _row(
                    "struct lb_listener_row",
                    state=1,
                    mode=MODES[listener.mode],
                    pool=NO_POOL if listener.pool is None else self._pools[listener.pool],
                    idle_timeout_ms=listener.idle_timeout_ms,
                    half_closed_timeout_ms=listener.half_closed_timeout_ms,
                    head_timeout_ms=listener.head_timeout_ms,
                    body_timeout_ms=listener.body_timeout_ms,
                    keepalive_timeout_ms=listener.keepalive_timeout_ms,
                    max_head=listener.max_head,
                    max_target=listener.max_target,
                    max_fields=listener.max_fields,
                    max_body=listener.max_body,
                    forwarded=FORWARDED[listener.forwarded],
                    request_id=int(listener.request_id),
                    half_close=int(listener.half_close),
                    responses=listener.responses,
                    accept_proxy=int(listener.accept_proxy),
                    terminates=int(listener.terminates),
                    tenant=self._tenant(("listener", str(index))),
                    certificate_expires_s=certificate_expires_s,
                    client_limits=int(listener.limits_clients),
                    max_client_sessions=listener.max_client_sessions,
                    client_session_rate=listener.client_session_rate,
                    client_session_burst=listener.client_session_burst or listener.client_session_rate,
                    client_request_rate=listener.client_request_rate,
                    client_request_burst=listener.client_request_burst or listener.client_request_rate,
                    network_count=len(listener.trusted_proxies),
                    networks=_networks(listener.trusted_proxies),
                    name=listener.name.encode(),
                    address=address.encode(),
                    error_body=(listener.error_body or "").encode(),
                    error_type=(listener.error_type or "").encode(),
                ),
            )

    def listener_at(self, index: int) -> tuple[str, str, str, int]:
        """Name, mode, host and port of a listener row."""
        row = self.segment.listener(index)
        mode, _, where = text(row.address).partition("://")
        return text(row.name), mode, *split_host_port(where)

    def set_pool(self, pool: PoolSettings) -> None:
        """Write a pool's settings; a new name takes a new row. Raises TableFull."""
        with self.lock:
            index = self._pools.get(pool.name)
            if index is None:
                index = self._free_pool()
            hash_key, hash_name = pool.hash_parts
            self._pen.pool(
                index,
                _row(
                    "struct lb_pool_row",
                    state=1,
                    policy=POLICIES[pool.policy],
                    connect_timeout_ms=pool.connect_timeout_ms,
                    retries=pool.retries,
                    budget_percent=pool.retry_budget,
                    budget_floor=pool.retry_floor,
                    fail_after=pool.fail_after,
                    keepalive_s=pool.keepalive_ms // 1000,
                    user_timeout_ms=pool.user_timeout_ms,
                    max_active=pool.max_active,
                    fail_answers=pool.fail_answers,
                    answer_timeout_ms=pool.answer_timeout_ms,
                    queue=pool.queue_length,
                    queue_timeout_ms=pool.queue_timeout_ms,
                    reuse_ms=pool.reuse_ms,
                    reuse_max=pool.reuse_max,
                    hash_key=HASH_KEYS[hash_key],
                    retry_after_s=max(1, pool.probe.interval_ms // 1000),
                    max_cost=pool.max_cost,
                    send_proxy=SEND_PROXY[pool.send_proxy],
                    tls=int(pool.tls),
                    tenant=self._tenant(("pool", pool.name)),
                    name=pool.name.encode(),
                    hash_name=hash_name.lower().encode() if hash_key == "header" else hash_name.encode(),
                    sticky=(pool.sticky or "").encode(),
                    sticky_key=self._sticky_key(pool),
                ),
            )
            known = self._pools.get(pool.name)
            self._pools[pool.name] = index
            if known is None or self._policies.get(pool.name) != pool.policy:
                self._policies[pool.name] = pool.policy
                self._publish(pool.name)

    def _sticky_key(self, pool: PoolSettings) -> bytes:
        """What signs the pool's cookie: of its secret, or of one that lives as long as the table."""
        if not pool.sticky:
            return b""
        import hashlib

        known = self.segment.pool(self._pools[pool.name]) if pool.name in self._pools else None
        if not pool.sticky_secret and known is not None and text(known.sticky) == pool.sticky:
            return bytes(known.sticky_key)  # cookies that are out stay good
        secret = pool.sticky_secret.encode() if pool.sticky_secret else self._secret
        return hashlib.sha256(b"lbcore sticky\0" + pool.name.encode() + b"\0" + secret).digest()[:16]

    def _tenant(self, whose: tuple[str, str]) -> int:
        """The number of a pool or listener, by which its figures are told from those of one that had its row before."""
        if whose not in self._tenants:
            self._last_tenant += 1
            self._tenants[whose] = self._last_tenant
        return self._tenants[whose]

    def time(self, pool: str, timing: int, us: int, *, worker: int = 0, times: int = 1) -> None:
        """Note times as a worker does (csrc/table/timing.h), for tests and benchmarks."""
        with self.lock:
            self._pen.time(self._pools[pool], timing, us, worker=worker, times=times)

    def set_observed(self, log_every: int, trace_every: int = 0) -> None:
        """Have one of so many endings recorded for the access log, and one of so many exchanges traced; 0: none."""
        with self.lock:
            self._pen.observe(log_every, trace_every)

    def tell_log(self, written: int, lost: int) -> None:
        """How far the access log is. Its thread is the only writer of these two, and takes no lock: it must not wait."""
        self._pen.log_tally(written, lost)

    def set_routes(self, table: bytes) -> None:
        """Publish routes, as `lbcore.routes.pack` made them."""
        with self.lock:
            self._pen.routes(table)

    def pool_rows(self) -> dict[str, int]:
        """The row of each pool, by name."""
        with self.lock:
            return dict(self._pools)

    def drop_pool(self, name: str) -> None:
        """Free a pool's row. Its backends must have been removed."""
        with self.lock:
            self._pen.pool(self._pools.pop(name), _row("struct lb_pool_row", state=0))
            self._tenants.pop(("pool", name), None)
            self._policies.pop(name, None)

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

    def outcomes(self, row: Row) -> Outcome:
        """What the workers saw of a backend."""
        with self.lock:
            active = sessions = failures = in_row = errno = latency = latest = answers_in_row = status = answered = 0
            segment = self.segment
            for worker in range(segment.sections):
                active += segment.actives(worker)[row.index]
                seen = segment.outcomes(worker)[row.index]
                if seen.generation != row.generation:
                    continue
                sessions += seen.sessions
                failures += seen.failures
                latency = max(latency, seen.latency_us)
                latest, answered = max(latest, seen.last_success_ms), max(answered, seen.last_answer_ms)
                if seen.failures_in_row > in_row:
                    in_row, errno = seen.failures_in_row, seen.last_errno
                if seen.answers_in_row > answers_in_row:
                    answers_in_row, status = seen.answers_in_row, seen.last_status
            times = latency / 1000, latest / 1000, answers_in_row, status, answered / 1000
            return Outcome(active, sessions, failures, in_row, errno, *times)

    def totals(self) -> list[tuple[int, int, int, int]]:
        """Of every backend row used so far: requests that ended well, that failed, latency in microseconds, and connect
        failures in a row of those who pick without the proxy. One pass of the engine over all sections."""
        with self.lock:
            figures = self._pen.totals()
        return list(zip(figures[::4], figures[1::4], figures[2::4], figures[3::4], strict=True))

    # --- changing backends ---------------------------------------------------------------------------------------

    def add(
        self,
        pool: str,
        address: str,
        *,
        weight: int = 1,
        source: str,
        state: str = "up",
        reason: str = "",
        resolved: Resolved | None = None,
    ) -> Row:
        """Put a backend into a pool.

        address: "host:port". resolved: what `resolve` said of it; asked here if not given, which may take its time. Raises
        ValueError when the address is bad, cannot be resolved or is there already,
        KeyError when there is no such pool, TableFull at max_backends.
        """
        host, port = parse_address(address)
        family, ip, scope = resolved or resolve(host, port)
        with self.lock:
            if (pool, address) in self._by_address:
                raise ValueError(f"backend {address} is in pool {pool} already")
            row = Row()
            row.index = self._take_index()
            row.pool, row.address, row.host, row.port = pool, address, host, port
            row.family, row.ip, row.scope = family, ip, scope
            row.source, row.weight, row.load, row.elsewhere, row.capacity = source, weight, None, 0.0, None
            row.cut_at = row.free_at = None
            row.generation = self._pen.put(
                row.index,
                pool=self._pools[pool],
                weight=weight,
                family=family,
                ip=socket.inet_pton(family, ip),
                port=port,
                scope=scope,
                address=address.encode(),
                source=source.encode(),
            )
            self._rows[row.index] = row
            self._by_address[pool, address] = row
            self._write_state(row, state, reason)
            return row

    def _take_index(self) -> int:
        if self._free:
            return self._free.pop()
        if self._fresh == self._max_backends:
            raise TableFull(f"the table holds max_backends={self._max_backends} backends already")
        self._fresh += 1
        return self._fresh - 1

    def set_state(self, row: Row, state: str, reason: str) -> None:
        """Write a state of STATES and why. A leaving row stays as it is."""
        with self.lock:
            if not row.leaving and (row.state, row.reason) != (state, reason):
                self._write_state(row, state, reason)

    def _write_state(self, row: Row, state: str, reason: str) -> None:
        moved = getattr(row, "state", None) != state
        row.state, row.reason = state, reason
        self._pen.state(row.index, STATES[state], reason.encode())
        if moved:
            self._publish(row.pool)

    def set_weight(self, row: Row, weight: int) -> None:
        """Write a weight, 0..256; 0 takes no new sessions."""
        with self.lock:
            if row.weight != weight:
                row.weight = weight
                self._pen.weight(row.index, weight)
                self._publish(row.pool)

    def set_load(self, row: Row, load: float | None, elsewhere: float = 0.0) -> None:
        """Write a reported load, 0..1, None: unknown; and what is under way there that did not come from here."""
        with self.lock:
            if (row.load, row.elsewhere) != (load, elsewhere):
                row.load, row.elsewhere = load, elsewhere
                self._pen.load(row.index, -1.0 if load is None else load, elsewhere)

    def set_ramp(self, row: Row, now: float, ramp_ms: int) -> None:
        """Begin a slow start at a monotonic time; 0: end it."""
        with self.lock:
            self._pen.ramp(row.index, int(now * 1000) & 0xFFFFFFFF, ramp_ms)

    def set_capacity(self, row: Row, capacity: float | None) -> None:
        """Write the capacity that was declared, for those who look."""
        with self.lock:
            if row.capacity != capacity:
                row.capacity = capacity
                self._pen.capacity(row.index, capacity or 0.0)

    def in_flight(self, row: Row) -> int:
        """Sessions and exchanges that are under way on a backend."""
        with self.lock:
            return self._pen.in_flight(row.index)

    def pickers(self) -> dict[int, int]:
        """Process ids of those who pick without the proxy, by section."""
        with self.lock:
            head = self.segment.head
            pids = {section: self.segment.worker(section).pid for section in range(head.workers, self.segment.sections)}
            return {section: pid for section, pid in pids.items() if pid}

    def bury_picker(self, section: int) -> None:
        """Free the section of a picking process that is gone."""
        with self.lock:
            self._pen.bury_picker(section)

    def remove(self, row: Row, drain_ms: int) -> None:
        """Let a backend leave: no new sessions, old ones are cut after drain_ms at the latest; its row rests, then is free."""
        with self.lock:
            if row.leaving or self._rows.get(row.index) is not row:
                return
            self._write_state(row, "draining", row.reason if row.state == "draining" else "removed")
            row.cut_at = time.monotonic() + drain_ms / 1000
            self._pen.leaves(row.index, int(row.cut_at * 1000))
            self._leaving.add(row.index)
            del self._by_address[row.pool, row.address]

    def sweep(self, now: float) -> float | None:
        """Cut and free the leaving rows whose time has come, and make the views that were put off.

        Returns when to look again (monotonic seconds), or None.
        """
        with self.lock:
            self._publish_due(now)
            times = [self._sweep_row(self._rows[index], now) for index in list(self._leaving)]
            times += self._put_off.values()
            return min((when for when in times if when != float("inf")), default=None)

    def _sweep_row(self, row: Row, now: float) -> float:
        """One step of a leaving row; a row that was freed wants nothing and answers with infinity."""
        idle = self._pen.in_flight(row.index) == 0
        if row.free_at is None:
            assert row.cut_at is not None
            if not idle and now < row.cut_at:
                return min(row.cut_at, now + REST_S)
            self._pen.state(row.index, GONE, row.reason.encode())
            self.on_cut()
            row.free_at = now + REST_S
        if idle and now >= row.free_at:
            self._pen.free(row.index)
            self._leaving.discard(row.index)
            del self._rows[row.index]
            self._free.append(row.index)
            return float("inf")
        return max(row.free_at, now + 0.05)

    # --- publication ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Many changes, one publication a pool at the end. Holds the lock."""
        with self.lock:
            self._batch_depth += 1
            try:
                yield
            finally:
                self._batch_depth -= 1
                if not self._batch_depth:
                    dirty, self._dirty = self._dirty, set()
                    for pool in dirty & set(self._pools):
                        self._publish_now(pool)

    def _publish(self, pool: str) -> None:
        """Publish a pool, now, at the end of a batch, or, when it is large and has just been, a moment later."""
        if self._batch_depth or pool not in self._pools:
            self._dirty.add(pool)
            return
        last, members = self._published.get(pool, (0.0, 0))
        if members < LARGE_POOL or time.monotonic() >= last + PUBLISH_EVERY_S:
            self._publish_now(pool)
        elif pool not in self._put_off:
            self._put_off[pool] = last + PUBLISH_EVERY_S
            self.on_put_off(last + PUBLISH_EVERY_S)

    def _publish_now(self, pool: str) -> None:
        self._put_off.pop(pool, None)
        self._published[pool] = (time.monotonic(), self._pen.publish(self._pools[pool]))

    def _publish_due(self, now: float) -> None:
        for pool, when in list(self._put_off.items()):
            if now >= when or pool not in self._pools:
                del self._put_off[pool]
                if pool in self._pools:
                    self._publish_now(pool)

    # --- workers -------------------------------------------------------------------------------------------------

    def use_section(self, section: int) -> None:
        """A worker that this section is for is about to begin: what it counts is summed with the others'."""
        with self.lock:
            if section >= self.segment.head.sections:
                self._pen.sections(section + 1)

    def holder(self, section: int) -> int | None:
        """The process that a worker's section belongs to, also when it drains; None: nobody."""
        row = self.segment.worker(section)
        return int(row.pid) if row.state in (SERVING, DRAINING) else None

    def set_draining(self, draining: bool) -> None:
        """Say in the segment that the balancer drains."""
        with self.lock:
            self._pen.draining(draining)

    def bury_worker(self, worker: int) -> None:
        """Settle the figures of a worker that is gone: its sessions count as lost."""
        with self.lock:
            self._pen.bury(worker)

    def picker(self, pool: str, seed: int = 1) -> _engine.Picker:
        """Picks as a worker would; for tests and benchmarks."""
        with self.lock:
            return _engine.Picker(self._pen, self._pools[pool], seed)
