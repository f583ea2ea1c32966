"""What outlives a control plane: backends that came at run time, from the state file or from the table itself."""

from __future__ import annotations

import contextlib

from lbcore.config.settings import parse_address
from lbcore.discovery import evidence as rules_of
from lbcore.discovery import panic, saved
from lbcore.discovery.evidence import Verdict
from lbcore.discovery.member import Member
from lbcore.discovery.members import normal
from lbcore.engine.codes import DEAD, PROVEN
from lbcore.table import resolve_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from lbcore.discovery.leases import Leases
    from lbcore.discovery.members import Members
    from lbcore.table import Row


class Restart:
    """Of all members. Their lock guards it."""

    def __init__(self, members: Members, leases: Leases) -> None:
        self._all, self._leases = members, leases

    def snapshot(self) -> list[dict[str, Any]]:
        """Backends that came at run time, by registration, by an operator or from an engine: for `restore`, JSON-ready."""
        with self._all.lock:
            kept = [member for member in self._all.by_id.values() if saved.is_kept(member)]
            known = {(member.row.pool, member.row.address) for member in kept}
            drains = [saved.drain_of(*mark) for mark in self._all.drains if mark not in known]
            return [*(saved.entry_of(member) for member in kept), *drains]

    def restore(
        self, entries: Iterable[dict[str, Any]], claims: Callable[[str, str], set[str]] = lambda pool, source: set()
    ) -> int:
        """Take them in again, on probation: one bad probe, or a lease's time of silence, takes them out. How many came.

        claims: as for `recall`. What only sources named that are not there any more stays away.
        """
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
                    self._all.drains.add(kept.pool, normal(kept.address))
                named = set(kept.claims) & claims(kept.pool, kept.source)
                if kept.source in saved.ENGINES and not named:
                    continue
                evidence = saved.evidence_of(kept)
                found = resolved.get(parse_address(kept.address))
                row = self._all.enter(kept.pool, kept.address, kept.weight, kept.source, evidence, found, tier=kept.tier)
            except (KeyError, ValueError, TypeError) as error:
                self._all.log(f"state: {entry!r:.200} is ignored: {error}")
                continue
            count += 1
            with self._all.lock:
                if named:
                    self._all.by_id[row.id].claims = named
                if kept.capacity is not None:
                    self._all.table.set_capacity(row, kept.capacity)
                if evidence.leased:
                    self._leases.restore(self._all.by_id[row.id], kept.instances)
        return count

    def restore_drains(self, entries: Iterable[dict[str, Any]]) -> None:
        """Of backends that are not here now: those that are here say themselves whether they are drained."""
        for entry in entries:
            with contextlib.suppress(KeyError, ValueError, TypeError):
                kept = saved.read(entry)
                if kept.drained and self._all.table.find(kept.pool, normal(kept.address)) is None:
                    self._all.drains.add(kept.pool, normal(kept.address))

    def _restore_drain(self, pool: str, address: str) -> None:
        self._all.drains.add(pool, address)
        row = self._all.table.find(pool, address)
        if row is not None:
            self._all.mark_drained(row)

    def recall(self, claims: Callable[[str, str], set[str]]) -> int:
        """Go on with the backends that the table holds already, left by a control plane that is gone: each keeps its row and
        state; leases get a full time to be renewed. claims: of a pool, who may name the backends of a kind of source there.
        How many there are."""
        with self._all.lock, self._all.table.batch():
            for row in self._all.table.rows():
                named = claims(row.pool, row.source) if row.pool in self._all.pools_by_name else set()
                if row.leaving:
                    continue
                if named:
                    self._recall_row(row, named)
                else:
                    self._all.states.abandon(row, self._all.drain_ms)
            for pool in set(self._all.table.pools()) - set(self._all.pools_by_name):
                self._all.table.drop_pool(pool)
            for pool in set(self._all.table.pools()):
                self._all.states.adopt(pool, self._all.clock())
            return len(self._all.by_id)

    def _recall_row(self, row: Row, claims: set[str]) -> None:
        now = self._all.clock()
        verdict = Verdict("down", panic.unheld(row.reason)) if row.kept else Verdict(row.state, row.reason)
        evidence = rules_of.recalled(
            verdict,
            self._all.pools_by_name[row.pool],
            now,
            leased=row.source == "lease",
            dead=bool(row.known & DEAD),
            proven=bool(row.known & PROVEN),
        )
        if evidence.drained:
            self._all.drains.add(row.pool, row.address)
        if row.unresolved:
            evidence.dead, evidence.unresolved = False, row.reason
        member = Member(row, evidence)
        member.claims, member.verdict = claims, verdict
        self._all.by_id[row.id] = member
        self._all.states.recalled(member)
        if verdict.state != "up":
            self._all.deadlines.plan(now, row.id)
        self._leases.recall(member, now)
