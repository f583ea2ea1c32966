"""The rows of a table that settings fill: listeners and pools."""

from __future__ import annotations

import os

from lbcore.config.settings import parse_listen
from lbcore.engine.segment import text
from lbcore.table import packed
from lbcore.table.memory import MAX_LISTENERS, MAX_MODELS, MAX_POOLS, TableMemory
from lbcore.table.views import Views
from lbcore.topic import Topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.config.settings import ListenerSettings, PoolSettings


class TableFull(ValueError):
    """No row is free: raise max_backends."""


class SettingsRows(TableMemory):
    """views: what workers pick from, by pool. on_cut, to subscribe to: workers are to look at the table now."""

    def __init__(self, secret: bytes | None, **options: Any) -> None:
        super().__init__(**options)
        self._pools: dict[str, int] = {}
        self._policies: dict[str, str] = {}
        self._models: dict[str, int] = {}
        self._tenants: dict[tuple[str, str], int] = {}
        self._last_tenant = 0
        self._secret = secret or os.urandom(16)
        self.views: Views = Views(self._pools, self._writer.publish)
        self.on_cut: Topic[[]] = Topic()
        self._cutting: set[str] = set()  # pools that cut the sessions of a backend that is down

    def _recall_settings(self) -> None:
        """Know again what the segment holds of pools and listeners."""
        for index in range(MAX_POOLS):
            pool = self.segment.pool(index)
            if pool.state:
                self._pools[text(pool.name)] = index
        for index in range(MAX_MODELS):
            model = self.segment.model(index)
            if model.tenant:
                self._models[text(model.name)] = index
        self._recall_tenants()

    def _recall_tenants(self) -> None:
        """Listeners and pools keep their numbers, and with them their figures; no number that was ever given is given again."""
        segment = self.segment
        given = {("pool", name): int(segment.pool(index).tenant) for name, index in self._pools.items()}
        given |= {("model", name): int(segment.model(index).tenant) for name, index in self._models.items()}
        for index in range(MAX_LISTENERS):
            row = segment.listener(index)
            if row.state:
                given["listener", str(index)] = int(row.tenant)
        rows = [segment.listener(index) for index in range(MAX_LISTENERS)]
        rows += [segment.pool(index) for index in range(MAX_POOLS)]
        rows += [segment.model(index) for index in range(MAX_MODELS)]
        figures = [segment.listener_tally(worker, at) for worker in range(segment.head.workers) for at in range(len(rows))]
        self._tenants = given
        self._last_tenant = max(int(entry.tenant) for entry in (*rows, *figures))

    # --- listeners -----------------------------------------------------------------------------------------------

    def set_listener(
        self, index: int, listener: ListenerSettings | None, address: str = "", certificate_expires_s: int = 0
    ) -> None:
        """Write a listener row; None frees it, but leaves its time limits to the sessions that came through it.

        certificate_expires_s: Unix time, when the first of its certificates does; 0: it has none.
        """
        with self.lock:
            tenant = ("listener", str(index))
            if listener is None:
                self._writer.listener(index, packed.freed_listener_row(self.segment.listener(index)))
                self._tenants.pop(tenant, None)
                return
            row = packed.listener_row(
                listener,
                pool=None if listener.pool is None else self._pools[listener.pool],
                address=address,
                tenant=self._tenant(tenant),
                certificate_expires_s=certificate_expires_s,
            )
            self._writer.listener(index, row)

    def listener_at(self, index: int) -> tuple[str, str, str, int]:
        """Name, mode, host and port of a listener row."""
        row = self.segment.listener(index)
        return text(row.name), *parse_listen(text(row.address))

    # --- models --------------------------------------------------------------------------------------------------

    def set_models(self, names: list[str]) -> dict[str, int]:
        """The rows of these models, by name; only the first MAX_MODELS get one. Other rows are freed, with their figures."""
        with self.lock:
            wanted = list(dict.fromkeys(names))[:MAX_MODELS]
            for name in self._models.keys() - set(wanted):
                self._writer.model(self._models.pop(name), packed.model_row("", 0))
                self._tenants.pop(("model", name), None)
            free = iter(sorted(set(range(MAX_MODELS)) - set(self._models.values())))
            for name in wanted:
                if name not in self._models:
                    self._models[name] = next(free)
                    self._writer.model(self._models[name], packed.model_row(name, self._tenant(("model", name))))
            return dict(self._models)

    # --- pools ---------------------------------------------------------------------------------------------------

    def set_pool(self, pool: PoolSettings) -> None:
        """Write a pool's settings; a new name takes a new row. Raises TableFull."""
        with self.lock:
            known = self._pools.get(pool.name)
            index = self._free_pool() if known is None else known
            row = packed.pool_row(pool, tenant=self._tenant(("pool", pool.name)), sticky_key=self._sticky_key(pool))
            self._writer.pool(index, row)
            self._pools[pool.name] = index
            self._follow_cuts(pool)
            if known is None or self._policies.get(pool.name) != pool.policy:
                self._policies[pool.name] = pool.policy
                self.views.publish(pool.name)

    def _follow_cuts(self, pool: PoolSettings) -> None:
        """A pool that cuts sessions from now on does so at once, of those that are down already."""
        if pool.on_down == "cut" and pool.name not in self._cutting:
            self._cutting.add(pool.name)
            self.on_cut()
        elif pool.on_down != "cut":
            self._cutting.discard(pool.name)

    def set_outage(self, pool: str, outage: bool) -> None:
        """Say in the segment whether a pool has no usable backend."""
        with self.lock:
            if pool in self._pools:
                self._writer.outage(self._pools[pool], outage)

    def _sticky_key(self, pool: PoolSettings) -> bytes:
        """What signs the pool's cookie: of its secret, or of one that lives as long as the table."""
        if not pool.sticky:
            return b""
        known = self.segment.pool(self._pools[pool.name]) if pool.name in self._pools else None
        if not pool.sticky_secret and known is not None and text(known.sticky) == pool.sticky:
            return bytes(known.sticky_key)  # cookies that are out stay good
        return packed.sticky_key(pool.name, pool.sticky_secret.reveal().encode() if pool.sticky_secret else self._secret)

    def _tenant(self, whose: tuple[str, str]) -> int:
        """The number of a pool, listener or model, by which its figures are told from those of one that had its row before."""
        if whose not in self._tenants:
            self._last_tenant += 1
            self._tenants[whose] = self._last_tenant
        return self._tenants[whose]

    def pool_rows(self) -> dict[str, int]:
        """The row of each pool, by name."""
        with self.lock:
            return dict(self._pools)

    def drop_pool(self, name: str) -> None:
        """Free a pool's row. Its backends must have been removed."""
        with self.lock:
            self._writer.pool(self._pools.pop(name), packed.freed_pool_row())
            self._tenants.pop(("pool", name), None)
            self._policies.pop(name, None)
            self._cutting.discard(name)

    def _free_pool(self) -> int:
        taken = set(self._pools.values()) | self._pools_left()
        for index in range(MAX_POOLS):
            if index not in taken:
                return index
        raise TableFull(f"a balancer has at most {MAX_POOLS} pools")

    def _pools_left(self) -> set[int]:
        """Rows of pools that are gone, but for backends that are leaving."""
        return set()

    def pools(self) -> list[str]:
        """The names of all pools."""
        with self.lock:
            return list(self._pools)
