"""What is known of a pool's backends as a whole. Kept by membership."""

from __future__ import annotations

from lbcore.discovery import panic
from lbcore.discovery.evidence import was_good

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import PoolSettings
    from lbcore.discovery.member import Member

TOGETHER_S = 1.0
"""Backends that come within so long of a pool's first one need no slow start: there is nobody whose share they could take."""


class PoolHealth:
    """What a pool knows of its backends as a whole: by row id.

    healthy: up by their own evidence. lost: when those died that the balancer may be to blame for, oldest first. ejected: who
    is out for being worse than the rest. doubting: the panic holds some up, until doubt_until. believed_at: when a doubt last
    ended: deaths before it are believed. filled_at: when a tier last got its first healthy one. outage: nobody is usable, since
    outage_at; kept: whom the panic may hold up meanwhile. told: the log knows, or at tell_at is to be told; None: not yet.
    tiered: some backend is, or was, of a tier above 0.
    """

    __slots__ = (
        "believed_at",
        "compare_at",
        "doubt_until",
        "doubting",
        "ejected",
        "filled_at",
        "healthy",
        "kept",
        "lost",
        "members",
        "outage",
        "outage_at",
        "tell_at",
        "tiered",
        "told",
    )

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.healthy: set[str] = set()
        self.lost: dict[str, float] = {}
        self.ejected: set[str] = set()
        self.doubting: bool = False
        self.doubt_until: float = 0.0
        self.believed_at: float = 0.0
        self.filled_at: dict[int, float] = {}
        self.compare_at: float = 0.0
        self.kept: set[str] = set()
        self.outage: bool = True
        self.outage_at: float = 0.0
        self.told: bool = False
        self.tell_at: float | None = None
        self.tiered: bool = False

    def enter(self, member: Member) -> None:
        """One more."""
        self.members[member.row.id] = member
        self.tiered = self.tiered or bool(member.row.tier)

    def leave(self, id: str) -> None:
        """One less."""
        del self.members[id]
        self.healthy.discard(id)
        self.ejected.discard(id)
        self.kept.discard(id)
        self.lost.pop(id, None)

    def tier(self) -> int | None:
        """The lowest tier with a backend that is healthy and has a weight: who takes turns. None: nobody does."""
        lowest: int | None = None
        for id in self.healthy:
            row = self.members[id].row
            if row.weight and (lowest is None or row.tier < lowest):
                lowest = row.tier
                if not lowest:
                    break
        return lowest

    def is_first(self, member: Member) -> bool:
        """Is nobody else of its tier healthy?"""
        return not any(self.members[id].row.tier == member.row.tier for id in self.healthy)

    def doubt_anew(self, rules: PoolSettings, now: float) -> bool:
        """Does the balancer doubt itself by what it knows of the pool now? True when that changed."""
        before, self.doubting = self.doubting, rules.when_none == "keep" and self._has_doubts()
        if self.doubting and not before:
            self.doubt_until = now + panic.window_s(rules)
        return self.doubting != before

    def _has_doubts(self) -> bool:
        """A lost tier behind which another one serves gives no doubt: that is what the other is there for."""
        tier = self.tier() if self.tiered else None
        if tier is None:
            return panic.doubts(len(self.healthy), len(self.lost))
        up = sum(self.members[id].row.tier == tier for id in self.healthy)
        return panic.doubts(up, sum(self.members[id].row.tier == tier for id in self.lost))

    def believe(self, now: float) -> None:
        """End a doubt: who died before now is dead, and stays so however its reason changes."""
        self.doubting = False
        self.believed_at = now
        self.lost.clear()

    def follow_loss(self, member: Member, rules: PoolSettings) -> None:
        """Is it among those that were lost at once? They stand in the order of their deaths: what is too old goes first."""
        lost = panic.is_lost(member.evidence, member.verdict) and was_good(member.evidence, rules)
        if not lost or member.evidence.died_at <= self.believed_at:
            self.lost.pop(member.row.id, None)
            return
        self.lost.setdefault(member.row.id, member.evidence.died_at)
        since = member.evidence.died_at - panic.window_s(rules)
        while (oldest := next(iter(self.lost))) != member.row.id and self.lost[oldest] < since:
            del self.lost[oldest]

    def may_eject(self, rules: PoolSettings, now: float) -> bool:
        """May one more be out for being worse than the rest?"""
        self.ejected = {other for other in self.ejected if self.members[other].evidence.ejected_until > now}
        return len(self.ejected) < rules.outlier.may_eject(len(self.members))
