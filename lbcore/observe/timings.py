"""How long things took, read from the histograms of a segment (csrc/table/timing.h), over all workers, and their quantiles.

A bucket is a sixteenth of what it holds at most, so a quantile, taken at the middle of its bucket, is off by 3% at most.
"""

from __future__ import annotations

from lbcore._layout import ffi
from lbcore.engine.segment import Segment, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

TIMED = ("response", "request", "connect", "session", "queue")
KINDS = {name: ffi.integer_const(f"LB_TIMING_{name.upper()}") for name in TIMED}
MODEL = "model"
MAX_MODELS: int = ffi.integer_const("LB_MODELS")
BUCKETS: int = ffi.integer_const("LB_TIMING_BUCKETS")
_QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}


def first_us(bucket: int) -> int:
    """The least that a bucket holds, in microseconds."""
    return bucket if bucket < 16 else (16 + bucket % 16) << (bucket // 16 - 1)


_MIDDLE_US = [(first_us(bucket) + first_us(bucket + 1) - 1) / 2 for bucket in range(BUCKETS)]


class Timing:
    """What was timed: `counts` by bucket, and `sum_us`."""

    __slots__ = ("counts", "sum_us")

    def __init__(self, counts: list[int], sum_us: int) -> None:
        self.counts: list[int] = counts
        self.sum_us: int = sum_us

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.counts)

    def quantiles_us(self, wanted: Sequence[float]) -> list[float | None]:
        """The times that these shares (0..1, ascending) of all did not exceed; None of nothing."""
        found: list[float | None] = []
        count, seen, bucket = self.count, 0, -1
        for share in wanted:
            while bucket < BUCKETS - 1 and (seen == 0 or seen < share * count):
                bucket += 1
                seen += self.counts[bucket]
            found.append(_MIDDLE_US[bucket] if count else None)
        return found

    def up_to(self, bounds_us: Sequence[float]) -> list[int]:
        """How many took at most so long, for each bound (ascending): of a bucket that a bound divides, by its middle."""
        found, seen, bucket = [], 0, 0
        for bound in bounds_us:
            while bucket < BUCKETS and _MIDDLE_US[bucket] <= bound:
                seen += self.counts[bucket]
                bucket += 1
            found.append(seen)
        return found


def timing(segment: Segment, pool: int, kind: str) -> Timing:
    """One kind of times of a pool row, over all workers, dead ones included. kind: of KINDS."""
    number, counts, sum_us = KINDS[kind], [0] * BUCKETS, 0
    tenant = segment.pool(pool).tenant
    for worker in range(segment.head.workers):
        budget = segment.budget(worker, pool)
        if budget.tenant == tenant and budget.timed >> number & 1:
            row = segment.timing(worker, pool, number)
            counts = [a + b for a, b in zip(counts, ffi.unpack(row.count, BUCKETS), strict=True)]
            sum_us += row.sum_us
    return Timing(counts, sum_us)


def all_timings(segment: Segment) -> dict[tuple[str, str], Timing]:
    """Of every pool, all kinds, by (pool's name, kind); of every model, by (its name, MODEL)."""
    pools = [index for index in range(segment.head.max_pools) if segment.pool(index).state]
    found = {(text(segment.pool(pool).name), kind): timing(segment, pool, kind) for pool in pools for kind in KINDS}
    models = [index for index in range(MAX_MODELS) if segment.model(index).tenant]
    return found | {(text(segment.model(model).name), MODEL): model_timing(segment, model) for model in models}


def model_timing(segment: Segment, model: int) -> Timing:
    """How long requests for a model took, over all workers."""
    counts, sum_us = [0] * BUCKETS, 0
    tenant = segment.model(model).tenant
    for worker in range(segment.head.workers):
        tally = segment.model_tally(worker, model)
        if tally.tenant == tenant and tally.requests:
            row = segment.model_timing(worker, model)
            counts = [a + b for a, b in zip(counts, ffi.unpack(row.count, BUCKETS), strict=True)]
            sum_us += row.sum_us
    return Timing(counts, sum_us)


def latency(segment: Segment, pool: int) -> dict[str, Any]:
    """The `latency` of a pool in the status document: of responses, or, where there are none (tcp, tls), of connects.

    of: "response" or "connect". count. p50_ms, p99_ms, p999_ms: None of nothing.
    """
    of, found = "response", timing(segment, pool, "response")
    if not found.count:
        connects = timing(segment, pool, "connect")
        of, found = ("connect", connects) if connects.count else (of, found)
    times = found.quantiles_us(list(_QUANTILES.values()))
    shown = {name: None if us is None else round(us / 1000, 3) for name, us in zip(_QUANTILES, times, strict=True)}
    return {"of": of, "count": found.count, **shown}
