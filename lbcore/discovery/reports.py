"""What backends say of themselves, and what it is worth: a lease's end, a weight, a load that ages."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.discovery.member import Instance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings import PoolSettings
    from lbcore.discovery.deadlines import Deadlines
    from lbcore.discovery.member import Member
    from lbcore.table import Row, Table

LATE_S = 1.0
"""So much later than it should a heartbeat may come at least before its load is taken for old: hosts are busy."""


class Report(NamedTuple):
    """What a backend says of itself; None: nothing.

    status: ready, alive, starting, busy or draining. weight: 0..256. capacity: becomes the weight where none is given.
    load: 0..1. for_s: how long it stays busy, seconds. in_flight: requests that it has under way, from wherever they came.
    seq: grows with each report of an instance; one that is not newer than the last changes nothing. backup: it takes sessions
    only while no other can. instance: which of several processes that serve one address; "" or None: the only one.
    """

    status: str | None = None
    weight: int | None = None
    capacity: float | None = None
    load: float | None = None
    for_s: float | None = None
    in_flight: int | None = None
    seq: int | None = None
    backup: bool | None = None
    instance: str | None = None


def weight_of(report: Report) -> int | None:
    """The weight that a backend asks for, 0..256; None: none."""
    if report.weight is not None:
        return int(report.weight)
    return None if report.capacity is None else max(1, min(256, round(report.capacity)))


MOST_INSTANCES = 255
"""Processes that may share an address: of more, the one that was silent for longest is forgotten."""

_UNHEARD = "?"
"""Begins the ids of processes that another control plane knew. No process may choose such an id."""

_BEST_FIRST = ("ready", "busy", "starting", "draining")


def _forget_unheard(member: Member) -> bool:
    """A process was heard that may be one of those of which only the number is known: is there any?"""
    unheard = next((id for id in member.instances if id.startswith(_UNHEARD)), None)
    if unheard is None:
        return False
    del member.instances[unheard]
    return True


class Reports:
    """Takes them in. pools: settings by name; membership's own. weigh: gives a row a weight. Membership's lock guards it."""

    def __init__(
        self, table: Table, pools: dict[str, PoolSettings], deadlines: Deadlines, weigh: Callable[[Row, int, float], None]
    ) -> None:
        self._weigh = weigh
        self._table = table
        self._pools = pools
        self._deadlines = deadlines

    def take(self, member: Member, report: Report, now: float, *, joins: bool = False) -> bool:
        """Note what a backend says. A report is a full state: what it leaves out is ordinary. False: it is old news.

        joins: it registers; what it said before does not matter.
        """
        length_s = self._pools[member.row.pool].lease.length_ms / 1000
        instance = self._instance(member, report.instance or "", now + length_s, joins=joins)
        if joins:
            instance.seq = -1
        if report.seq is not None:
            if report.seq <= instance.seq:
                return False  # late, or said before
            instance.seq = report.seq
        instance.until = now + length_s
        instance.declared = "ready" if report.status in (None, "alive") else report.status
        if instance.declared == "busy":
            instance.busy_until = now + (length_s if report.for_s is None else report.for_s)
        instance.load, instance.in_flight = report.load, report.in_flight
        weight = weight_of(report)
        if weight is not None and member.evidence.leased:
            self._weigh(member.row, weight, now)
        if report.capacity is not None:
            self._table.set_capacity(member.row, report.capacity)
        member.evidence.probation = False
        self._sum_up(member, now)
        return True

    def restore(self, member: Member, ids: Iterable[str], until: float) -> None:
        """Processes that are known from before: they have so long to be heard."""
        member.instances = {id: Instance(until) for id in ids}
        for instance in member.instances.values():
            instance.declared, instance.busy_until = member.evidence.declared, member.evidence.busy_until
        self._table.set_instances(member.row, len(member.instances))

    def recall(self, member: Member, now: float) -> None:
        """Another control plane has left this backend. It knew which processes registered it; here only their number is known.
        Each that is heard, or says goodbye, is one of them."""
        until = now + self._pools[member.row.pool].lease.length_ms / 1000
        self.restore(member, [f"{_UNHEARD}{number}" for number in range(member.row.instances)], until)

    def _instance(self, member: Member, id: str, until: float, *, joins: bool) -> Instance:
        known = member.instances.get(id)
        if known is None:
            if not joins:
                _forget_unheard(member)
            if len(member.instances) >= MOST_INSTANCES:
                del member.instances[min(member.instances, key=lambda id: member.instances[id].until)]
            known = member.instances[id] = Instance(until)
        return known

    def leave(self, member: Member, id: str, now: float) -> int:
        """One of several says goodbye, or was never heard: how many stay."""
        known = member.instances.pop(id, None) is not None or _forget_unheard(member)
        if known and member.instances:
            self._sum_up(member, now)
        self._table.set_instances(member.row, len(member.instances))
        return len(member.instances)

    def forget_silent(self, member: Member, now: float) -> bool:
        """Instances whose own leases are over, while others beat, count no more: were there any?"""
        silent = [id for id, instance in member.instances.items() if now >= instance.until]
        if not silent or len(silent) == len(member.instances):
            return False
        for id in silent:
            del member.instances[id]
        self._sum_up(member, now)
        return True

    def _sum_up(self, member: Member, now: float) -> None:
        """What the instances of an address say together: it is as ready as the readiest, and has what all have under way."""
        evidence, all = member.evidence, list(member.instances.values())
        self._table.set_instances(member.row, len(all))
        evidence.declared = min((instance.declared for instance in all), key=_BEST_FIRST.index)
        evidence.busy_until = min((one.busy_until for one in all if one.declared == evidence.declared), default=0.0)
        if evidence.leased:
            evidence.lease_until = max(instance.until for instance in all)
            self._deadlines.plan(min(instance.until for instance in all), member.row.id)
        loads = [instance.load for instance in all if instance.load is not None]
        under_way = [instance.in_flight for instance in all if instance.in_flight is not None]
        member.load, member.heard_at, member.elsewhere = min(1.0, sum(loads)) if loads else None, now, 0.0
        if under_way:
            member.elsewhere = float(max(0, sum(under_way) - self._table.in_flight(member.row)))
        self.age_load(member, now)

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
            self._deadlines.plan(member.heard_at + (ages + 1) * step_s, member.row.id)
