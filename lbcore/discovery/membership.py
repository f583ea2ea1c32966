"""Membership: the one place that decides who can serve.

Users, the admin server, the prober and the supervisor all come here; evidence is judged by the pure rules of `evidence`,
and the verdicts are written to the table. Thread-safe. Work per call does not grow with the pool, except when its last good
backend fails.
"""

from __future__ import annotations

import time

from lbcore.discovery import evidence as rules_of
from lbcore.discovery.claims import Claims
from lbcore.discovery.leases import Leases
from lbcore.discovery.members import Members, normal
from lbcore.discovery.observations import Observations
from lbcore.discovery.pickers import Pickers
from lbcore.discovery.pool_changes import PoolChanges
from lbcore.discovery.restart import Restart
from lbcore.discovery.shortages import Shortages
from lbcore.discovery.targets import Scraped, Target
from lbcore.engine.codes import NO_ROW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import PoolSettings, ProbeSettings
    from lbcore.discovery.evidence import Evidence
    from lbcore.discovery.member import Member
    from lbcore.table import Row, Table

TICK_S = 0.01
"""Ends of leases, ramps and the like are seen to at most so often."""


class Membership(Members):
    """The members, and all that changes them.

    leases: what backends say. observations: what is seen of them. claims: what sources and names say. restart: what outlives a
    control plane. changes: other settings.
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
        super().__init__(table, pools, drain_ms=drain_ms, log=log, leads_back=leads_back, clock=clock)
        self.leases: Leases = Leases(self)
        self.observations: Observations = Observations(self)
        self.claims: Claims = Claims(self)
        self.restart: Restart = Restart(self, self.leases)
        self.changes: PoolChanges = PoolChanges(self, self.claims)
        self.shortages: Shortages = Shortages(log, self.count, clock)
        self._pickers = Pickers(table, log)

    # --- asking --------------------------------------------------------------------------------------------------

    def pools(self) -> list[str]:
        """The names of all pools."""
        with self.lock:
            return list(self.pools_by_name)

    def on_host(self, pool: str, ip: str) -> list[Row]:
        """The backends of a pool on one host. Looks at the whole pool. Raises KeyError."""
        self.rules(pool)
        return [row for row in self.table.rows(pool) if row.ip == ip and not row.leaving]

    def targets(self) -> list[Target]:
        """What is to be probed, and how."""
        with self.lock:
            return [
                Target(member.row, self.pools_by_name[member.row.pool].probe)
                for member in self.by_id.values()
                if self.pools_by_name[member.row.pool].probe.kind != "off" and _is_probed(member.evidence)
            ]

    def target(self, row: Row) -> ProbeSettings | None:
        """How a backend is to be probed now; None: not at all."""
        with self.lock:
            member = self.by_id.get(row.id)
            if member is None or not _is_probed(member.evidence):
                return None
            probe = self.pools_by_name[row.pool].probe
            return None if probe.kind == "off" else probe

    def scraped(self) -> list[Scraped]:
        """Whose metrics are to be read, and how."""
        with self.lock:
            rules = [(member.row, self.pools_by_name[member.row.pool].scrape) for member in self.by_id.values()]
        return [Scraped(row, scrape, scrape.way) for row, scrape in rules if scrape.way is not None]

    def measured(self, row: Row, load: float | None, in_flight: int | None, stale_s: float) -> None:
        """The load that a backend's metrics tell now; it counts for so long."""
        with self.lock:
            member = self.by_id.get(row.id)
            if member is not None:
                self.leases.measured(member, load, in_flight, stale_s)

    def outages(self) -> list[str]:
        """The pools without a backend that is up by its own evidence, and has a weight."""
        with self.lock:
            return [name for name, health in self.health.items() if health.outage]

    def leaving(self, pool: str, address: str) -> Row | None:
        """The backend of that address that is on its way out and was there last. Raises KeyError or ValueError."""
        self.rules(pool)
        found = [row for row in self.table.rows(pool) if row.leaving and row.address == normal(address)]
        return max(found, key=lambda row: row.generation, default=None)

    def active(self, row: Row) -> int:
        """Sessions and exchanges that are under way on a backend."""
        return self.table.in_flight(row)

    # --- workers and time ----------------------------------------------------------------------------------------

    def failing(self, index: int, what: int) -> None:
        """A worker reports failures in a row: see `Observations.failing`."""
        self.observations.failing(index, what)

    def shortage(self, error: int, index: int) -> None:
        """A worker reports what this host lacked: for a connect to the backend in this row, or for an accept (NO_ROW)."""
        row = None if index == NO_ROW else self.table.by_index(index)
        self.shortages.tell(error, row.address if row else "a client")

    def tick(self, now: float) -> float | None:
        """See to everything that is due: leases, busy times, retries, leaving rows. When to come again, or None."""
        with self.lock:
            self.leases.forgive_stall(now)
            self.observations.compare(now)
            self.states.end_doubts(now)
            self.states.tell_outages(now)
            self._pickers.bury(now)
            for row_id in self.deadlines.take(now):
                if row_id in self.by_id:
                    self._see_to(self.by_id[row_id], now)
            swept = self.table.sweep(now)
            first = self.deadlines.first
            times = [] if first is None else [max(first, now + TICK_S)]
            times += [health.compare_at for health in self.health.values() if len(health.members) > 1]
            times += [health.doubt_until for health in self.health.values() if health.doubting]
            times += [health.tell_at for health in self.health.values() if health.tell_at is not None]
            times.append(self._pickers.due_at)
            if swept is not None:
                times.append(swept)
            self.deadlines.wanted = min(times, default=None)
            return self.deadlines.wanted

    def _see_to(self, member: Member, now: float) -> None:
        if not self.leases.see_to(member, now):
            return
        self.states.see_to_ramp(member, now)
        rules_of.note_retry_due(member.evidence, self.pools_by_name[member.row.pool], now)
        self.states.review(member, now)


def _is_probed(evidence: Evidence) -> bool:
    return not evidence.drained and not evidence.unresolved
