"""Leases: backends register, send heartbeats, say goodbye; what each said of itself lasts as long as its lease."""

from __future__ import annotations

from lbcore.discovery import evidence as rules_of
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.member import Instance
from lbcore.discovery.reports import MOST_INSTANCES, weight_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.discovery.member import Member
    from lbcore.discovery.members import Members
    from lbcore.discovery.reports import Report
    from lbcore.table import Row

LATE_S = 1.0
"""So much later than it should a heartbeat may come at least before its load is taken for old: hosts are busy."""

STALL_S = 1.0
"""A tick that comes later than asked by more than this was held up with the whole process: leases are not to blame."""

RELAYED_S = 20.0
"""A load that another node heard counts whole for so long at least, half for as long again: it is not told again every time."""
FRESHER_S = 1.0
"""A report that another node heard counts when it is so much younger than what was heard here: it was under way for a while."""

CLUSTER = "cluster"
"""The claim of a registration that other nodes may vouch for."""

_UNHEARD = "?"
"""Begins the ids of processes that another control plane knew. No process may choose such an id."""

_BEST_FIRST = ("ready", "busy", "starting", "draining")


class Leases:
    """Of all members. Their lock guards it."""

    def __init__(self, members: Members) -> None:
        self._all = members

    # --- what backends call --------------------------------------------------------------------------------------

    def register(self, pool: str, address: str, report: Report) -> tuple[Row, bool]:
        """Begin or renew a lease: the row, and whether it is new. Raises KeyError or ValueError."""
        with self._all.lock:
            row = self._all.find(pool, address)
            new = row is None
            if row is None:
                tier = int(bool(report.backup))
                row = self._all.enter(pool, address, weight_of(report) or 1, "lease", Evidence(leased=True), tier=tier)
            self._all.count("registrations")
            self._hear(row, report, joins=True)
        if new:
            self._all.on_new(row)
        return row, new

    def heartbeat(self, pool: str, address: str, report: Report) -> Row | None:
        """Renew a lease; None when there is none: the backend should register again. Raises KeyError or ValueError."""
        with self._all.lock:
            row = self._all.find(pool, address)
            if row is not None:
                self._all.count("heartbeats")
                self._hear(row, report)
            return row

    def deregister(self, pool: str, address: str, instance: str = "") -> Row | None:
        """A backend says goodbye: it drains, then goes; of several instances at one address with the last of them. None when it
        was not there. Raises KeyError or ValueError."""
        with self._all.lock:
            row = self._all.find(pool, address)
            if row is not None:
                member = self._all.by_id[row.id]
                if instance and self._leave(member, instance, self._all.clock()):
                    self._all.states.review(member, self._all.clock())
                    self._all.on_change()
                else:
                    self._all.remove(row, reason="deregistered")
                    if member.evidence.leased:
                        self._all.on_lease(pool, row.address, "deregistered")
            return row

    def instances(self, row: Row) -> int:
        """How many processes send heartbeats for it."""
        with self._all.lock:
            member = self._all.by_id.get(row.id)
            return len(member.instances) if member else 0

    def _hear(self, row: Row, report: Report, *, joins: bool = False) -> None:
        member, now = self._all.by_id[row.id], self._all.clock()
        known = (report.instance or "") in member.instances
        taken = self._take(member, report, now, joins=joins)
        if not known:
            self._all.on_change()
        if taken:
            if report.backup is not None and member.evidence.leased:
                self._all.states.rank(row, int(report.backup), now)
            self._all.states.review(member, now)
            if member.evidence.leased:
                self._share(member)

    def _share(self, member: Member) -> None:
        """Have other nodes hear of what is new: that it is heard here, and whatever changed since. That it stays busy is told
        twice in the length of a lease."""
        evidence, row = member.evidence, member.row
        until = 0.0
        if evidence.declared == "busy":
            half_s = self._all.pools_by_name[row.pool].lease.length_ms / 2000
            until = evidence.busy_until // half_s
        told = (evidence.declared, until, row.weight, row.tier, row.capacity)
        if told != member.shared:
            member.shared = told
            self._all.on_lease(row.pool, row.address, "")

    # --- reports -------------------------------------------------------------------------------------------------

    def _take(self, member: Member, report: Report, now: float, *, joins: bool = False) -> bool:
        """Note what a backend says. A report is a full state: what it leaves out is ordinary. False: it is old news.

        joins: it registers; what it said before does not matter.
        """
        length_s = self._all.pools_by_name[member.row.pool].lease.length_ms / 1000
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
            self._all.states.weigh(member.row, weight, now)
        if report.capacity is not None:
            self._all.table.set_capacity(member.row, report.capacity)
        member.evidence.probation = False
        self._sum_up(member, now)
        return True

    def _instance(self, member: Member, id: str, until: float, *, joins: bool) -> Instance:
        known = member.instances.get(id)
        if known is None:
            if not joins:
                _forget_unheard(member)
            if len(member.instances) >= MOST_INSTANCES:
                del member.instances[min(member.instances, key=lambda id: member.instances[id].until)]
            known = member.instances[id] = Instance(until)
        return known

    def _leave(self, member: Member, id: str, now: float) -> int:
        """One of several says goodbye, or was never heard: how many stay."""
        known = member.instances.pop(id, None) is not None or _forget_unheard(member)
        if known and member.instances:
            self._sum_up(member, now)
        self._all.table.set_instances(member.row, len(member.instances))
        return len(member.instances)

    def _sum_up(self, member: Member, now: float) -> None:
        """What the instances of an address say together: it is as ready as the readiest, and has what all have under way."""
        evidence, all = member.evidence, list(member.instances.values())
        self._all.table.set_instances(member.row, len(all))
        evidence.declared = min((instance.declared for instance in all), key=_BEST_FIRST.index)
        evidence.busy_until = min((one.busy_until for one in all if one.declared == evidence.declared), default=0.0)
        if evidence.leased:
            evidence.lease_until = max(instance.until for instance in all)
            self._all.deadlines.plan(min(instance.until for instance in all), member.row.id)
        loads = [instance.load for instance in all if instance.load is not None]
        under_way = [instance.in_flight for instance in all if instance.in_flight is not None]
        self._set_load(member, min(1.0, sum(loads)) if loads else None, sum(under_way) if under_way else None, now)
        self._all.on_report(member.row.pool, member.row.address, member.load, sum(under_way) if under_way else None)
        self._age_load(member, now)

    def _set_load(self, member: Member, load: float | None, in_flight: int | None, at: float) -> None:
        member.load, member.heard_at, member.elsewhere, member.relayed, member.stale_s = load, at, 0.0, False, 0.0
        if in_flight is not None:
            member.elsewhere = float(max(0, in_flight - self._all.table.in_flight(member.row)))

    def heed(self, member: Member, load: float | None, in_flight: int | None, at: float) -> bool:
        """What a backend has reported to another node, at a time of our clock. False: this node has heard it since."""
        if at < member.heard_at + (-FRESHER_S if member.relayed else FRESHER_S):
            return False
        self._set_load(member, load, in_flight, at)
        member.relayed = True
        self._age_load(member, self._all.clock())
        return True

    def measured(self, member: Member, load: float | None, in_flight: int | None, stale_s: float) -> None:
        """What a backend's metrics say now. A later report, or a later read, takes its place."""
        now = self._all.clock()
        self._set_load(member, load, in_flight, now)
        member.stale_s = stale_s
        self._age_load(member, now)

    def _age_load(self, member: Member, now: float) -> None:
        """A report of load counts whole for a heartbeat's time, half for another, then not at all: silence is not idleness.
        What was read in metrics counts whole until it is stale."""
        if member.load is None and not member.elsewhere:
            self._all.table.set_load(member.row, None)
            return
        beat_s = self._all.pools_by_name[member.row.pool].lease.heartbeat_ms / 1000
        step_s = max(beat_s + max(LATE_S, 0.2 * beat_s), RELAYED_S if member.relayed else 0.0)
        most = 2
        if member.stale_s:
            step_s, most = member.stale_s, 1
        ages = int((now - member.heard_at) / step_s + 1e-9)
        if ages >= most:
            member.load, member.elsewhere = None, 0.0
        factor = 0.5 if ages else 1.0
        self._all.table.set_load(member.row, None if member.load is None else member.load * factor, member.elsewhere * factor)
        if ages < most:
            self._all.deadlines.plan(member.heard_at + (ages + 1) * step_s, member.row.id)

    # --- time ----------------------------------------------------------------------------------------------------

    def see_to(self, member: Member, now: float) -> bool:
        """What time alone changes of a lease and its reports. False: the lease is over, and the backend left with it."""
        row, evidence = member.row, member.evidence
        if rules_of.lease_is_over(evidence, now) and CLUSTER in member.claims:
            self._fall_silent(member)
        if rules_of.lease_is_over(evidence, now):
            reason = rules_of.judge(evidence, self._all.pools_by_name[row.pool], now).reason
            self._all.log(f"pool {row.pool}: {row.address} leaves: {reason}")
            evidence.lease_until, evidence.leased = None, False
            self._all.unclaim(member, "lease", reason)
            return False
        if evidence.lease_until is not None:
            self._forget_silent(member, now)
            until = min((one.until for one in member.instances.values()), default=evidence.lease_until)
            self._all.deadlines.plan(until, row.id)
        if member.load is not None or member.elsewhere:
            self._age_load(member, now)
        return True

    def _fall_silent(self, member: Member) -> None:
        """It is not heard here any more; another node may hear it, and the cluster says when it has left."""
        member.evidence.lease_until, member.shared = None, None
        member.instances.clear()
        self._all.table.set_instances(member.row, 0)
        self._all.on_lease(member.row.pool, member.row.address, "")

    def _forget_silent(self, member: Member, now: float) -> bool:
        """Instances whose own leases are over, while others beat, count no more: were there any?"""
        silent = [id for id, instance in member.instances.items() if now >= instance.until]
        if not silent or len(silent) == len(member.instances):
            return False
        for id in silent:
            del member.instances[id]
        self._sum_up(member, now)
        return True

    def forgive_stall(self, now: float) -> None:
        """When the process itself was held up, heartbeats could not be heard: every lease gets the time for one more."""
        wanted = self._all.deadlines.wanted
        if wanted is None or now <= wanted + STALL_S:
            return
        self._all.log(f"the control plane was held up for {now - wanted:.1f} s: leases are extended")
        for member in self._all.by_id.values():
            evidence, lease = member.evidence, self._all.pools_by_name[member.row.pool].lease
            soonest = now + 1.5 * lease.heartbeat_ms / 1000
            if evidence.lease_until is not None:
                evidence.lease_until = max(evidence.lease_until, soonest)
                for instance in member.instances.values():
                    instance.until = max(instance.until, soonest)

    # --- what outlives a restart ---------------------------------------------------------------------------------

    def restore(self, member: Member, ids: Iterable[str]) -> None:
        """A lease that is known from before, and the processes that had it: they have a full time to be heard."""
        until = self._all.clock() + self._all.pools_by_name[member.row.pool].lease.length_ms / 1000
        member.evidence.lease_until = until
        self._know(member, ids, until)
        self._all.deadlines.plan(until, member.row.id)

    def recall(self, member: Member, now: float) -> None:
        """Another control plane has left this backend. It knew which processes registered it; here only their number is known.
        Each that is heard, or says goodbye, is one of them."""
        row = member.row
        until = now + self._all.pools_by_name[row.pool].lease.length_ms / 1000
        if member.evidence.leased:
            member.evidence.lease_until = until
            self._all.deadlines.plan(until, row.id)
        member.load, member.elsewhere, member.heard_at = row.load, row.elsewhere, now
        self._know(member, [f"{_UNHEARD}{number}" for number in range(row.instances)], until)

    def _know(self, member: Member, ids: Iterable[str], until: float) -> None:
        member.instances = {id: Instance(until) for id in ids}
        for instance in member.instances.values():
            instance.declared, instance.busy_until = member.evidence.declared, member.evidence.busy_until
        self._all.table.set_instances(member.row, len(member.instances))


def _forget_unheard(member: Member) -> bool:
    """A process was heard that may be one of those of which only the number is known: is there any?"""
    unheard = next((id for id in member.instances if id.startswith(_UNHEARD)), None)
    if unheard is None:
        return False
    del member.instances[unheard]
    return True
