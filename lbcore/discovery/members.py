"""The backends of all pools with what is known of each, under one lock; they come and go here."""

from __future__ import annotations

import time

from lbcore import locks
from lbcore.config.settings import join_host_port, loops, parse_address
from lbcore.discovery import evidence as rules_of
from lbcore.discovery.deadlines import Deadlines
from lbcore.discovery.drains import Drains
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.health_state import HealthStates, Share
from lbcore.discovery.pool_health import PoolHealth
from lbcore.table import UNRESOLVED, is_literal, resolve_all
from lbcore.topic import Topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import PoolSettings
    from lbcore.discovery.member import Member
    from lbcore.table import Resolved, Row, Table

REMOVED = "removed"
"""Why a backend leaves that an operator has removed."""


class Members:
    """The backends of all pools with what is known of each.

    drain_ms: how long sessions of a removed backend may go on. leads_back: the listener of ours that an address is from which a
    pool's sessions would come back to it; "": none. clock: monotonic seconds.

    To subscribe to: sooner: a deadline was set that is earlier than what the last tick asked for. on_new, on_suspect: a backend
    is to be probed now. on_name: there may be a name to follow. on_change: there is something to save.

    on_lease: other nodes are to hear of a lease, by pool and address; why it left, or "". on_order: they are to hear of an
    operator's order, by pool, address, kind and value. on_report: a backend has reported, by pool, address, load and
    what it has under way.
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
        self.table = table
        self.pools_by_name: dict[str, PoolSettings] = dict(pools)
        self.drain_ms = drain_ms
        self.log = log
        self.clock = clock
        self.lock: Any = locks.rlock("membership")
        self.by_id: dict[str, Member] = {}  # by row id
        self.drains: Drains = Drains()
        self.health: dict[str, PoolHealth] = {name: PoolHealth() for name in pools}
        self.leads_back = leads_back
        self.sooner: Topic[[]] = Topic()
        self.on_new: Topic[[Row]] = Topic()
        self.on_suspect: Topic[[Row]] = Topic()
        self.on_name: Topic[[]] = Topic()
        self.on_change: Topic[[]] = Topic()
        self.on_lease: Topic[[str, str, str]] = Topic()
        self.on_order: Topic[[str, str, str, object]] = Topic()
        self.on_report: Topic[[str, str, float | None, int | None]] = Topic()
        self.deadlines: Deadlines = Deadlines(self.sooner)
        table.views.on_put_off.subscribe(self.deadlines.wake_by)
        self.states: HealthStates = HealthStates(
            table, self.pools_by_name, self.health, self.deadlines, on_change=self.on_change, log=log
        )
        self.count: Callable[[str], None] = table.counts.add

    def disown(self) -> None:
        """In a forked child: whoever held the lock is not here. The table takes no change any more."""
        self.lock = locks.rlock("membership")

    def rules(self, pool: str) -> PoolSettings:
        """A pool's settings. Raises KeyError."""
        with self.lock:
            return self.pools_by_name[pool]

    def find(self, pool: str, address: str) -> Row | None:
        """The backend of that address, unless it is leaving. Raises KeyError when there is no such pool."""
        self.rules(pool)
        return self.table.find(pool, normal(address))

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
        row = self.enter(pool, address, weight, source, Evidence(), resolved, tier=tier)
        if source == "api":
            self.on_order(pool, row.address, "member", (weight, tier))
        return row

    def remove(self, row: Row, drain_ms: int | None = None, reason: str = REMOVED) -> None:
        """Let a backend leave: no new sessions; old ones are cut after drain_ms (default: the drain time)."""
        with self.lock:
            member = self.by_id.pop(row.id, None)
            if member is None:
                return
            self.deadlines.forget(row.id)
            if reason == REMOVED:
                self.drains.discard(row.pool, row.address)
                self.on_order(row.pool, row.address, "member", False)
            self.states.leave(row, reason, self.drain_ms if drain_ms is None else drain_ms, self.clock())
        self.on_change()
        self.deadlines.wake_by(self.clock())

    def drain(self, row: Row) -> None:
        """No new sessions until `ready`, also when the backend leaves and comes back meanwhile."""
        self.mark_drained(row)
        self.on_order(row.pool, row.address, "drain", True)

    def mark_drained(self, row: Row) -> None:
        """As `drain`, of an order that other nodes know."""
        self.drains.add(row.pool, row.address)
        self.change(row, lambda evidence: setattr(evidence, "drained", True))

    def ready(self, row: Row) -> None:
        """Undo `drain`."""
        self.mark_ready(row)
        self.on_order(row.pool, row.address, "drain", False)

    def mark_ready(self, row: Row) -> None:
        """As `ready`, of an order that other nodes know."""
        self.drains.discard(row.pool, row.address)
        rules = self.rules(row.pool)
        self.change(row, lambda evidence: rules_of.note_ready(evidence, rules))
        self.on_new(row)  # it was not probed meanwhile

    def set_weight(self, row: Row, weight: int) -> None:
        """Give a backend another weight, 0..256. Raises ValueError."""
        if not 0 <= weight <= 256:
            raise ValueError(f"weight: {weight!r} is not allowed (allowed: a whole number from 0 to 256)")
        with self.lock:
            if row.id in self.by_id:
                self.states.weigh(row, weight, self.clock())
                self.on_order(row.pool, row.address, "weight", weight)

    def change(self, row: Row, change: Callable[[Evidence], None]) -> None:
        with self.lock:
            member = self.by_id.get(row.id)
            if member is not None:
                change(member.evidence)
                self.states.review(member, self.clock())

    # --- coming and going ----------------------------------------------------------------------------------------

    def enter(
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
            self.log(f"pool {pool}: {address}: {evidence.unresolved}")
        elif name := self.leads_back(pool, resolved.ip, key[1]):
            raise ValueError(loops.fault(address, name))
        with self.lock:
            evidence.drained = evidence.drained or (pool, normal(address)) in self.drains
            verdict = rules_of.judge(evidence, self.rules(pool), self.clock())
            share = Share(weight, tier, source)
            member = self.states.enter(pool, normal(address), share, evidence, verdict, resolved, self.clock())
            row = member.row
            self.by_id[row.id] = member
        if source != "lease":
            self.on_new(row)
        if not is_literal(row.host):
            self.on_name()
        self.on_change()
        return row

    def unclaim(self, member: Member, source: str, reason: str) -> None:
        """A source names a backend no more: it leaves, unless another does."""
        member.claims.discard(source)
        if not member.claims:
            self.remove(member.row, reason=reason)

    def rate(self, row: Row, weight: int, tier: int) -> None:
        """What a source says of a backend's share."""
        now = self.clock()
        self.states.weigh(row, weight, now)
        self.states.rank(row, tier, now)


def normal(address: str) -> str:
    """One spelling of an address. Raises ValueError."""
    return join_host_port(*parse_address(address))


def _unresolved(host: str, error: ValueError) -> str:
    """Why a name has no address, without the name, which stands beside it."""
    words = str(error).removeprefix(f"{host}: ").removeprefix("cannot be resolved: ")
    return f"cannot be resolved: {words}"
