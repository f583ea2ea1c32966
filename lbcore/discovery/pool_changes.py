"""Pools follow the settings: at the start, and with a reload."""

from __future__ import annotations

from lbcore.config.settings import loops, parse_address
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.pool_health import PoolHealth
from lbcore.table import is_literal, resolve_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import PoolSettings
    from lbcore.discovery.claims import Claims
    from lbcore.discovery.members import Members
    from lbcore.table import Resolved

    LookedUp = dict[tuple[str, int], Resolved | ValueError]


class PoolChanges:
    """Takes them to the members. Their lock guards it."""

    def __init__(self, members: Members, claims: Claims) -> None:
        self._all, self._claims = members, claims

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
            (key for pool, address, key in wanted if not (is_literal(key[0]) and self._all.table.find(pool, address))), is_over
        )

    def admit(self, pools: dict[str, PoolSettings], drain_ms: int, resolved: LookedUp | None = None) -> None:
        """The first half of `apply`: new settings, new pools, new backends. resolved: what `look_up` found."""
        if resolved is None:
            resolved = self.look_up(pools)
        with self._all.lock, self._all.table.batch():
            self._all.drain_ms = drain_ms
            changed = [name for name, pool in pools.items() if self._all.pools_by_name.get(name) != pool]
            for name, pool in pools.items():
                self._all.table.set_pool(pool)
                self._all.pools_by_name[name] = pool
                self._all.table.set_outage(name, self._all.health.setdefault(name, PoolHealth()).outage)
            for pool in pools.values():
                self._follow(pool, resolved)
            for name in changed:
                self._all.states.follow(name, self._all.clock())
            self._expel_loops()

    def _expel_loops(self) -> None:
        """Backends that a new listener has made our own."""
        for member in list(self._all.by_id.values()):
            name = self._all.leads_back(member.row.pool, member.row.ip, member.row.port)
            if name and not member.row.unresolved:
                self._all.log(f"pool {member.row.pool}: {loops.fault(member.row.address, name)}: it is taken out")
                self._all.remove(member.row, reason=f"it is our own listener {name}")

    def dismiss(self, pools: dict[str, PoolSettings]) -> None:
        """The second half of `apply`: pools and backends that the settings do not name any more go."""
        with self._all.lock, self._all.table.batch():
            for name in set(self._all.pools_by_name) - set(pools):
                self._drop_pool(name)
            for pool in pools.values():
                named = {backend.address for backend in pool.backends}
                for member in list(self._all.health[pool.name].members.values()):
                    if "config" in member.claims and member.row.address not in named:
                        self._all.unclaim(member, "config", "not in the configuration any more")

    def _drop_pool(self, name: str) -> None:
        for member in list(self._all.health[name].members.values()):
            self._all.remove(member.row, reason="its pool was removed")
        del self._all.pools_by_name[name], self._all.health[name]
        self._all.table.drop_pool(name)

    def _follow(self, pool: PoolSettings, resolved: LookedUp) -> None:
        wanted = {backend.address: (backend.weight, backend.tier) for backend in pool.backends}
        for member in list(self._all.health[pool.name].members.values()):
            row = member.row
            if row.address in wanted:
                member.claims.add("config")
                self._all.rate(row, *wanted.pop(row.address))
                found = resolved.get((row.host, row.port))
                if found is not None and not isinstance(found, ValueError) and row.ip not in found.all_ips:
                    self._claims.move(pool.name, row.address, found)
        for address, (weight, tier) in wanted.items():
            found = resolved.get(parse_address(address))
            try:
                self._all.enter(pool.name, address, weight, "config", Evidence(), found, tier=tier)
            except ValueError as error:
                self._all.log(f"pool {pool.name}: {address} is ignored: {error}")
