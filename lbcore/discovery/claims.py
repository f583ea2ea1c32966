"""What sources and names say: who is in a pool, and where a host is now."""

from __future__ import annotations

from lbcore.config.settings import loops, parse_address
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.found import Found
from lbcore.discovery.members import normal
from lbcore.discovery.targets import Named
from lbcore.table import is_literal, resolve_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.discovery.members import Members
    from lbcore.table import Resolved


class Claims:
    """A backend goes when no source names it any more. The members' lock guards it."""

    def __init__(self, members: Members) -> None:
        self._all = members

    def claimed(self, pool: str, claim: str) -> list[Found]:
        """What a source names of a pool, as of what it said last."""
        with self._all.lock:
            members = self._all.health[pool].members.values() if pool in self._all.health else ()
            rows = (member.row for member in members if claim in member.claims)
            return [Found(row.address, row.weight, row.tier) for row in rows]

    def follow_source(self, pool: str, claim: str, found: Iterable[tuple[str, int] | tuple[str, int, int]]) -> None:
        """The whole set of (address, weight, tier) that a source knows for a pool now: who is new comes, who is gone leaves,
        unless another source names it too. Without a tier it is 0. claim: the source, "KIND:WHAT"; KIND is shown. Raises
        KeyError (no such pool)."""
        self._all.rules(pool)
        source = claim.partition(":")[0]
        wanted = {normal(address): (weight, *(tier or (0,))) for address, weight, *tier in found}
        resolved = resolve_all(parse_address(address) for address in wanted if not self._all.table.find(pool, address))
        with self._all.lock, self._all.table.batch():
            health = self._all.health[pool]
            for member in list(health.members.values()):
                row = member.row
                if row.address not in wanted:
                    if claim in member.claims:
                        self._all.unclaim(member, claim, f"{source} names it no more")
                    continue
                weight, tier = wanted.pop(row.address)
                member.claims.add(claim)
                if row.source == source:
                    self._all.rate(row, weight, tier)
            for address, (weight, tier) in wanted.items():
                known = resolved.get(parse_address(address))
                try:
                    row = self._all.enter(pool, address, weight, source, Evidence(), known, tier=tier)
                    self._all.by_id[row.id].claims = {claim}
                except ValueError as error:
                    self._all.log(f"pool {pool}: {address}, which {source} names, is ignored: {error}")

    def named(self) -> list[Named]:
        """The backends whose host is a name."""
        with self._all.lock:
            rows = [member.row for member in self._all.by_id.values() if not is_literal(member.row.host)]
            return [Named(row.pool, row.address, row.host, row.port, row.ip, not row.unresolved) for row in rows]

    def move(self, pool: str, address: str, resolved: Resolved) -> None:
        """A backend's name means another address now: a new backend takes its place, of which nothing is known but what
        operators and sources said. Sessions of the old one may end as those of one that was removed."""
        with self._all.lock, self._all.table.batch():
            row = self._all.table.find(pool, address)
            member = self._all.by_id.get(row.id) if row else None
            if row is None or member is None or row.ip == resolved.ip or self._all.table.is_full:
                return
            if name := self._all.leads_back(pool, resolved.ip, row.port):
                self._all.log(f"pool {pool}: {loops.fault(address, name)}: it stays where it was")
                return
            self._all.log(
                f"pool {pool}: {address} is at {resolved.ip} now" + ("" if row.unresolved else f", no more at {row.ip}")
            )
            self._all.remove(row, 0 if row.unresolved else None, reason="its name has another address now")
            fresh = self._all.enter(pool, address, row.weight, row.source, Evidence(), resolved, tier=row.tier)
            self._all.by_id[fresh.id].claims = member.claims
