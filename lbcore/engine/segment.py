"""The shared segment as Python sees it: made, mapped and read through cffi. Written only through `lbcore._engine.TableWriter`.

Any process of the same user may attach to a running balancer's segment and read it, also when that balancer hangs or is gone
but for its workers; the engine is not needed for that.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from typing import NamedTuple

from lbcore._layout import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar  # cffi structs have no static type

    Found = TypeVar("Found")

MAGIC = 0x6C62636F72653031  # LB_MAGIC in csrc/table/shm.h: "lbcore01"

_SIZES = {
    "head_size": "struct lb_head",
    "listener_size": "struct lb_listener_row",
    "pool_size": "struct lb_pool_row",
    "backend_size": "struct lb_backend_row",
    "worker_size": "struct lb_worker_row",
    "health_size": "struct lb_backend_health",
    "decision_size": "struct lb_decision",
    "histogram_size": "struct lb_histogram",
    "tally_size": "struct lb_tally",
    "record_size": "struct lb_record",
    "client_size": "struct lb_client",
    "key_size": "struct lb_key_row",
}

_NO_COUNTERS = ("pid", "state", "heartbeat_ms", "generation", "forwards", "forwards_asked", "loop", "http2_resets")
COUNTERS: tuple[str, ...] = tuple(
    name for name, _ in ffi.typeof("struct lb_worker_row").fields if name not in _NO_COUNTERS and not name.startswith("pad")
)
"""What a worker counts, as csrc/layout/figures.h declares it: the names of gauges and counters, in order."""


class SegmentError(ValueError):
    """What was attached is not a segment of this version of lbcore."""


def text(field: Any) -> str:
    """A NUL-ended text field as str."""
    return bytes(ffi.buffer(field)).partition(b"\0")[0].decode(errors="replace")


def date_text(unix_s: int) -> str:
    """Unix time in ISO 8601, "2027-01-31T12:00:00Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def make_memory(size: int) -> int:
    """A descriptor of zeroed shared memory of `size` bytes that nobody can shrink or grow. Raises OSError."""
    fd = os.memfd_create("lbcore", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(fd, 0o600)  # for whoever reaches it through /proc/PID/fd
        os.ftruncate(fd, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def map_shared(fd: int) -> mmap.mmap:
    """The whole of a segment's memory, writable: for its owner and for workers."""
    return mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


class Routes(NamedTuple):
    """The routes in a segment: cffi structs over memory that may be written anew while it is read."""

    head: Any
    rows: Any
    conditions: Any
    words: Any
    text_at: Any

    def text(self, at: int, length: int) -> str:
        """Of the text that the rows point into; "" where it would end outside."""
        inside = at + length <= self.head.text_bytes
        return bytes(ffi.buffer(self.text_at + at, length)).decode(errors="replace") if inside else ""

    def said(self, number: int) -> str | None:
        """A route of the configuration in words; None: there is none of this number."""
        return self.text(self.words[number].at, self.words[number].length) if number < self.head.words else None


class Segment:
    """A mapped segment to read: `head`, and its rows by index. A context manager; `close()` unmaps it.

    Rows are cffi structs over the live memory: what is read is what is there now.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        """Raises SegmentError when the memory is foreign, of another layout, or damaged."""
        self.memory = memory
        self._base: Any = ffi.from_buffer(memory, require_writable=False)
        try:
            self._check()
        except SegmentError:
            ffi.release(self._base)
            self._base = None
            raise

    @classmethod
    def attach(cls, path: str) -> Segment:
        """Map the segment behind a path such as /proc/PID/fd/N, to read only. Raises OSError or SegmentError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size < ffi.sizeof("struct lb_head"):
                raise SegmentError(f"{path} is not an lbcore segment: it has {size} bytes")
            memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        try:
            return cls(memory)
        except SegmentError as error:
            memory.close()
            raise SegmentError(f"{path}: {error}") from None

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap. Structs that were handed out must not be used any more; the segment itself raises SegmentError."""
        if self._base is not None:
            ffi.release(self._base)
            self._base = None
            self.memory.close()

    def _check(self) -> None:
        head = self.head
        if len(self.memory) < ffi.sizeof("struct lb_head") or head.magic != MAGIC:
            raise SegmentError("not an lbcore segment (wrong magic)")
        if head.layout != ffi.integer_const("LB_LAYOUT"):
            raise SegmentError(f"layout {head.layout}, but this lbcore reads {ffi.integer_const('LB_LAYOUT')}")
        for field, struct in _SIZES.items():
            if getattr(head, field) != ffi.sizeof(struct):
                raise SegmentError(f"{struct} has {getattr(head, field)} bytes there, {ffi.sizeof(struct)} here")
        end = head.off_workers + (head.workers + ffi.integer_const("LB_PICKERS")) * head.worker_stride
        if head.bytes != len(self.memory) or end != head.bytes:
            raise SegmentError(f"{len(self.memory)} bytes, but its head speaks of {head.bytes}")

    def _at(self, struct: str, offset: int) -> Any:
        if self._base is None:
            raise SegmentError("the segment is closed")
        return ffi.cast(f"{struct} *", self._base + offset)

    @property
    def head(self) -> Any:
        """The struct lb_head."""
        return self._at("struct lb_head", 0)

    def listener(self, index: int) -> Any:
        """The struct lb_listener_row."""
        return self._at("struct lb_listener_row", self.head.off_listeners) + index

    def pool(self, index: int) -> Any:
        """The struct lb_pool_row."""
        return self._at("struct lb_pool_row", self.head.off_pools) + index

    def backends(self) -> Any:
        """All struct lb_backend_row, to be indexed below head.rows_used."""
        return self._at("struct lb_backend_row", self.head.off_backends)

    def backend(self, index: int) -> Any:
        """One struct lb_backend_row."""
        return self.backends() + index

    def worker(self, index: int) -> Any:
        """The struct lb_worker_row."""
        head = self.head
        return self._at("struct lb_worker_row", head.off_workers + index * head.worker_stride)

    def health(self, worker: int) -> Any:
        """What a worker keeps of the backends: struct lb_backend_health by row; check the generation."""
        head = self.head
        return self._at("struct lb_backend_health", head.off_workers + worker * head.worker_stride + head.off_health)

    def budget(self, worker: int, pool: int) -> Any:
        """What a worker counts of a pool: the struct lb_budget."""
        head = self.head
        return self._at("struct lb_budget", head.off_workers + worker * head.worker_stride + head.off_budgets) + pool

    def timing(self, worker: int, pool: int, timing: int) -> Any:
        """How long things of a pool took: the struct lb_histogram. A look makes its page: see `budget(...).timed` first."""
        head = self.head
        first = self._at("struct lb_histogram", head.off_workers + worker * head.worker_stride + head.off_timings)
        return first + pool * ffi.integer_const("LB_TIMINGS") + timing

    def listener_tally(self, worker: int, listener: int) -> Any:
        """What ended at a listener: the struct lb_tally; check the tenant."""
        head = self.head
        return self._at("struct lb_tally", head.off_workers + worker * head.worker_stride + head.off_tallies) + listener

    def pool_tally(self, worker: int, pool: int) -> Any:
        """What ended of a pool, likewise."""
        return self.listener_tally(worker, self.head.max_listeners + pool)

    def model(self, index: int) -> Any:
        """The struct lb_model_row; of a free row the tenant is 0."""
        copies = 2 * int(ffi.integer_const("LB_ROUTES_BYTES"))
        return self._at("struct lb_model_row", self.head.off_routes + copies) + index

    def model_tally(self, worker: int, model: int) -> Any:
        """What ended of a model: the struct lb_tally; check the tenant."""
        return self.pool_tally(worker, self.head.max_pools + model)

    def model_timing(self, worker: int, model: int) -> Any:
        """How long a model's requests took: the struct lb_histogram. A look makes its page: see the tally first."""
        return self.timing(worker, self.head.max_pools, 0) + model

    def records_at(self, worker: int) -> int:
        """Where a worker's ring of struct lb_record begins in the memory."""
        head = self.head
        return int(head.off_workers + worker * head.worker_stride + head.off_records)

    @property
    def sections(self) -> int:
        """Sections that count: workers, then processes that pick without the proxy."""
        head = self.head
        return int(min(head.sections, head.workers + ffi.integer_const("LB_PICKERS")))

    def decisions(self, section: int) -> Any:
        """What a section remembers of its picks: struct lb_decision, number n at n % LB_DECISIONS."""
        head = self.head
        return self._at("struct lb_decision", head.off_workers + section * head.worker_stride + head.off_decisions)

    def ways(self, section: int) -> Any:
        """How alternatives of routes came out, beside the decisions: struct lb_way_row, number n at n % LB_DECISIONS."""
        return ffi.cast("struct lb_way_row *", self.decisions(section) + ffi.integer_const("LB_DECISIONS"))

    def routes(self, at_us: int, read: Callable[[Routes], Found]) -> Found | None:
        """What `read` finds in the routes; None: they have changed since then (monotonic). They may change while it reads."""
        for _ in range(100):
            version = self.head.routes
            live = self._at(
                "struct lb_routes_head", self.head.off_routes + (version & 1) * ffi.integer_const("LB_ROUTES_BYTES")
            )
            head = ffi.new("struct lb_routes_head *")  # its bounds stay, whatever is written meanwhile
            ffi.memmove(head, live, ffi.sizeof("struct lb_routes_head"))
            if self.head.routes != version:
                continue
            if head.since_us > at_us:
                return None
            rows = ffi.cast("struct lb_route_row *", live + 1)
            conditions = ffi.cast("struct lb_condition_row *", rows + head.count)
            guards = ffi.cast("struct lb_guard_row *", conditions + head.conditions)
            networks = ffi.cast("struct lb_network *", guards + head.guards)
            credentials = ffi.cast("struct lb_credential_row *", networks + head.networks)
            words = ffi.cast("struct lb_route_words *", credentials + head.credentials)
            editors = ffi.cast("struct lb_editor_row *", words + head.words)
            edits = ffi.cast("struct lb_edit_row *", editors + head.editors)
            pieces = ffi.cast("struct lb_piece_row *", edits + head.edits)
            hosts = ffi.cast("struct lb_mapped_host *", pieces + head.pieces)
            found = read(Routes(head, rows, conditions, words, ffi.cast("char *", hosts + head.mapped)))
            if self.head.routes == version:
                return found
        return None

    def route_words(self, number: int, at_us: int) -> str | None:
        """What a route of the configuration asks for, by its number; None: the routes have changed since then (monotonic)."""
        return self.routes(at_us, lambda routes: routes.said(number))

    def actives(self, worker: int) -> Any:
        """A section's sessions: uint32_t by backend row."""
        head = self.head
        return self._at("uint32_t", head.off_workers + worker * head.worker_stride + head.off_active)

    def charges(self, worker: int) -> Any:
        """What a section's sessions cost: uint32_t by backend row."""
        head = self.head
        return self._at("uint32_t", head.off_workers + worker * head.worker_stride + head.off_charged)

    def texts(self, row: Any) -> tuple[str, str, str]:
        """A backend row's address, source and reason, whole also while the control plane writes them."""
        for _ in range(100):
            version = row.text_version
            texts = text(row.address), text(row.source), text(row.reason)
            if not version & 1 and row.text_version == version:
                return texts
        return texts  # a writer died in the middle: better a torn reason than none
