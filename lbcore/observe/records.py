"""The workers' rings of records, read (csrc/table/account.h): what ended, in order, and how much was overwritten before."""

from __future__ import annotations

import struct
from typing import NamedTuple

from lbcore._layout import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

    from lbcore.engine.segment import Segment

RING: int = ffi.integer_const("LB_RECORDS")
BATCH = 1024
"""Records of a worker that are taken at once, at most."""
SIZE: int = ffi.sizeof("struct lb_record")
NONE, NO_POOL, NEVER = 0xFFFFFFFF, 0xFFFF, 0xFFFFFFFF
HTTP2: int = ffi.integer_const("LB_RECORD_HTTP2")
EXCHANGE, SESSION, DATAGRAMS, REFUSED = (
    ffi.integer_const(f"LB_RECORD_{kind}") for kind in ("EXCHANGE", "SESSION", "DATAGRAMS", "REFUSED")
)
REUSED, TRUNCATED, LOGGED, TRACED, TLS, BY_CLIENT, BY_BACKEND = (
    ffi.integer_const(f"LB_RECORD_{flag}")
    for flag in ("REUSED", "TRUNCATED", "LOGGED", "TRACED", "TLS", "BY_CLIENT", "BY_BACKEND")
)


class Record(NamedTuple):
    """A struct lb_record of csrc/layout/figures.h; the trace id in two halves."""

    number: int
    ended_us: int
    total_us: int
    bytes_in: int
    bytes_out: int
    generation: int
    trace_high: int
    trace_low: int
    span: int
    parent: int
    backend: int
    accept_us: int
    connect_us: int
    first_us: int
    queue_us: int
    client: bytes
    port: int
    listener: int
    pool: int
    status: int
    kind: int
    end: int
    flags: int
    tried: int
    minor: int
    trace_flags: int
    method_length: int
    host_length: int
    path_length: int
    id_length: int
    reason_length: int
    grpc: int
    spoken: int
    referer_length: int
    agent_length: int
    user_length: int
    model: int
    text: bytes


_FORM = struct.Struct("=10Q5I16s4H8BH8B370s")
assert _FORM.size == SIZE


class Records:
    """Reads what the workers of a segment record from now on. One reader's own; any number may read."""

    def __init__(self, segment: Segment, memory: mmap.mmap) -> None:
        self._segment = segment
        self._memory = memory
        self._next = [segment.worker(worker).records + 1 for worker in range(segment.head.workers)]
        self.lost: int = 0

    def take(self) -> list[Record]:
        """The next records, BATCH a worker at most. What was overwritten is counted in `lost`."""
        found: list[Record] = []
        for worker in range(len(self._next)):
            count = min(self._skip(worker), BATCH)
            if count:
                found += self._copied(worker, count)
        return found

    def skip(self) -> None:
        """Count what is lost meanwhile, without reading."""
        for worker in range(len(self._next)):
            self._skip(worker)

    def _skip(self, worker: int) -> int:
        """Leave behind what is overwritten, or about to be: how many are there then."""
        newest = self._segment.worker(worker).records
        oldest = newest + 2 - RING  # the place of the one after the newest may be under the pen
        if self._next[worker] < oldest:
            self.lost += oldest - self._next[worker]
            self._next[worker] = oldest
        return int(newest + 1 - self._next[worker])

    def _copied(self, worker: int, count: int) -> list[Record]:
        base, first = self._segment.records_at(worker), self._next[worker]
        at, end = first % RING, first % RING + count
        data = self._memory[base + at * SIZE : base + min(end, RING) * SIZE]
        if end > RING:
            data += self._memory[base : base + (end - RING) * SIZE]
        self._skip(worker)  # what was overwritten while it was copied
        torn = self._next[worker] - first
        self._next[worker] = max(self._next[worker], first + count)
        return [Record(*fields) for fields in _FORM.iter_unpack(data[torn * SIZE :])]
