"""Membership: the one place that decides who can serve.

Users, the admin server, the prober and the supervisor all come here; evidence is judged by the pure rules of `evidence`,
and the verdicts are written to the table. Thread-safe. Work per call does not grow with the pool, except when its last good
backend fails.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import namedtuple

from lbcore.discovery import evidence as rules_of
from lbcore.discovery.evidence import Evidence, Verdict
from lbcore.settings import join_host_port, parse_address
from lbcore.table import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.settings import PoolSettings, ProbeSettings
    from lbcore.table import Resolved, Row, Table

ANSWERS = 1  # enum lb_failing in csrc/channel.h
STALL_S = 1.0
"""A tick that comes later than asked by more than this was held up with the whole process: leases are not to blame."""

Report = namedtuple("Report", "status weight capacity load for_s", defaults=[None, None, None, None, None], module=__name__)
Report.__doc__ = """What a backend says of itself; None: nothing.

status: ready, alive, starting, busy or draining. weight: 0..256. capacity: becomes the weight where none is given.
load: 0..1. for_s: how long it stays busy, seconds.
"""

Target = namedtuple("Target", "row probe", module=__name__)


class _Member:
    """A backend's evidence beside its row."""

    __slots__ = ("evidence", "row", "verdict")

    def __init__(self, row: Row, evidence: Evidence) -> None:
        self.row = row
        self.evidence = evidence
        self.verdict = Verdict(row.state, row.reason)


class Membership:
    """The backends of all pools with what is known of each.

    drain_ms: how long sessions of a removed backend may go on. sooner: called when a deadline was set that is earlier than
    what the last tick asked for. clock: monotonic seconds.
    """

    def __init__(
        self,
        table: Table,
        pools: dict[str, PoolSettings],
        *,
        drain_ms: int,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._pools = dict(pools)
        self._drain_ms = drain_ms
        self._log = log
        self._clock = clock
        self._lock = threading.RLock()
        self._members: dict[str, _Member] = {}  # by row id
        self._in_pool: dict[str, dict[str, _Member]] = {name: {} for name in pools}
        self._healthy: dict[str, set[str]] = {name: set() for name in pools}
        self._deadlines: list[tuple[float, str]] = []
        self._wanted: float | None = None
        self.sooner: Callable[[], None] = lambda: None
        table.on_put_off = self._wants
        self.on_new: Callable[[Row], None] = lambda row: None

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
                if self._pools[member.row.pool].probe.kind != "off" and not member.evidence.drained
            ]

    def target(self, row: Row) -> ProbeSettings | None:
        """How a backend is to be probed now; None: not at all."""
        with self._lock:
            member = self._members.get(row.id)
            if member is None or member.evidence.drained:
                return None
            probe = self._pools[row.pool].probe
            return None if probe.kind == "off" else probe

    def usable(self) -> bool:
        """Has some pool a backend that is up by its own evidence?"""
        with self._lock:
            return any(self._healthy.values())

    # --- operators -----------------------------------------------------------------------------------------------

    def add(self, pool: str, address: str, weight: int = 1, source: str = "api") -> Row:
        """Add a backend. Raises KeyError (no such pool) or ValueError (bad, unknown or doubled address, table full)."""
        self.rules(pool)
        return self._enter(pool, address, weight, source, Evidence())

    def remove(self, row: Row, drain_ms: int | None = None, reason: str = "removed") -> None:
        """Let a backend leave: no new sessions; old ones are cut after drain_ms (default: the drain time)."""
        with self._lock:
            member = self._members.pop(row.id, None)
            if member is None:
                return
            del self._in_pool[row.pool][row.id]
            self._healthy[row.pool].discard(row.id)
            self._table.set_state(row, "draining", reason)
            self._table.remove(row, self._drain_ms if drain_ms is None else drain_ms)
            if not self._healthy[row.pool]:
                self._settle(row.pool)
        self._wants(self._clock())

    def drain(self, row: Row) -> None:
        """No new sessions until `ready`."""
        self._change(row, lambda evidence: setattr(evidence, "drained", True))

    def ready(self, row: Row) -> None:
        """Undo `drain`."""
        self._change(row, lambda evidence: setattr(evidence, "drained", False))

    def set_weight(self, row: Row, weight: int) -> None:
        """Give a backend another weight, 0..256. Raises ValueError."""
        if not 0 <= weight <= 256:
            raise ValueError(f"weight: {weight!r} is not allowed (allowed: a whole number from 0 to 256)")
        self._table.set_weight(row, weight)

    # --- backends themselves -------------------------------------------------------------------------------------

    def register(self, pool: str, address: str, report: Report) -> tuple[Row, bool]:
        """Begin or renew a lease: the row, and whether it is new. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            new = row is None
            if row is None:
                row = self._enter(pool, address, _weight_of(report) or 1, "lease", Evidence(leased=True))
            self._hear(row, report)
        if new:
            self.on_new(row)
        return row, new

    def heartbeat(self, pool: str, address: str, report: Report) -> Row | None:
        """Renew a lease; None when there is none: the backend should register again. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            if row is not None:
                self._hear(row, report)
            return row

    def deregister(self, pool: str, address: str) -> Row | None:
        """A backend says goodbye: it drains, then goes. None when it was not there. Raises KeyError or ValueError."""
        with self._lock:
            row = self.find(pool, address)
            if row is not None:
                self.remove(row, reason="deregistered")
            return row

    def _hear(self, row: Row, report: Report) -> None:
        """Take in what a backend says. A report is a full state: what it leaves out is ordinary."""
        now = self._clock()
        member = self._members[row.id]
        evidence, lease = member.evidence, self._pools[row.pool].lease
        evidence.declared = "ready" if report.status in (None, "alive") else report.status
        if evidence.leased:
            evidence.lease_until = now + lease.length_ms / 1000
            self._deadline(evidence.lease_until, row)
        if evidence.declared == "busy":
            busy_s = lease.length_ms / 1000 if report.for_s is None else report.for_s
            evidence.busy_until = now + busy_s
            self._deadline(evidence.busy_until, row)
        weight = _weight_of(report)
        if weight is not None and evidence.leased:
            self._table.set_weight(row, weight)
        self._table.set_load(row, report.load)
        self._review(member, now)

    # --- evidence ------------------------------------------------------------------------------------------------

    def probe_result(self, row: Row, ok: bool, detail: str = "") -> None:
        """A probe ended. detail: what went wrong, in words."""
        with self._lock:
            member = self._members.get(row.id)
            if member is None:
                return
            now, rules = self._clock(), self._pools[row.pool]
            if ok:
                rules_of.note_good_probe(member.evidence, rules)
            else:
                rules_of.note_bad_probe(member.evidence, detail, rules, now)
            self._review(member, now)

    def failing(self, index: int, what: int) -> None:
        """A worker reports that connects to the backend in this row, or its answers, fail one after another.

        what: CONNECTS or ANSWERS of lbcore.crew.
        """
        with self._lock:
            row = self._table.by_index(index)
            member = self._members.get(row.id) if row else None
            if row is None or member is None:
                return
            now = self._clock()
            outcome = self._table.outcomes(row)
            if what == ANSWERS and outcome.answers_in_row:
                detail = f"status {outcome.last_status}" if outcome.last_status else "none came, or it broke off"
                rules_of.note_answers_failed(member.evidence, outcome.answers_in_row, detail, now)
            elif what != ANSWERS and outcome.failures_in_row:
                detail = os.strerror(outcome.last_errno).lower()
                rules_of.note_connects_failed(member.evidence, outcome.failures_in_row, detail, now)
            else:
                return
            if self._pools[row.pool].probe.kind == "off":
                self._deadline(now + self._pools[row.pool].retry_after_ms / 1000, row)
            self._review(member, now)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> float | None:
        """See to everything that is due: leases, busy times, retries, leaving rows. When to come again, or None."""
        with self._lock:
            self._forgive_stall(now)
            while self._deadlines and self._deadlines[0][0] <= now:
                member = self._members.get(heapq.heappop(self._deadlines)[1])
                if member is not None:
                    self._see_to(member, now)
            swept = self._table.sweep(now)
            times = [self._deadlines[0][0]] if self._deadlines else []
            if swept is not None:
                times.append(swept)
            self._wanted = min(times, default=None)
            return self._wanted

    def _see_to(self, member: _Member, now: float) -> None:
        row, evidence = member.row, member.evidence
        if rules_of.lease_is_over(evidence, now):
            reason = rules_of.judge(evidence, self._pools[row.pool], now).reason
            self._log(f"pool {row.pool}: {row.address} leaves: {reason}")
            self.remove(row, reason=reason)
            return
        if evidence.lease_until is not None:
            self._deadline(evidence.lease_until, row)
        rules_of.note_retry_due(evidence, self._pools[row.pool], now)
        self._review(member, now)

    def _forgive_stall(self, now: float) -> None:
        """When the process itself was held up, heartbeats could not be heard: every lease gets the time for one more."""
        if self._wanted is None or now <= self._wanted + STALL_S:
            return
        self._log(f"held up for {now - self._wanted:.1f} s: leases are extended")
        for member in self._members.values():
            evidence, lease = member.evidence, self._pools[member.row.pool].lease
            if evidence.lease_until is not None:
                evidence.lease_until = max(evidence.lease_until, now + 1.5 * lease.heartbeat_ms / 1000)

    def _deadline(self, when: float, row: Row) -> None:
        heapq.heappush(self._deadlines, (when, row.id))
        if len(self._deadlines) > 64 + 4 * len(self._members):
            self._deadlines = sorted(set(self._tidy()))
        self._wants(when)

    def _tidy(self) -> list[tuple[float, str]]:
        """Each heartbeat leaves a stale deadline behind: keep the earliest of each row."""
        first: dict[str, float] = {}
        for when, row_id in self._deadlines:
            if row_id in self._members:
                first[row_id] = min(when, first.get(row_id, when))
        return [(when, row_id) for row_id, when in first.items()]

    def _wants(self, when: float) -> None:
        if self._wanted is None or when < self._wanted:
            self._wanted = when
            self.sooner()

    # --- verdicts ------------------------------------------------------------------------------------------------

    def _enter(
        self, pool: str, address: str, weight: int, source: str, evidence: Evidence, resolved: Resolved | None = None
    ) -> Row:
        resolved = resolved or resolve(*parse_address(address))  # before the lock: a name may take seconds
        with self._lock:
            verdict = rules_of.judge(evidence, self.rules(pool), self._clock())
            row = self._table.add(
                pool,
                normal(address),
                weight=weight,
                source=source,
                state=verdict.state,
                reason=verdict.reason,
                resolved=resolved,
            )
            member = _Member(row, evidence)
            self._members[row.id] = self._in_pool[pool][row.id] = member
            if verdict.state == "up":
                self._healthy[pool].add(row.id)
                self._release_kept(pool)
        if source != "lease":
            self.on_new(row)
        return row

    def _change(self, row: Row, change: Callable[[Evidence], None]) -> None:
        with self._lock:
            member = self._members.get(row.id)
            if member is not None:
                change(member.evidence)
                self._review(member, self._clock())

    def _review(self, member: _Member, now: float) -> None:
        """Judge one backend anew, and its pool where the floor is concerned."""
        row = member.row
        before = member.verdict
        member.verdict = rules_of.judge(member.evidence, self._pools[row.pool], now)
        if member.verdict == before:
            return
        if member.verdict.state != before.state:
            self._log(f"pool {row.pool}: {row.address} {before.state} -> {member.verdict.state}: {member.verdict.reason}")
        healthy = self._healthy[row.pool]
        was_empty = not healthy
        (healthy.add if member.verdict.state == "up" else healthy.discard)(row.id)
        if healthy and not was_empty:
            self._table.set_state(row, *member.verdict)
        else:
            self._settle(row.pool)

    def _release_kept(self, pool: str) -> None:
        if len(self._healthy[pool]) == 1:
            self._settle(pool)

    def _settle(self, pool: str) -> None:
        """Write every verdict of a pool whose last good backend just failed, or whose first just came."""
        members = list(self._in_pool[pool].values())
        kept = rules_of.keep(((member.evidence, member.verdict) for member in members), self._pools[pool])
        with self._table.batch():
            for at, member in enumerate(members):
                verdict = kept.get(at, member.verdict)
                self._table.set_state(member.row, verdict.state, verdict.reason)
        if kept:
            self._log(f"pool {pool}: no backend is usable by its evidence: {len(kept)} kept")

    # --- reload --------------------------------------------------------------------------------------------------

    def apply(self, pools: dict[str, PoolSettings], drain_ms: int) -> None:
        """Follow new settings: `admit` whom they name, then `dismiss` the others, so that no request falls between.

        Backends that the configuration names are added, changed or removed; rows that stay keep their state, evidence and
        generation. Leases and backends added at run time stay as long as their pool does.
        """
        self.admit(pools, drain_ms)
        self.dismiss(pools)

    def admit(self, pools: dict[str, PoolSettings], drain_ms: int) -> None:
        """The first half of `apply`: new settings, new pools, new backends."""
        resolved = {backend.address: _try_resolve(backend.address) for pool in pools.values() for backend in pool.backends}
        with self._lock, self._table.batch():
            self._drain_ms = drain_ms
            for name, pool in pools.items():
                self._table.set_pool(pool)
                self._pools[name] = pool
                self._in_pool.setdefault(name, {})
                self._healthy.setdefault(name, set())
            for pool in pools.values():
                self._follow(pool, resolved)

    def dismiss(self, pools: dict[str, PoolSettings]) -> None:
        """The second half of `apply`: pools and backends that the settings do not name any more go."""
        with self._lock, self._table.batch():
            for name in set(self._pools) - set(pools):
                self._drop_pool(name)
            for pool in pools.values():
                named = {backend.address for backend in pool.backends}
                for member in list(self._in_pool[pool.name].values()):
                    if member.row.source == "config" and member.row.address not in named:
                        self.remove(member.row, reason="not in the configuration any more")

    def _drop_pool(self, name: str) -> None:
        for member in list(self._in_pool[name].values()):
            self.remove(member.row, reason="its pool was removed")
        del self._pools[name], self._in_pool[name], self._healthy[name]
        self._table.drop_pool(name)

    def _follow(self, pool: PoolSettings, resolved: dict[str, Resolved | ValueError]) -> None:
        wanted = {backend.address: backend.weight for backend in pool.backends}
        for member in list(self._in_pool[pool.name].values()):
            row = member.row
            if row.address in wanted:
                self._table.set_weight(row, wanted.pop(row.address))
        for address, weight in wanted.items():
            found = resolved[address]
            try:
                if isinstance(found, ValueError):
                    raise found
                self._enter(pool.name, address, weight, "config", Evidence(), found)
            except ValueError as error:
                self._log(f"pool {pool.name}: {address} is left out: {error}")


def normal(address: str) -> str:
    """One spelling of an address. Raises ValueError."""
    return join_host_port(*parse_address(address))


def _try_resolve(address: str) -> Resolved | ValueError:
    try:
        return resolve(*parse_address(address))
    except ValueError as error:
        return error


def _weight_of(report: Report) -> int | None:
    if report.weight is not None:
        return int(report.weight)
    return None if report.capacity is None else max(1, min(256, round(report.capacity)))
