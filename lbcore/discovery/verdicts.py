"""Verdicts on backends, written to the table: states, slow starts, and whom the floor of a pool holds up.

Membership's lock guards it. Work per call does not grow with the pool, except when its last good backend fails.
"""

from __future__ import annotations

from lbcore.discovery import evidence as rules_of
from lbcore.discovery import floor
from lbcore.discovery.standing import TOGETHER_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.discovery.agenda import Agenda
    from lbcore.discovery.standing import Member, Standing
    from lbcore.settings import PoolSettings
    from lbcore.table import Table


class Verdicts:
    """Of all pools.

    pools, standing: settings and backends of each pool, by name; membership's own. on_change: called when a state changed.
    """

    def __init__(
        self,
        table: Table,
        pools: dict[str, PoolSettings],
        standing: dict[str, Standing],
        agenda: Agenda,
        *,
        on_change: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._table = table
        self._pools = pools
        self._standing = standing
        self._agenda = agenda
        self._on_change = on_change
        self._log = log

    def review(self, member: Member, now: float) -> None:
        """Judge one backend anew, and its pool where the floor is concerned."""
        row, standing = member.row, self._standing[member.row.pool]
        before = member.verdict
        member.verdict = rules_of.judge(member.evidence, self._pools[row.pool], now)
        change = rules_of.next_change(member.evidence, self._pools[row.pool], now)
        if change is not None and member.verdict.state != "up":
            self._agenda.plan(change, row.id)
        if member.verdict == before:
            return
        was_empty = not standing.healthy
        if member.verdict.state != before.state:
            self._log(f"pool {row.pool}: {row.address} {before.state} -> {member.verdict.state}: {member.verdict.reason}")
            self._stand(member, now)
            self._on_change()
        standing.follow_loss(member, self._pools[row.pool])
        if self._doubts_anew(row.pool, now) or was_empty or not standing.healthy:
            self._settle(row.pool)
        elif standing.doubting and row.id in standing.lost:
            self._table.set_state(row, *floor.doubted(member.verdict))
        else:
            self._table.set_state(row, *member.verdict)

    def entered(self, member: Member, now: float) -> None:
        """A backend has come."""
        standing = self._standing[member.row.pool]
        standing.enter(member)
        if member.verdict.state == "up":
            self._comes_up(member, now)
            if self._doubts_anew(member.row.pool, now) or len(standing.healthy) == 1:
                self._settle(member.row.pool)

    def left(self, pool: str, now: float) -> None:
        """A backend has gone."""
        if self._doubts_anew(pool, now) or not self._standing[pool].healthy:
            self._settle(pool)

    def eject(self, member: Member, why: str, now: float) -> None:
        """Take out a backend that is worse than the others, unless too many of its pool are out for that already."""
        row, standing = member.row, self._standing[member.row.pool]
        rules = self._pools[row.pool]
        may = standing.may_eject(rules, now)
        if row.id in standing.ejected or member.evidence.dead:
            return
        if not may:
            self._log(f"pool {row.pool}: {row.address} is not ejected, max_ejected is reached: {why}")
            return
        standing.ejected.add(row.id)
        rules_of.eject(member.evidence, why, rules, now)
        self.review(member, now)

    def end_doubts(self, now: float) -> None:
        """A balancer that has doubted itself for long enough believes what it sees."""
        for name, standing in self._standing.items():
            if standing.doubting and now >= standing.doubt_until:
                standing.believe(now)
                self._settle(name)

    def see_to_ramp(self, member: Member, now: float) -> None:
        """End a slow start whose time is over."""
        if member.ramp_until and now >= member.ramp_until:
            self._ramp(member, now, 0)
        elif member.ramp_until:
            self._agenda.plan(member.ramp_until, member.row.id)

    def _ramp(self, member: Member, now: float, ramp_ms: int) -> None:
        if not ramp_ms and not member.ramp_until:
            return
        member.ramp_until = now + ramp_ms / 1000 if ramp_ms else 0.0
        self._table.set_ramp(member.row, now, ramp_ms)
        if ramp_ms:
            self._agenda.plan(member.ramp_until, member.row.id)

    def _stand(self, member: Member, now: float) -> None:
        """Its state changed: is it among the healthy ones?"""
        if member.verdict.state == "up":
            self._comes_up(member, now)
        else:
            self._standing[member.row.pool].healthy.discard(member.row.id)

    def _comes_up(self, member: Member, now: float) -> None:
        """It joins the healthy ones of its pool: slowly, when there are others whose share it takes over."""
        standing = self._standing[member.row.pool]
        if not standing.healthy:
            standing.filled_at = now
        elif now - standing.filled_at >= TOGETHER_S:
            self._ramp(member, now, self._pools[member.row.pool].slow_start_ms)
        standing.healthy.add(member.row.id)

    def _doubts_anew(self, pool: str, now: float) -> bool:
        """Did it change whether the balancer doubts what it sees of a pool?"""
        standing = self._standing[pool]
        changed = standing.doubt_anew(self._pools[pool], now)
        if changed and standing.doubting:
            self._agenda.wake_by(standing.doubt_until)
        return changed

    def _settle(self, pool: str) -> None:
        """Write every verdict of a pool whose floor holds somebody up now, or does not any more."""
        standing = self._standing[pool]
        members = list(standing.members.values())
        entries = ((member.evidence, member.verdict) for member in members)
        kept = floor.keep(entries, self._pools[pool], doubting=standing.doubting)
        with self._table.batch():
            for at, member in enumerate(members):
                verdict = kept.get(at, member.verdict)
                self._table.set_state(member.row, verdict.state, verdict.reason)
        if kept:
            self._log(
                f"pool {pool}: {len(kept)} of {len(members)} backends failed at once: they are kept, the fault may be ours"
            )
