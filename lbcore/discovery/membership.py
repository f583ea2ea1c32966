"""Membership: the one place that decides who can serve.

Users, the admin server, the prober and the supervisor all come here; evidence is judged by the pure rules of `evidence`,
and the verdicts are written to the table. Thread-safe. Work per call does not grow with the pool, except when its last good
backend fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from lbcore import locks
from lbcore.config.settings import join_host_port, loops, parse_address
from lbcore.discovery import evidence as rules_of
from lbcore.discovery import outliers, panic, saved
from lbcore.discovery.deadlines import Deadlines
from lbcore.discovery.drains import Drains
from lbcore.discovery.evidence import Evidence, Suspicion, Verdict
from lbcore.discovery.found import Found
from lbcore.discovery.health_state import HealthStates
from lbcore.discovery.member import Member
from lbcore.discovery.pickers import Pickers
from lbcore.discovery.pool_health import PoolHealth
from lbcore.discovery.reports import Report, Reports, weight_of
from lbcore.discovery.shortages import Shortages
from lbcore.discovery.targets import Named, Target
from lbcore.engine import notes
from lbcore.engine.codes import DEAD, NO_ROW, PROVEN
from lbcore.table import UNRESOLVED, is_literal, resolve_all
from lbcore.topic import Topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from lbcore.config.settings import PoolSettings, ProbeSettings
    from lbcore.table import Resolved, Row, Table

    LookedUp = dict[tuple[str, int], Resolved | ValueError]

STALL_S = 1.0
"""A tick that comes later than asked by more than this was held up with the whole process: leases are not to blame."""

TICK_S = 0.01
"""Ends of leases, ramps and the like are seen to at most so often."""

_TLS_WORDS = {errno.EKEYREJECTED: "its certificate is not accepted", errno.EPROTO: "its TLS handshake failed"}
"""What the engine means by these (csrc/l4/secure.h)."""

REMOVED = "removed"
"""Why a backend leaves that an operator has removed."""


class Membership:
    """The backends of all pools with what is known of each.

    drain_ms: how long sessions of a removed backend may go on. leads_back: the listener of ours that an address is from which a
    pool's sessions would come back to it; "": none. clock: monotonic seconds.

    To subscribe to: sooner: a deadline was set that is earlier than what the last tick asked for. on_new, on_suspect: a backend
    is to be probed now. on_name: there may be a name to follow. on_change: there is something to save.
    """

    def __init__(
        self,
        table: Table,
        pools: dict[str, PoolSettings],
        *,
        drain_ms: int,
        log: Callable[[str], None],
        leads_back: Callable[[str, str, int], str] = lambda pool, ip, port: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._pools = dict(pools)
        self._drain_ms = drain_ms
        self._log = log
        self._clock = clock
        self._lock = locks.rlock("membership")
        self._members: dict[str, Member] = {}  # by row id
        self._drains = Drains()
        self._health: dict[str, PoolHealth] = {name: PoolHealth() for name in pools}
        self._leads_back = leads_back
        self.sooner: Topic[[]] = Topic()
        self.on_new: Topic[[Row]] = Topic()
        self.on_suspect: Topic[[Row]] = Topic()
        self.on_name: Topic[[]] = Topic()
        self.on_change: Topic[[]] = Topic()
        self._deadlines = Deadlines(self.sooner)
        table.views.on_put_off.subscribe(self._deadlines.wake_by)
        self._pickers = Pickers(table, log)
        self._states = HealthStates(table, self._pools, self._health, self._deadlines, on_change=self.on_change, log=log)
        self._reports = Reports(table, self._pools, self._deadlines, self._states.weigh)
        self.count: Callable[[str], None] = table.counts.add
        self.shortages = Shortages(log, self.count, clock)

    def disown(self) -> None:
        """In a forked child: whoever held the lock is not here. The table takes no change any more."""
        self._lock = locks.rlock("membership")

    # --- asking --------------------------------------------------------------------------------------------------

    def rules(self, pool: str) -> PoolSettings:
        """A pool's settings. Raises KeyError."""
        with self._lock:
            return self._pools[pool]

    def pools(self) -> list[str]:
        """The names of all pools."""
        with self._lock:
            return list(self._pools)

    def find(self, pool: str, address: str) -> Row | None:
        """The backend of that address, unless it is leaving. Raises KeyError when there is no such pool."""
        self.rules(pool)
        return self._table.find(pool, normal(address))

    def on_host(self, pool: str, ip: str) -> list[Row]:
        """The backends of a pool on one host. Looks at the whole pool. Raises KeyError."""
        self.rules(pool)
        return [row for row in self._table.rows(pool) if row.ip == ip and not row.leaving]

    def targets(self) -> list[Target]:
        """What is to be probed, and how."""
        with self._lock:
            return [
                Target(member.row, self._pools[member.row.pool].probe)
                for member in self._members.values()
                if self._pools[member.row.pool].probe.kind != "off" and _is_probed(member.evidence)
            ]

    def target(self, row: Row) -> ProbeSettings | None:
        """How a backend is to be probed now; None: not at all."""
        with self._lock:
            member = self._members.get(row.id)
            if member is None or not _is_probed(member.evidence):
                return None
            probe = self._pools[row.pool].probe
            return None if probe.kind == "off" else probe

    def usable(self) -> bool:
        """Has some pool a backend that is up by its own evidence, and has a weight?"""
        with self._lock:
            return not all(health.outage for health in self._health.values())

    def outages(self) -> list[str]:
        """The pools without such a backend."""
        with self._lock:
            return [name for name, health in self._health.items() if health.outage]

    # --- operators -----------------------------------------------------------------------------------------------

    def add(
        self, pool: str, address: str, weight: int = 1, source: str = "api", *, tier: int = 0, unresolved: bool = False
    ) -> Row:
        """Add a backend. unresolved: one whose name has no address is down until it has. Raises KeyError (no such pool) or
        ValueError (bad, unknown or doubled address, table full)."""
        self.rules(pool)
        key = parse_address(address)
        resolved = resolve_all([key])[key]
        if isinstance(resolved, ValueError) and not unresolved:
            raise resolved
        return self._enter(pool, address, weight, source, Evidence(), resolved, tier=tier)

    def remove(self, row: Row, drain_ms: int | None = None, reason: str = REMOVED) -> None:
        """Let a backend leave: no new sessions; old ones are cut after drain_ms (default: the drain time)."""
        with self._lock:
            member = self._members.pop(row.id, None)
            if member is None:
                return
            self._deadlines.forget(row.id)
            self._health[row.pool].leave(row.id)
            if reason == REMOVED:
                self._drains.discard(row.pool, row.address)
            self._table.set_state(row, "draining", reason)
            self._table.remove(row, self._drain_ms if drain_ms is None else drain_ms)
            self._states.left(row.pool, self._clock())
        self.on_change()
        self._deadlines.wake_by(self._clock())

    def _unclaim(self, member: Member, source: str, reason: str) -> None:
        """A source names a backend no more: it leaves, unless another does."""
        member.claims.discard(source)
        if not member.claims:
            self.remove(member.row, reason=reason)

    def drain(self, row: Row) -> None:
        """No new sessions until `ready`, also when the backend leaves and comes back meanwhile."""
        self._drains.add(row.pool, row.address)
        self._change(row, lambda evidence: setattr(evidence, "drained", True))

    def ready(self, row: Row) -> None:
        """Undo `drain`."""
        self._drains.discard(row.pool, row.address)
        rules = self.rules(row.pool)
        self._change(row, lambda evidence: rules_of.note_ready(evidence, rules))
        self.on_new(row)  # it was not probed meanwhile

    def set_weight(self, row: Row, weight: int) -> None:
        """Give a backend another weight, 0..256. Raises ValueError."""
        if not 0 <= weight <= 256:
            raise ValueError(f"weight: {weight!r} is not allowed (allowed: a whole number from 0 to 256)")
        with self._lock:
            if row.id in self._members:
                self._states.weigh(row, weight, self._clock())

    def _change(self, row: Row, change: Callable[[Evidence], None]) -> None:
        with self._lock:
            member = self._members.get(row.id)
            if member is not None:
                change(member.evidence)
                self._states.review(member, self._clock())

    def _enter(
        self,
        pool: str,
        address: str,
        weight: int,
        source: str,
        evidence: Evidence,
        resolved: Resolved | ValueError | None = None,
        *,
        tier: int = 0,
    ) -> Row:
        key = parse_address(address)
        if resolved is None:
            resolved = resolve_all([key])[key]  # before the lock: a name may take seconds
        if isinstance(resolved, ValueError):
            evidence.unresolved, resolved = _unresolved(key[0], resolved), UNRESOLVED
            self._log(f"pool {pool}: {address}: {evidence.unresolved}")
        elif name := self._leads_back(pool, resolved.ip, key[1]):
            raise ValueError(loops.fault(address, name))
        with self._lock:
            evidence.drained = evidence.drained or (pool, normal(address)) in self._drains
            verdict = rules_of.judge(evidence, self.rules(pool), self._clock())
            row = self._table.add(
                pool,
                normal(address),
                weight=weight,
                tier=tier,
                source=source,
                state=verdict.state,
                reason=verdict.reason,
                resolved=resolved,
            )
            member = Member(row, evidence)
            self._members[row.id] = member
            self._states.entered(member, self._clock())
        if source != "lease":
            self.on_new(row)
        if not is_literal(row.host):
            self.on_name()
        self.on_change()
        return row

    # --- backends themselves -------------------------------------------------------------------------------------

    def register(self, pool: str, address: str, report: Report) -> tuple[Row, bool]:
        """Begin or renew a lease: the row, and whether it is new. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            new = row is None
            if row is None:
                tier = int(bool(report.backup))
                row = self._enter(pool, address, weight_of(report) or 1, "lease", Evidence(leased=True), tier=tier)
            self.count("registrations")
            self._hear(row, report, joins=True)
        if new:
            self.on_new(row)
        return row, new

    def heartbeat(self, pool: str, address: str, report: Report) -> Row | None:
        """Renew a lease; None when there is none: the backend should register again. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            if row is not None:
                self.count("heartbeats")
                self._hear(row, report)
            return row

    def deregister(self, pool: str, address: str, instance: str = "") -> Row | None:
        """A backend says goodbye: it drains, then goes; of several instances at one address with the last of them. None when it
        was not there. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            if row is not None:
                member = self._members[row.id]
                if instance and self._reports.leave(member, instance, self._clock()):
                    self._states.review(member, self._clock())
                    self.on_change()
                else:
                    self.remove(row, reason="deregistered")
            return row

    def instances(self, row: Row) -> int:
        """How many processes send heartbeats for it."""
        with self._lock:
            member = self._members.get(row.id)
            return len(member.instances) if member else 0

    def leaving(self, pool: str, address: str) -> Row | None:
        """The backend of that address that is on its way out and was there last. Raises KeyError or ValueError."""
        self.rules(pool)
        found = [row for row in self._table.rows(pool) if row.leaving and row.address == normal(address)]
        return max(found, key=lambda row: row.generation, default=None)

    def active(self, row: Row) -> int:
        """Sessions and exchanges that are under way on a backend."""
        return self._table.in_flight(row)

    def _hear(self, row: Row, report: Report, *, joins: bool = False) -> None:
        member, now = self._members[row.id], self._clock()
        known = (report.instance or "") in member.instances
        taken = self._reports.take(member, report, now, joins=joins)
        if not known:
            self.on_change()
        if taken:
            if report.backup is not None and member.evidence.leased:
                self._states.rank(row, int(report.backup), now)
            self._states.review(member, now)

    # --- evidence ------------------------------------------------------------------------------------------------

    def probe_result(self, row: Row, ok: bool, detail: str = "", began: float | None = None) -> None:
        """A probe ended. detail: what went wrong, in words. began: when it began, monotonic seconds; None: now."""
        with self._lock:
            member = self._members.get(row.id)
            if member is None:
                return
            now, rules = self._clock(), self._pools[row.pool]
            self.count("probes_good" if ok else "probes_bad")
            if ok:
                rules_of.note_good_probe(member.evidence, rules, now)
            else:
                late = detail.startswith("timed out")
                served_at = self._table.health(row).last_answer if late else 0.0
                rules_of.note_bad_probe(member.evidence, detail, rules, now, late=late, served_at=served_at)
            suspicion = rules_of.settle_suspicion(member.evidence, ok, now if began is None else began, rules, now)
            if suspicion and not ok:
                self._states.eject(member, f"{suspicion}; its probe failed, too: {detail}", now)
            elif suspicion and rules_of.is_told(member.evidence, now):
                self._log(f"pool {row.pool}: {row.address} stays, its {rules.probe.kind} probe succeeds: {suspicion}")
            self._states.review(member, now)

    def failing(self, index: int, what: int) -> None:
        """A worker reports that connects to the backend in this row, or its answers, fail one after another.

        what: CONNECTS or RESPONSES of lbcore.engine.notes.
        """
        with self._lock:
            row = self._table.by_index(index)
            member = self._members.get(row.id) if row else None
            if row is None or member is None:
                return
            now = self._clock()
            outcome = self._table.health(row)
            if what == notes.RESPONSES and outcome.failed_responses_in_row:
                detail = f"status {outcome.last_status}" if outcome.last_status else "none came, or it broke off"
                why = f"{rules_of.times(outcome.failed_responses_in_row, 'response')} failed in a row: {detail}"
                match rules_of.note_responses_failed(member.evidence, why, self._pools[row.pool], now):
                    case Suspicion.EJECT:
                        self._states.eject(member, why, now)
                    case Suspicion.PROBE:
                        self.on_suspect(row)
                    case Suspicion.NOTHING:
                        pass
            elif what != notes.RESPONSES and outcome.failures_in_row:
                detail = _TLS_WORDS.get(outcome.last_errno) or os.strerror(outcome.last_errno).lower()
                rules_of.note_connects_failed(member.evidence, outcome.failures_in_row, detail, self._pools[row.pool], now)
                self._states.review(member, now)

    def shortage(self, error: int, index: int) -> None:
        """A worker reports what this host lacked: for a connect to the backend in this row, or for an accept (NO_ROW)."""
        row = None if index == NO_ROW else self._table.by_index(index)
        self.shortages.tell(error, row.address if row else "a client")

    def compare(self, now: float) -> None:
        """Compare the backends of each pool whose time has come, by what was seen since the last time."""
        with self._lock:
            due = [name for name, health in self._health.items() if now >= health.compare_at]
            if due:
                totals = self._table.totals()
                for name in due:
                    self._compare_pool(name, totals, now)

    def _compare_pool(self, name: str, totals: Any, now: float) -> None:
        health, rules = self._health[name], self._pools[name].outlier
        health.compare_at = now + rules.interval_ms / 1000
        figures = {}
        for id, member in health.members.items():
            good, bad, latency_us, in_row = totals[member.row.index]
            figures[id] = outliers.Figures(good - member.good, bad - member.bad, latency_us)
            member.good, member.bad = good, bad
            if in_row and in_row >= self._pools[name].max_connect_failures > 0:
                # of those who pick without the proxy: nobody else reports for them
                self.failing(member.row.index, notes.CONNECTS)
        for id, why in outliers.worse(figures, rules).items():
            self._states.eject(health.members[id], f"ejected: {why}", now)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> float | None:
        """See to everything that is due: leases, busy times, retries, leaving rows. When to come again, or None."""
        with self._lock:
            self._forgive_stall(now)
            self.compare(now)
            self._states.end_doubts(now)
            self._states.tell_outages(now)
            self._pickers.bury(now)
            for row_id in self._deadlines.take(now):
                if row_id in self._members:
                    self._see_to(self._members[row_id], now)
            swept = self._table.sweep(now)
            first = self._deadlines.first
            times = [] if first is None else [max(first, now + TICK_S)]
            times += [health.compare_at for health in self._health.values() if len(health.members) > 1]
            times += [health.doubt_until for health in self._health.values() if health.doubting]
            times += [health.tell_at for health in self._health.values() if health.tell_at is not None]
            times.append(self._pickers.due_at)
            if swept is not None:
                times.append(swept)
            self._deadlines.wanted = min(times, default=None)
            return self._deadlines.wanted

    def _see_to(self, member: Member, now: float) -> None:
        row, evidence = member.row, member.evidence
        if rules_of.lease_is_over(evidence, now):
            reason = rules_of.judge(evidence, self._pools[row.pool], now).reason
            self._log(f"pool {row.pool}: {row.address} leaves: {reason}")
            evidence.lease_until, evidence.leased = None, False
            self._unclaim(member, "lease", reason)
            return
        if evidence.lease_until is not None:
            self._reports.forget_silent(member, now)
            self._deadlines.plan(min((one.until for one in member.instances.values()), default=evidence.lease_until), row.id)
        if member.load is not None or member.elsewhere:
            self._reports.age_load(member, now)
        self._states.see_to_ramp(member, now)
        rules_of.note_retry_due(evidence, self._pools[row.pool], now)
        self._states.review(member, now)

    def _forgive_stall(self, now: float) -> None:
        """When the process itself was held up, heartbeats could not be heard: every lease gets the time for one more."""
        wanted = self._deadlines.wanted
        if wanted is None or now <= wanted + STALL_S:
            return
        self._log(f"the control plane was held up for {now - wanted:.1f} s: leases are extended")
        for member in self._members.values():
            evidence, lease = member.evidence, self._pools[member.row.pool].lease
            soonest = now + 1.5 * lease.heartbeat_ms / 1000
            if evidence.lease_until is not None:
                evidence.lease_until = max(evidence.lease_until, soonest)
                for instance in member.instances.values():
                    instance.until = max(instance.until, soonest)

    # --- sources -------------------------------------------------------------------------------------------------

    def claimed(self, pool: str, claim: str) -> list[Found]:
        """What a source names of a pool, as of what it said last."""
        with self._lock:
            members = self._health[pool].members.values() if pool in self._health else ()
            rows = (member.row for member in members if claim in member.claims)
            return [Found(row.address, row.weight, row.tier) for row in rows]

    def follow_source(self, pool: str, claim: str, found: Iterable[tuple[str, int] | tuple[str, int, int]]) -> None:
        """The whole set of (address, weight, tier) that a source knows for a pool now: who is new comes, who is gone leaves,
        unless another source names it too. Without a tier it is 0. claim: the source, "KIND:WHAT"; KIND is shown. Raises
        KeyError (no such pool)."""
        self.rules(pool)
        source = claim.partition(":")[0]
        wanted = {normal(address): (weight, *(tier or (0,))) for address, weight, *tier in found}
        resolved = resolve_all(parse_address(address) for address in wanted if not self._table.find(pool, address))
        with self._lock, self._table.batch():
            health = self._health[pool]
            for member in list(health.members.values()):
                row = member.row
                if row.address not in wanted:
                    if claim in member.claims:
                        self._unclaim(member, claim, f"{source} names it no more")
                    continue
                weight, tier = wanted.pop(row.address)
                member.claims.add(claim)
                if row.source == source:
                    self._rate(row, weight, tier)
            for address, (weight, tier) in wanted.items():
                known = resolved.get(parse_address(address))
                try:
                    row = self._enter(pool, address, weight, source, Evidence(), known, tier=tier)
                    self._members[row.id].claims = {claim}
                except ValueError as error:
                    self._log(f"pool {pool}: {address}, which {source} names, is ignored: {error}")

    # --- names ---------------------------------------------------------------------------------------------------

    def named(self) -> list[Named]:
        """The backends whose host is a name."""
        with self._lock:
            rows = [member.row for member in self._members.values() if not is_literal(member.row.host)]
            return [Named(row.pool, row.address, row.host, row.port, row.ip, not row.unresolved) for row in rows]

    def move(self, pool: str, address: str, resolved: Resolved) -> None:
        """A backend's name means another address now: a new backend takes its place, of which nothing is known but what
        operators and sources said. Sessions of the old one may end as those of one that was removed."""
        with self._lock, self._table.batch():
            row = self._table.find(pool, address)
            member = self._members.get(row.id) if row else None
            if row is None or member is None or row.ip == resolved.ip or self._table.is_full:
                return
            if name := self._leads_back(pool, resolved.ip, row.port):
                self._log(f"pool {pool}: {loops.fault(address, name)}: it stays where it was")
                return
            self._log(f"pool {pool}: {address} is at {resolved.ip} now" + ("" if row.unresolved else f", no more at {row.ip}"))
            self.remove(row, 0 if row.unresolved else None, reason="its name has another address now")
            fresh = self._enter(pool, address, row.weight, row.source, Evidence(), resolved, tier=row.tier)
            self._members[fresh.id].claims = member.claims

    def _rate(self, row: Row, weight: int, tier: int) -> None:
        """What a source says of a backend's share."""
        now = self._clock()
        self._states.weigh(row, weight, now)
        self._states.rank(row, tier, now)

    # --- what outlives a restart ------------------------------------------------------------------------------------

    def snapshot(self) -> list[dict[str, Any]]:
        """Backends that came at run time, by registration or by an operator: what `restore` takes, JSON-ready."""
        with self._lock:
            kept = [member for member in self._members.values() if member.row.source in saved.SOURCES]
            known = {(member.row.pool, member.row.address) for member in kept}
            drains = [saved.drain_of(*mark) for mark in self._drains if mark not in known]
            return [*(saved.entry_of(member) for member in kept), *drains]

    def restore(self, entries: Iterable[dict[str, Any]]) -> int:
        """Take them in again, on probation: one bad probe, or a lease's time of silence, takes them out. How many came."""
        count = 0
        entries = list(entries)
        resolved = resolve_all(host for entry in entries if (host := saved.host_of(entry)))
        for entry in entries:
            try:
                kept = saved.read(entry)
                if kept.source == saved.DRAIN:
                    self._restore_drain(kept.pool, normal(kept.address))
                    continue
                if kept.drained:
                    self._drains.add(kept.pool, normal(kept.address))
                rules, evidence = self.rules(kept.pool), saved.evidence_of(kept)
                found = resolved.get(parse_address(kept.address))
                row = self._enter(kept.pool, kept.address, kept.weight, kept.source, evidence, found, tier=kept.tier)
            except (KeyError, ValueError, TypeError) as error:
                self._log(f"state: {entry!r:.200} is ignored: {error}")
                continue
            count += 1
            with self._lock:
                if kept.capacity is not None:
                    self._table.set_capacity(row, kept.capacity)
                if evidence.leased:
                    evidence.lease_until = until = self._clock() + rules.lease.length_ms / 1000
                    self._reports.restore(self._members[row.id], kept.instances, until)
                    self._deadlines.plan(until, row.id)
        return count

    def restore_drains(self, entries: Iterable[dict[str, Any]]) -> None:
        """Of backends that are not here now: those that are here say themselves whether they are drained."""
        for entry in entries:
            with contextlib.suppress(KeyError, ValueError, TypeError):
                kept = saved.read(entry)
                if kept.drained and self._table.find(kept.pool, normal(kept.address)) is None:
                    self._drains.add(kept.pool, normal(kept.address))

    def _restore_drain(self, pool: str, address: str) -> None:
        self._drains.add(pool, address)
        row = self._table.find(pool, address)
        if row is not None:
            self.drain(row)

    def recall(self, claims: Callable[[str, str], set[str]]) -> int:
        """Go on with the backends that the table holds already, left by a control plane that is gone: each keeps its row and
        state; leases get a full time to be renewed. claims: of a pool, who may name the backends of a kind of source there.
        How many there are."""
        with self._lock, self._table.batch():
            for row in self._table.rows():
                named = claims(row.pool, row.source) if row.pool in self._pools else set()
                if row.leaving:
                    continue
                if named:
                    self._recall_row(row, named)
                else:
                    self._table.remove(row, self._drain_ms)
            for pool in set(self._table.pools()) - set(self._pools):
                self._table.drop_pool(pool)
            for pool in set(self._table.pools()):
                self._states.adopt(pool, self._clock())
            return len(self._members)

    def _recall_row(self, row: Row, claims: set[str]) -> None:
        now = self._clock()
        verdict = Verdict("down", panic.unheld(row.reason)) if row.kept else Verdict(row.state, row.reason)
        evidence = rules_of.recalled(
            verdict,
            self._pools[row.pool],
            now,
            leased=row.source == "lease",
            dead=bool(row.known & DEAD),
            proven=bool(row.known & PROVEN),
        )
        if evidence.drained:
            self._drains.add(row.pool, row.address)
        if row.unresolved:
            evidence.dead, evidence.unresolved = False, row.reason
        member = Member(row, evidence)
        member.claims, member.verdict = claims, verdict
        self._members[row.id] = member
        self._states.recalled(member)
        if evidence.leased:
            evidence.lease_until = now + self._pools[row.pool].lease.length_ms / 1000
            self._deadlines.plan(evidence.lease_until, row.id)
        if verdict.state != "up":
            self._deadlines.plan(now, row.id)
        member.load, member.elsewhere, member.heard_at = row.load, row.elsewhere, now
        self._reports.recall(member, now)

    # --- reload --------------------------------------------------------------------------------------------------

    def apply(self, pools: dict[str, PoolSettings], drain_ms: int) -> None:
        """Follow new settings: `admit` whom they name, then `dismiss` the others, so that no request falls between.

        Backends that the configuration names are added, changed or removed; rows that stay keep their state, evidence and
        generation. Leases and backends added at run time stay as long as their pool does.
        """
        self.admit(pools, drain_ms)
        self.dismiss(pools)

    def look_up(self, pools: dict[str, PoolSettings], is_over: Callable[[], bool] = lambda: False) -> LookedUp:
        """The addresses of the hosts that these settings name, but for addresses that we have already: for `admit`, which waits
        for no name server. is_over: is nobody waiting any more?
        """
        named = ((name, backend.address) for name, pool in pools.items() for backend in pool.backends)
        wanted = ((pool, address, parse_address(address)) for pool, address in named)
        return resolve_all(
            (key for pool, address, key in wanted if not (is_literal(key[0]) and self._table.find(pool, address))), is_over
        )

    def admit(self, pools: dict[str, PoolSettings], drain_ms: int, resolved: LookedUp | None = None) -> None:
        """The first half of `apply`: new settings, new pools, new backends. resolved: what `look_up` found."""
        if resolved is None:
            resolved = self.look_up(pools)
        with self._lock, self._table.batch():
            self._drain_ms = drain_ms
            changed = [name for name, pool in pools.items() if self._pools.get(name) != pool]
            for name, pool in pools.items():
                self._table.set_pool(pool)
                self._pools[name] = pool
                self._table.set_outage(name, self._health.setdefault(name, PoolHealth()).outage)
            for pool in pools.values():
                self._follow(pool, resolved)
            for name in changed:
                self._states.follow(name, self._clock())
            self._expel_loops()

    def _expel_loops(self) -> None:
        """Backends that a new listener has made our own."""
        for member in list(self._members.values()):
            name = self._leads_back(member.row.pool, member.row.ip, member.row.port)
            if name and not member.row.unresolved:
                self._log(f"pool {member.row.pool}: {loops.fault(member.row.address, name)}: it is taken out")
                self.remove(member.row, reason=f"it is our own listener {name}")

    def dismiss(self, pools: dict[str, PoolSettings]) -> None:
        """The second half of `apply`: pools and backends that the settings do not name any more go."""
        with self._lock, self._table.batch():
            for name in set(self._pools) - set(pools):
                self._drop_pool(name)
            for pool in pools.values():
                named = {backend.address for backend in pool.backends}
                for member in list(self._health[pool.name].members.values()):
                    if "config" in member.claims and member.row.address not in named:
                        self._unclaim(member, "config", "not in the configuration any more")

    def _drop_pool(self, name: str) -> None:
        for member in list(self._health[name].members.values()):
            self.remove(member.row, reason="its pool was removed")
        del self._pools[name], self._health[name]
        self._table.drop_pool(name)

    def _follow(self, pool: PoolSettings, resolved: LookedUp) -> None:
        wanted = {backend.address: (backend.weight, backend.tier) for backend in pool.backends}
        for member in list(self._health[pool.name].members.values()):
            row = member.row
            if row.address in wanted:
                member.claims.add("config")
                self._rate(row, *wanted.pop(row.address))
                found = resolved.get((row.host, row.port))
                if found is not None and not isinstance(found, ValueError) and row.ip not in found.all_ips:
                    self.move(pool.name, row.address, found)
        for address, (weight, tier) in wanted.items():
            found = resolved.get(parse_address(address))
            try:
                self._enter(pool.name, address, weight, "config", Evidence(), found, tier=tier)
            except ValueError as error:
                self._log(f"pool {pool.name}: {address} is ignored: {error}")


def normal(address: str) -> str:
    """One spelling of an address. Raises ValueError."""
    return join_host_port(*parse_address(address))


def _unresolved(host: str, error: ValueError) -> str:
    """Why a name has no address, without the name, which stands beside it."""
    words = str(error).removeprefix(f"{host}: ").removeprefix("cannot be resolved: ")
    return f"cannot be resolved: {words}"


def _is_probed(evidence: Evidence) -> bool:
    return not evidence.drained and not evidence.unresolved
