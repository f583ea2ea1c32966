"""A Membership with a clock that tests move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbcore.config.settings import LeaseSettings, PoolSettings, ProbeSettings
from lbcore.discovery.membership import Membership
from lbcore.table import Row, Table

if TYPE_CHECKING:
    from typing import Any


class Clock:
    """Monotonic seconds that stand still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A membership of one pool with its clock."""

    def __init__(self, **rules: object) -> None:
        self.clock = Clock()
        self.table = Table(name="t", version="0", workers=1, max_backends=20_000, datapath="auto")
        probe = ProbeSettings(interval="1s", timeout="500ms", rise=2, fall=3)
        lease = LeaseSettings(heartbeat="5s", missed=3)
        self.pool = PoolSettings(name="p", **({"probe": probe, "lease": lease} | rules))
        self.lines: list[str] = []
        self.membership = Membership(self.table, {"p": self.pool}, drain_ms=30_000, log=self.lines.append, clock=self.clock)
        self.membership.changes.apply({"p": self.pool}, 30_000)

    def proven(self, *numbers: int, **options: Any) -> list[Row]:
        """Backends that a probe has found well."""
        rows = [self.membership.add("p", address(number), **options) for number in numbers]
        for row in rows:
            self.membership.observations.probe_result(row, True)
        return rows

    def later(self, seconds: float) -> None:
        """Time passes, seen to in steps as the supervisor would."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            wanted = self.membership.tick(self.clock.now)
            self.clock.now = min(end, max(wanted or end, self.clock.now + 0.001))
        self.membership.tick(self.clock.now)

    def picks(self) -> set[int]:
        """The rows that workers pick."""
        picker = self.table.picker("p")
        return {picked for picked in (picker.pick() for _ in range(200)) if picked is not None}


def address(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}:80"


def adopted(bench: Bench) -> Bench:
    """Another control plane on the same table."""
    after = Bench.__new__(Bench)
    after.clock, after.table, after.pool, after.lines = bench.clock, bench.table, bench.pool, []
    for row in bench.table.rows():  # as if it were read from the segment
        found = bench.table.segment.backend(row.index)
        row.kept, row.known, row.instances = bool(found.kept), int(found.known), int(found.instances)
    after.membership = Membership(after.table, {"p": after.pool}, drain_ms=1000, log=after.lines.append, clock=after.clock)
    after.membership.restart.recall(lambda pool, source: {source})
    after.membership.changes.apply({"p": after.pool}, 1000)
    return after


def all_bad(bench: Bench, *rows: Row, why: str = "timed out after 0.5s", times: int = 3) -> None:
    for row in rows:
        for _ in range(times):
            bench.membership.observations.probe_result(row, False, why)
