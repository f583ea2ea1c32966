"""Backends that are listeners of the balancer itself, as things stand now: see lbcore.config.settings.loops."""

from __future__ import annotations

from lbcore.config.settings.loops import leads_back, places_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings
    from lbcore.table import Table


class LoopGuard:
    """settings: those in force, or that a reload is about to put in force. bound: where listeners really are, by name."""

    def __init__(self, settings: BalancerSettings, table: Table, bound: Callable[[], dict[str, tuple[str, int]]]) -> None:
        self.settings = settings
        self._table, self._bound = table, bound

    def leads_back(self, pool: str, ip: str, port: int) -> str:
        """The listener of ours that this is, if sessions of the pool would come back to it from there; else ""."""
        places = places_of(self.settings.listeners, self.settings.routes, self._bound())
        return leads_back(places, pool, ip, port, self._backends)

    def _backends(self, pool: str) -> list[tuple[str, int]]:
        return [(row.ip, row.port) for row in self._table.rows(pool) if not row.leaving]
