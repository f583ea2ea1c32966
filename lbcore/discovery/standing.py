"""How a source is doing: what the status and the metrics show of it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Standing:
    """Of one source. Its thread writes, any thread reads.

    kind: dns, srv, file, etcd, ... what: the name, file, prefix or service that it follows.
    """

    def __init__(self, pool: str, kind: str, what: str) -> None:
        self.pool: str = pool
        self.kind: str = kind
        self.what: str = what
        self.connected: bool = False
        self.contact_at: float | None = None
        self.revision: str | None = None
        self.entries: int = 0
        self.skipped: int = 0
        self.failures: int = 0
        self.fault: str | None = None

    def heard(self, revision: str | None = None) -> None:
        """The engine spoke, and all is well. revision: what its answer is as of."""
        self.connected, self.fault, self.contact_at = True, None, time.time()
        if revision is not None:
            self.revision = revision

    def took(self, entries: int, skipped: int = 0) -> None:
        """So many backends are named now, and so many entries could not be used."""
        self.entries, self.skipped = entries, skipped

    def failed(self, fault: str) -> None:
        """It gave no answer that can be used."""
        self.connected, self.fault = False, fault
        self.failures += 1

    def document(self) -> dict[str, Any]:
        """As the status has it. last_contact_s: seconds since the last good answer, None before the first."""
        at = self.contact_at
        return {
            "kind": self.kind,
            "what": self.what,
            "connected": self.connected,
            "last_contact_s": None if at is None else round(max(0.0, time.time() - at), 3),
            "revision": self.revision,
            "entries": self.entries,
            "skipped": self.skipped,
            "failures": self.failures,
            "fault": self.fault,
        }
