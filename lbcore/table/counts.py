"""What the control plane counts of itself. It lies in the segment, so that the next control plane goes on with it."""

from __future__ import annotations

from lbcore.engine.codes import COUNTS
from lbcore.forked import NotOurs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.engine.segment import Segment

CONTROL = "control"
"""The place of the control plane's own CPU time; a worker's is the number of its section."""


class Counts:
    """Of one table. writer: the engine's. Any thread may count; after the table was closed nothing is counted."""

    def __init__(self, writer: Any, segment: Segment) -> None:
        self._writer = writer
        self._segment = segment

    def disown(self) -> None:
        """In a forked child: nothing is counted in its parent's memory."""
        self._writer = NotOurs()

    def add(self, name: str, count: int = 1) -> None:
        """name: of COUNTS."""
        self._writer.count(COUNTS[name], count)

    def all(self) -> dict[str, int]:
        """All of COUNTS. The table's lock is to be held."""
        counts = self._segment.head.counts
        return {name: int(counts[number]) for name, number in COUNTS.items()}

    def spent(self, place: str | int, pid: int, cpu_s: float) -> float:
        """CPU seconds of all processes that have had this place; cpu_s: of the one that has it now.

        What a process used after the last look at it is not in there. The table's lock is to be held.
        """
        at = 0 if place == CONTROL else int(place) + 1
        known = self._segment.head.spent[at]
        before_us = int(known.before_us if known.pid == pid else known.seen_us)
        seen_us = max(int(known.seen_us), before_us + round(cpu_s * 1e6))
        self._writer.spent(at, pid, before_us, seen_us)
        return seen_us / 1e6
