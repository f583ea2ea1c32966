"""Processes that pick without the proxy: one that dies cannot give back what it held."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.table import Table

EVERY_S = 1.0


class Pickers:
    """Looked after each second. due_at: the next time (monotonic seconds)."""

    def __init__(self, table: Table, log: Callable[[str], None]) -> None:
        self._table = table
        self._log = log
        self.due_at: float = 0.0

    def bury(self, now: float) -> None:
        """Free the sections of those that are gone, if it is time to look."""
        if now < self.due_at:
            return
        for section, pid in self._table.sections.pickers().items():
            if not _lives(pid):
                self._log(f"process {pid}, which picked without the proxy, has ended: its picks are released")
                self._table.sections.bury_picker(section)
        self.due_at = now + EVERY_S


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
