"""What is known of a backend, beside its row."""

from __future__ import annotations

from lbcore.discovery.evidence import Evidence, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.table import Row


class Instance:
    """One of the processes that serve an address: what it said last, until its own lease ends."""

    __slots__ = ("busy_until", "declared", "in_flight", "load", "seq", "until")

    def __init__(self, until: float) -> None:
        self.seq: int = -1
        self.until: float = until
        self.declared: str = "ready"
        self.busy_until: float = 0.0
        self.load: float | None = None
        self.in_flight: int | None = None


class Member:
    """A backend's evidence beside its row.

    claims: the sources that name it; it goes when none does any more. load, elsewhere, heard_at: its last report of load.
    relayed: another node heard that report. stale_s: it was read in its metrics, and counts for so long; 0: it was not.
    good, bad: its requests when the pool was last compared. ramp_until: end of slow start, 0: none. instances: the processes
    that registered this address, by their ids. shared: what other nodes were last told of its lease; None: it is not heard
    here.
    """

    __slots__ = (
        "bad",
        "claims",
        "elsewhere",
        "evidence",
        "good",
        "heard_at",
        "instances",
        "load",
        "ramp_until",
        "relayed",
        "row",
        "shared",
        "stale_s",
        "verdict",
    )

    def __init__(self, row: Row, evidence: Evidence) -> None:
        self.row: Row = row
        self.evidence: Evidence = evidence
        self.verdict: Verdict = Verdict(row.state, row.reason)
        self.claims: set[str] = {row.source}
        self.load: float | None = None
        self.elsewhere: float = 0.0
        self.heard_at: float = 0.0
        self.relayed: bool = False
        self.stale_s: float = 0.0
        self.good: int = 0
        self.bad: int = 0
        self.ramp_until: float = 0.0
        self.instances: dict[str, Instance] = {}
        self.shared: tuple[object, ...] | None = None
