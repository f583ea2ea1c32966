"""The states of backends, written to the table: verdicts, slow starts, and whom a pool in panic keeps.

Membership's lock guards it. Work per call does not grow with the pool, except when its last good backend fails.
"""

from __future__ import annotations

from typing import NamedTuple

from lbcore.discovery import evidence as rules_of
from lbcore.discovery import panic
from lbcore.discovery.member import Member
from lbcore.discovery.pool_health import TOGETHER_S
from lbcore.engine.codes import DEAD, PROVEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import PoolSettings
    from lbcore.discovery.deadlines import Deadlines
    from lbcore.discovery.evidence import Evidence, Verdict
    from lbcore.discovery.pool_health import PoolHealth
    from lbcore.table import Resolved, Row, Table


class Share(NamedTuple):
    """What a backend takes of a pool's sessions, and who named it first."""

    weight: int
    tier: int
    source: str


class HealthStates:
    """Of all pools: the only one that writes states, weights and tiers to the table.

    pools, health: settings and backends of each pool, by name; membership's own. on_change: called when a state changed.
    """

    def __init__(
        self,
        table: Table,
        pools: dict[str, PoolSettings],
        health: dict[str, PoolHealth],
        deadlines: Deadlines,
        *,
        on_change: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._table = table
        self._pools = pools
        self._health = health
        self._deadlines = deadlines
        self._on_change = on_change
        self._log = log

    def review(self, member: Member, now: float) -> None:
        """Judge one backend anew, and its pool where panic is concerned."""
        row, health = member.row, self._health[member.row.pool]
        before = member.verdict
        member.verdict = rules_of.judge(member.evidence, self._pools[row.pool], now)
        self._table.set_known(row, DEAD * member.evidence.dead | PROVEN * member.evidence.proven)
        change = rules_of.next_change(member.evidence, self._pools[row.pool], now)
        if change is not None and member.verdict.state != "up":
            self._deadlines.plan(change, row.id)
        if member.verdict == before:
            return
        moved = member.verdict.state != before.state
        if moved:
            self._log(f"pool {row.pool}: {row.address} {before.state} -> {member.verdict.state}: {member.verdict.reason}")
            self._stand(member, now)
            self._on_change()
        health.follow_loss(member, self._pools[row.pool])
        fell = moved and health.outage and member.verdict.state == "down"
        if not self._look_at_pool(row.pool, now, anew=fell):
            self._write(member)

    def weigh(self, row: Row, weight: int, now: float) -> None:
        """Give a backend a weight. A pool whose backends have none is in outage as one whose backends are dead."""
        if row.weight != weight:
            self._table.set_weight(row, weight)
            self._look_at_pool(row.pool, now)

    def rank(self, row: Row, tier: int, now: float) -> None:
        """Give a backend a tier."""
        if row.tier != tier:
            health = self._health[row.pool]
            health.tiered = health.tiered or bool(tier)
            self._table.set_tier(row, tier)
            self._look_at_pool(row.pool, now)

    def enter(
        self,
        pool: str,
        address: str,
        share: Share,
        evidence: Evidence,
        verdict: Verdict,
        resolved: Resolved,
        now: float,
    ) -> Member:
        """A backend comes. Raises ValueError (it is there, or the table is full)."""
        row = self._table.add(
            pool,
            address,
            weight=share.weight,
            tier=share.tier,
            source=share.source,
            state=verdict.state,
            reason=verdict.reason,
            resolved=resolved,
        )
        member = Member(row, evidence)
        self._entered(member, now)
        return member

    def _entered(self, member: Member, now: float) -> None:
        pool, health = member.row.pool, self._health[member.row.pool]
        health.enter(member)
        if member.verdict.state == "up":
            self._comes_up(member, now)
        self._look_at_pool(pool, now)
        if health.outage and not health.told and health.tell_at is None:
            health.tell_at = now + panic.window_s(self._pools[pool])
            self._deadlines.wake_by(health.tell_at)

    def recalled(self, member: Member) -> None:
        """A backend that another control plane has left: `follow` once all are there."""
        self._health[member.row.pool].enter(member)
        if member.verdict.state == "up":
            self._health[member.row.pool].healthy.add(member.row.id)

    def leave(self, row: Row, reason: str, drain_ms: int, now: float) -> None:
        """A backend goes: no new sessions; old ones are cut after drain_ms."""
        self._health[row.pool].leave(row.id)
        self._table.set_state(row, "draining", reason)
        self._table.remove(row, drain_ms)
        self._look_at_pool(row.pool, now)

    def abandon(self, row: Row, drain_ms: int) -> None:
        """Another control plane has left it, and nobody names it any more."""
        self._table.remove(row, drain_ms)

    def follow(self, pool: str, now: float) -> None:
        """Judge all of a pool anew: its rules are others now."""
        for member in list(self._health[pool].members.values()):
            self.review(member, now)
        if not self._look_at_pool(pool, now):
            self._settle(pool)
        self._table.set_outage(pool, self._health[pool].outage)

    def adopt(self, pool: str, now: float) -> None:
        """All backends that another control plane has left in a pool are there."""
        health = self._health[pool]
        health.outage_at = now
        self.follow(pool, now)
        if health.outage and health.members:
            self._tell_outage(pool)

    def eject(self, member: Member, why: str, now: float) -> None:
        """Take out a backend that is worse than the others, unless too many of its pool are out for that already."""
        row, health = member.row, self._health[member.row.pool]
        rules = self._pools[row.pool]
        may = health.may_eject(rules, now)
        if row.id in health.ejected or member.evidence.dead:
            return
        if not may:
            self._log(f"pool {row.pool}: {row.address} is not ejected, max_ejected is reached: {why}")
            return
        if rules.when_none == "refuse" and not health.healthy - {row.id}:
            return  # to be worse than the rest takes a rest
        health.ejected.add(row.id)
        rules_of.eject(member.evidence, why, rules, now)
        self.review(member, now)

    def end_doubts(self, now: float) -> None:
        """A balancer that has doubted itself for long enough believes what it sees."""
        for name, health in self._health.items():
            if health.doubting and now >= health.doubt_until:
                health.believe(now)
                self._settle(name)

    def see_to_ramp(self, member: Member, now: float) -> None:
        """End a slow start whose time is over."""
        if member.ramp_until and now >= member.ramp_until:
            self._ramp(member, now, 0)
        elif member.ramp_until:
            self._deadlines.plan(member.ramp_until, member.row.id)

    def _ramp(self, member: Member, now: float, ramp_ms: int) -> None:
        if not ramp_ms and not member.ramp_until:
            return
        member.ramp_until = now + ramp_ms / 1000 if ramp_ms else 0.0
        self._table.set_ramp(member.row, now, ramp_ms)
        if ramp_ms:
            self._deadlines.plan(member.ramp_until, member.row.id)

    def _stand(self, member: Member, now: float) -> None:
        """Its state changed: is it among the healthy ones?"""
        if member.verdict.state == "up":
            self._comes_up(member, now)
        else:
            self._health[member.row.pool].healthy.discard(member.row.id)

    def _comes_up(self, member: Member, now: float) -> None:
        """It joins the healthy ones of its tier: slowly, when there are others whose share it takes over."""
        health, tier = self._health[member.row.pool], member.row.tier
        if health.is_first(member):
            health.filled_at[tier] = now
        elif now - health.filled_at.get(tier, -TOGETHER_S) >= TOGETHER_S:
            self._ramp(member, now, self._pools[member.row.pool].slow_start_ms)
        health.healthy.add(member.row.id)

    # --- a pool as a whole ---------------------------------------------------------------------------------------

    def _look_at_pool(self, pool: str, now: float, *, anew: bool = False) -> bool:
        """Has it become an outage, or is one over, or has a doubt begun or ended? Then every verdict is written: True.

        anew: write them in any case.
        """
        health = self._health[pool]
        outage = health.tier() is None
        turned = outage != health.outage
        if turned:
            health.outage = outage
            self._table.set_outage(pool, outage)
        doubts = self._doubts_anew(pool, now)
        if turned or doubts or anew:
            self._settle(pool)
        if turned:
            self._tell_turn(pool, now)
        elif doubts and health.doubting and not outage:
            self._log(
                f"pool {pool}: {len(health.lost)} of {len(health.members)} backends failed at once: they are kept for now, "
                "the fault may be ours"
            )
        return turned or doubts or anew

    def tell_outages(self, now: float) -> None:
        """Tell of pools that were in outage from their first backend on, when that has lasted."""
        for pool, health in self._health.items():
            if health.tell_at is not None and now >= health.tell_at:
                health.tell_at = None
                if health.outage and not health.told and health.members:
                    self._tell_outage(pool)

    def _tell_turn(self, pool: str, now: float) -> None:
        health = self._health[pool]
        if health.outage:
            health.outage_at = now
            self._tell_outage(pool)
            return
        health.tell_at = None
        if health.told:
            health.told = False
            self._log(f"pool {pool}: the outage is over after {now - health.outage_at:.1f} s")

    def _tell_outage(self, pool: str) -> None:
        health = self._health[pool]
        health.told, health.tell_at = True, None
        kept = f"{len(health.kept)} that were good last are kept" if health.kept else "sessions are refused"
        self._log(f"pool {pool}: outage: none of {len(health.members)} backends is usable: {kept}")

    def _doubts_anew(self, pool: str, now: float) -> bool:
        """Did it change whether the balancer doubts what it sees of a pool?"""
        health = self._health[pool]
        changed = health.doubt_anew(self._pools[pool], now)
        if changed and health.doubting:
            self._deadlines.wake_by(health.doubt_until)
        return changed

    def _held(self, member: Member) -> Verdict:
        """What is written of a backend: its verdict, or what panic makes of it."""
        health, verdict = self._health[member.row.pool], member.verdict
        if self._pools[member.row.pool].when_none == "refuse":
            return verdict
        if health.outage and panic.is_late(member.evidence, verdict):
            return panic.HELD_LATE
        if health.outage and verdict.state == "down" and member.row.id in health.kept:
            return panic.held(verdict)
        if health.doubting and not health.outage and member.row.id in health.lost:
            return panic.doubted(verdict)
        return verdict

    def _write(self, member: Member) -> None:
        held = self._held(member)
        self._table.set_state(member.row, held.state, held.reason, kept=held is not member.verdict)

    def _settle(self, pool: str) -> None:
        """Write every verdict of a pool that begins or ends to keep failed backends."""
        health = self._health[pool]
        members = list(health.members.values())
        entries = ((member.evidence, member.verdict) for member in members)
        held = panic.keep(entries, self._pools[pool], usable=not health.outage, doubting=health.doubting)
        health.kept = {members[at].row.id for at in held}
        with self._table.batch():
            for at, member in enumerate(members):
                verdict = held.get(at, member.verdict)
                self._table.set_state(member.row, verdict.state, verdict.reason, kept=at in held)
