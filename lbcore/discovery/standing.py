"""How a source is doing: what the status and the metrics show of it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


LATE_S = 30.0
"""A source that is well may be heard so much later than it is due: a busy machine, an engine that takes its time."""


class Standing:
    """Of one source. Its thread writes, any thread reads.

    kind: dns, srv, file, etcd, ... what: the name, file, prefix or service that it follows. due_s: while it
    is well, no more seconds pass between two answers.
    """

    def __init__(self, pool: str, kind: str, what: str, due_s: float) -> None:
        self.pool: str = pool
        self.kind: str = kind
        self.what: str = what
        self._due_s = due_s
        self.connected: bool = False
        self.contact_at: float | None = None
        self.revision: str | None = None
        self.entries: int = 0
        self.skipped: int = 0
        self.failures: int = 0
        self.fault: str | None = None
        self.kept: str = ""

    def heard(self, revision: str | None = None) -> None:
        """The engine spoke, and all is well. revision: what its answer is as of."""
        self.connected, self.fault, self.contact_at = True, None, time.time()
        if revision is not None:
            self.revision = revision

    def took(self, entries: int, skipped: int = 0, kept: str = "") -> None:
        """So many backends are named now, and so many entries could not be used. kept: why some of what was named before is in
        force instead of what is said now; "": nothing is."""
        self.entries, self.skipped, self.kept = entries, skipped, kept

    def failed(self, fault: str) -> None:
        """It gave no answer that can be used."""
        self.connected, self.fault = False, fault
        self.failures += 1

    def document(self) -> dict[str, Any]:
        """As the status has it. last_contact_s: seconds since the last good answer, None before the first. trouble: what is
        wrong, in a line; None while it is up. state: "up", "waiting" for its first answer, or "stale": what is in force is
        older than what the source would say now."""
        at = self.contact_at
        quiet_s = None if at is None else round(max(0.0, time.time() - at), 3)
        trouble = self._trouble(quiet_s)
        return {
            "kind": self.kind,
            "what": self.what,
            "state": "waiting" if quiet_s is None else "stale" if trouble else "up",
            "trouble": trouble,
            "connected": self.connected,
            "last_contact_s": quiet_s,
            "revision": self.revision,
            "entries": self.entries,
            "skipped": self.skipped,
            "failures": self.failures,
            "fault": self.fault,
        }

    def _trouble(self, quiet_s: float | None) -> str | None:
        fault = f": {self.fault}" if self.fault else ""
        if quiet_s is None:
            return f"no answer yet{fault}"
        if not self.connected or quiet_s > self._due_s:
            backends = "its last backend stays" if self.entries == 1 else f"its last {self.entries} backends stay"
            return f"nothing heard for {_span(quiet_s)}, {backends} in force{fault}"
        return self.kept or None


def _span(seconds: float) -> str:
    """A time that has passed, as somebody would say it."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
