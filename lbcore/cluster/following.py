"""The members of this node, as the rules of a cluster see them, and how they follow its moves."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.cluster.entry import SILENT, Told
from lbcore.cluster.keys import Backend
from lbcore.cluster.marks import mark_of
from lbcore.cluster.moves import Drop, Obey, Show
from lbcore.config.settings import parse_address
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.leases import CLUSTER
from lbcore.table import is_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lbcore.cluster.loads import Told as ToldLoad
    from lbcore.cluster.moves import Move
    from lbcore.discovery.member import Member
    from lbcore.discovery.membership import Membership

AT_ONCE = 200
"""Moves under one hold of the members' lock: heartbeats wait for it."""
MARK_S = 1.0
SHARED_SOURCES = ("lease", "api")
"""Backends that come and go for all nodes; those of the file and of other sources are each node's own."""
_WORDS = {SILENT: "no balancer has heard it for the length of its lease"}


class Heard(NamedTuple):
    """told: what a backend says; None: it is not heard here."""

    backend: Backend
    told: Told | None


class Following:
    """Takes moves to the members. Thread-safe. used: loads of other nodes that count here.

    missed: backends that did not fit in here, or could not be taken.
    """

    def __init__(self, membership: Membership, log: Callable[[str], None]) -> None:
        self._membership, self._log = membership, log
        self._ids_by_mark: dict[int, str] = {}
        self._marked_at = 0.0
        self.used: int = 0
        self.missed: int = 0
        self._told_missed = False

    # --- looking -------------------------------------------------------------------------------------------------

    def look(self, backends: Iterable[Backend]) -> list[Heard]:
        """What is heard here of these."""
        with self._membership.lock:
            return [Heard(backend, self._told(self._member(backend), heard=True)) for backend in backends]

    def leased(self) -> list[Heard]:
        """All registrations that are here, heard or not."""
        with self._membership.lock:
            members = [member for member in self._membership.by_id.values() if member.evidence.leased]
            return [Heard(Backend(member.row.pool, member.row.address), self._told(member)) for member in members]

    def added(self) -> list[tuple[Backend, int, int]]:
        """What operators have added here, with weights and tiers."""
        with self._membership.lock:
            rows = [member.row for member in self._membership.by_id.values() if member.row.source == "api"]
            return [(Backend(row.pool, row.address), row.weight, row.tier) for row in rows]

    def drained(self) -> list[Backend]:
        """What operators have drained here."""
        with self._membership.lock:
            return [Backend(*mark) for mark in self._membership.drains]

    def _member(self, backend: Backend) -> Member | None:
        row = self._membership.table.find(*backend)
        return self._membership.by_id.get(row.id) if row else None

    def _told(self, member: Member | None, *, heard: bool = False) -> Told | None:
        """heard: only of one that is heard here."""
        if member is None or not member.evidence.leased or (heard and member.shared is None):
            return None
        evidence, row = member.evidence, member.row
        busy_ms = 0
        if evidence.declared == "busy":
            busy_ms = max(0, int((evidence.busy_until - self._membership.clock()) * 1000))
        return Told(evidence.declared, busy_ms, row.weight, row.tier, row.capacity)

    def misses_some(self) -> bool:
        """Are all to be shown once more? To be asked now and then: there may be room by then."""
        misses, self.missed = self.missed > 0, 0
        self._told_missed = self._told_missed and misses
        return misses

    # --- following -----------------------------------------------------------------------------------------------

    def follow(self, moves: list[Move]) -> None:
        """In this order."""
        for begin in range(0, len(moves), AT_ONCE):
            fresh: list[Backend] = []
            with self._membership.lock, self._membership.table.batch():
                for move in moves[begin : begin + AT_ONCE]:
                    if move.backend.pool not in self._membership.pools_by_name:
                        continue  # a pool that this node does not have
                    if isinstance(move, Show):
                        fresh += self._show(move)
                    elif isinstance(move, Drop):
                        self._drop(move)
                    else:
                        self._obey(move)
            for backend in fresh:
                if row := self._membership.table.find(*backend):
                    self._membership.on_new(row)

    def heed(self, told: Sequence[ToldLoad]) -> None:
        """Loads that backends have reported to other nodes, told a moment ago. Backends that are not here are skipped."""
        for begin in range(0, len(told), AT_ONCE):
            with self._membership.lock, self._membership.table.batch():
                now = self._membership.clock()
                for mark, load, age_s in told[begin : begin + AT_ONCE]:
                    if member := self._of_mark(mark, now):
                        self.used += self._membership.leases.heed(member, load.load, load.in_flight, now - age_s)

    def _of_mark(self, mark: int, now: float) -> Member | None:
        """Marks are made anew once a second at most: there may be many of backends that this node does not have."""
        by_id = self._membership.by_id
        member = by_id.get(self._ids_by_mark.get(mark, ""))
        if member is None and now >= self._marked_at + MARK_S:
            self._marked_at = now
            known = set(self._ids_by_mark.values())
            self._ids_by_mark = {of: id for of, id in self._ids_by_mark.items() if id in by_id}
            fresh = ((id, found.row) for id, found in by_id.items() if id not in known)
            self._ids_by_mark |= {mark_of(Backend(row.pool, row.address)): id for id, row in fresh}
            member = by_id.get(self._ids_by_mark.get(mark, ""))
        return member

    def _show(self, move: Show) -> list[Backend]:
        """The backend itself, if it was not here."""
        member, fresh = self._member(move.backend), False
        if member is None:
            member, fresh = self._enter(move.backend, move.told.weight, move.told.tier, "lease", Evidence(leased=True)), True
        if member is None:
            return []
        member.claims.add(CLUSTER)
        if member.evidence.leased:
            self._tell(member, move.told)
        return [move.backend] if fresh else []

    def _tell(self, member: Member, told: Told) -> None:
        """It says the same here as where it was heard."""
        known = self._told(member)
        if known is not None and known.lasting == told.lasting and not told.busy_ms:
            return
        now, row, evidence = self._membership.clock(), member.row, member.evidence
        if member.shared is not None:
            member.shared = ()  # if it says here what it said before, that is news
        evidence.declared = told.status
        evidence.busy_until = now + told.busy_ms / 1000 if told.status == "busy" else 0.0
        self._membership.rate(row, told.weight, told.tier)
        self._membership.table.set_capacity(row, told.capacity)
        self._membership.states.review(member, now)

    def _enter(self, backend: Backend, weight: int, tier: int, source: str, evidence: Evidence) -> Member | None:
        unasked = None if is_literal(parse_address(backend.address)[0]) else ValueError("it is being looked up")
        try:
            row = self._membership.enter(*backend, weight, source, evidence, unasked, tier=tier)
        except ValueError as error:
            self._miss(backend, error)
            return None
        member = self._membership.by_id[row.id]
        member.claims = {CLUSTER} if source == "lease" else {source}
        return member

    def _miss(self, backend: Backend, error: ValueError) -> None:
        """Told of the first one only: there may be thousands."""
        if not self._told_missed:
            self._told_missed = True
            self._log(f"cluster: pool {backend.pool}: {backend.address}, which another node has, is ignored: {error}")
        self.missed += 1

    def _drop(self, move: Drop) -> None:
        member = self._member(move.backend)
        if member is None:
            return
        member.claims -= {CLUSTER, "lease"}
        member.shared = None
        if not member.claims:
            reason = _WORDS.get(move.reason, move.reason)
            self._log(f"pool {move.backend.pool}: {move.backend.address} leaves: {reason}")
            self._membership.remove(member.row, reason=reason)

    def _obey(self, move: Obey) -> None:
        member = self._member(move.backend)
        if move.kind == "drain":
            self._drain(move.backend, member, drained=bool(move.value))
        elif move.kind == "weight" and member is not None:
            self._membership.states.weigh(member.row, int(str(move.value)), self._membership.clock())
        elif move.kind == "member" and isinstance(move.value, tuple):
            if member is None:
                weight, tier = move.value
                self._enter(move.backend, weight, tier, "api", Evidence())
        elif move.kind == "member" and member is not None and member.row.source in SHARED_SOURCES:
            self._membership.drains.discard(*move.backend)
            self._membership.remove(member.row, reason="removed at another node")

    def _drain(self, backend: Backend, member: Member | None, *, drained: bool) -> None:
        if member is None:  # it may come again
            (self._membership.drains.add if drained else self._membership.drains.discard)(*backend)
        elif drained:
            self._membership.mark_drained(member.row)
        elif member.evidence.drained:
            self._membership.mark_ready(member.row)
