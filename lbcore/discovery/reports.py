"""What backends say of themselves, and what it is worth: a lease's end, a weight, a load that ages."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.discovery.agenda import Agenda
    from lbcore.discovery.standing import Member
    from lbcore.settings import PoolSettings
    from lbcore.table import Row, Table

LATE_S = 1.0
"""So much later than it should a heartbeat may come at least before its load is taken for old: hosts are busy."""

Report = namedtuple(
    "Report",
    "status weight capacity load for_s in_flight seq backup",
    defaults=[None, None, None, None, None, None, None, None],
    module=__name__,
)
Report.__doc__ = """What a backend says of itself; None: nothing.

status: ready, alive, starting, busy or draining. weight: 0..256. capacity: becomes the weight where none is given.
load: 0..1. for_s: how long it stays busy, seconds. in_flight: requests that it has under way, from wherever they came.
seq: grows with each report; one that is not newer than the last changes nothing.
backup: it takes sessions only while no other can.
"""


def weight_of(report: Report) -> int | None:
    """The weight that a backend asks for, 0..256; None: none."""
    if report.weight is not None:
        return int(report.weight)
    return None if report.capacity is None else max(1, min(256, round(report.capacity)))


class Reports:
    """Takes them in. pools: settings by name; membership's own. weigh: gives a row a weight. Membership's lock guards it."""

    def __init__(
        self, table: Table, pools: dict[str, PoolSettings], agenda: Agenda, weigh: Callable[[Row, int, float], None]
    ) -> None:
        self._weigh = weigh
        self._table = table
        self._pools = pools
        self._agenda = agenda

    def take(self, member: Member, report: Report, now: float) -> bool:
        """Note what a backend says. A report is a full state: what it leaves out is ordinary. False: it is old news."""
        if report.seq is not None:
            if report.seq <= member.seq:
                return False  # late, or said before
            member.seq = report.seq
        self._note_status(member, report, now)
        weight = weight_of(report)
        if weight is not None and member.evidence.leased:
            self._weigh(member.row, weight, now)
        if report.capacity is not None:
            self._table.set_capacity(member.row, report.capacity)
        member.load, member.heard_at, member.elsewhere = report.load, now, 0.0
        if report.in_flight is not None:
            member.elsewhere = float(max(0, report.in_flight - self._table.in_flight(member.row)))
        self.age_load(member, now)
        return True

    def _note_status(self, member: Member, report: Report, now: float) -> None:
        evidence, lease = member.evidence, self._pools[member.row.pool].lease
        evidence.probation = False
        evidence.declared = "ready" if report.status in (None, "alive") else report.status
        if evidence.leased:
            evidence.lease_until = now + lease.length_ms / 1000
            self._agenda.plan(evidence.lease_until, member.row.id)
        if evidence.declared == "busy":
            busy_s = lease.length_ms / 1000 if report.for_s is None else report.for_s
            evidence.busy_until = now + busy_s

    def age_load(self, member: Member, now: float) -> None:
        """A report of load counts whole for a heartbeat's time, half for another, then not at all: silence is not idleness."""
        if member.load is None and not member.elsewhere:
            self._table.set_load(member.row, None)
            return
        beat_s = self._pools[member.row.pool].lease.heartbeat_ms / 1000
        step_s = beat_s + max(LATE_S, 0.2 * beat_s)
        ages = int((now - member.heard_at) / step_s + 1e-9)
        if ages >= 2:
            member.load, member.elsewhere = None, 0.0
        factor = 0.5 if ages else 1.0
        self._table.set_load(member.row, None if member.load is None else member.load * factor, member.elsewhere * factor)
        if ages < 2:
            self._agenda.plan(member.heard_at + (ages + 1) * step_s, member.row.id)
