"""The sections of a table's workers, and of processes that pick without the proxy."""

from __future__ import annotations

from lbcore.engine.codes import DRAINING, SERVING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.engine.segment import Segment


class Sections:
    """writer: the engine's. lock: the table's."""

    def __init__(self, writer: Any, segment: Segment, lock: Any) -> None:
        self._writer, self._segment, self._lock = writer, segment, lock

    def use(self, section: int) -> None:
        """A worker that this section is for is about to begin: what it counts is summed with the others'."""
        with self._lock:
            if section >= self._segment.head.sections:
                self._writer.sections(section + 1)

    def holder(self, section: int) -> int | None:
        """The process that a worker's section belongs to, also when it drains; None: nobody."""
        row = self._segment.worker(section)
        return int(row.pid) if row.state in (SERVING, DRAINING) else None

    def bury(self, worker: int) -> None:
        """Settle the figures of a worker that is gone: its sessions count as lost."""
        with self._lock:
            self._writer.bury(worker)

    def set_hanging(self, section: int, hangs: bool) -> None:
        """Say in the segment that a worker does not turn although asked to, or does again."""
        with self._lock:
            self._writer.hanging(section, hangs)

    def pickers(self) -> dict[int, int]:
        """Process ids of those who pick without the proxy, by section."""
        with self._lock:
            head = self._segment.head
            pids = {section: self._segment.worker(section).pid for section in range(head.workers, self._segment.sections)}
            return {section: pid for section, pid in pids.items() if pid}

    def bury_picker(self, section: int) -> None:
        """Free the section of a picking process that is gone."""
        with self._lock:
            self._writer.bury_picker(section)
