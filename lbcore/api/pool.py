"""What users hold of a running balancer: a pool, and a backend in it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore._engine import Pick
    from lbcore.api.picks import PickPool
    from lbcore.discovery.membership import Membership
    from lbcore.table import Row, Table


class Backend:
    """A backend of a pool. Comes from `Pool.add` or `Pool.backends`."""

    def __init__(self, membership: Membership, row: Row) -> None:
        self._membership = membership
        self._row = row

    @property
    def id(self) -> str:
        """INDEX.GENERATION: never the same for two registrations of one address."""
        return self._row.id

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self._row.address

    @property
    def generation(self) -> int:
        """Grows with every backend that enters the table."""
        return self._row.generation

    @property
    def state(self) -> str:
        """up, down, starting, busy or draining."""
        return self._row.state

    @property
    def reason(self) -> str:
        """Why the state is what it is, in words."""
        return self._row.reason

    @property
    def source(self) -> str:
        """Who named it first: config, api, lease, or the kind of a source (dns, file)."""
        return self._row.source

    @property
    def weight(self) -> int:
        """Its share of new sessions beside the others', 0..256."""
        return self._row.weight

    def set_weight(self, weight: int) -> None:
        """Change the weight, 0..256. Raises ValueError."""
        self._membership.set_weight(self._row, weight)

    def drain(self) -> None:
        """Give it no new sessions; those that it has go on."""
        self._membership.drain(self._row)

    def ready(self) -> None:
        """Undo `drain`."""
        self._membership.ready(self._row)

    def __repr__(self) -> str:
        return f"<Backend {self.address} {self.state} weight={self.weight}>"


class Pool:
    """A pool of a running balancer. Comes from `Balancer.pool`."""

    def __init__(self, membership: Membership, table: Table, name: str, picks: Callable[[str], PickPool]) -> None:
        self._membership = membership
        self._table = table
        self._find_picks = picks
        self._picks: PickPool | None = None
        self.name = name

    def add(self, address: str, weight: int = 1, *, backup: bool = False) -> Backend:
        """Add a backend, "host:port". It inherits the pool's probes and limits. backup: it takes sessions only while no other
        can.

        A host name that has no address
        is down until it has one. Raises ValueError when the address is bad, or is in the pool already.
        """
        if not 0 <= weight <= 256:
            raise ValueError(f"weight: {weight!r} is not allowed (allowed: a whole number from 0 to 256)")
        row = self._membership.add(self.name, address, weight, tier=int(backup), unresolved=True)
        return Backend(self._membership, row)

    def remove(self, backend: Backend | str, drain_timeout: float | None = None) -> None:
        """Let a backend leave: no new sessions; old ones are cut after drain_timeout seconds (default: the balancer's).

        Raises ValueError when it is not in the pool.
        """
        row = backend._row if isinstance(backend, Backend) else self._membership.find(self.name, backend)
        if row is None:
            raise ValueError(f"backend {backend} is not in pool {self.name}")
        self._membership.remove(row, None if drain_timeout is None else int(drain_timeout * 1000))

    def get(self, address: str) -> Backend | None:
        """The backend of that address, or None."""
        row = self._membership.find(self.name, address)
        return None if row is None else Backend(self._membership, row)

    def pick(self, key: str | bytes | None = None, cost: int = 1) -> Pick:
        """A backend, by the pool's policy, for a caller that goes there by itself: see `lbcore.api.picks.PickPool.pick`."""
        if self._picks is None:
            self._picks = self._find_picks(self.name)
        return self._picks.pick(key, cost)

    def backends(self) -> list[Backend]:
        """All backends, those that are leaving excluded."""
        return [Backend(self._membership, row) for row in self._table.rows(self.name) if not row.leaving]

    def __repr__(self) -> str:
        return f"<Pool {self.name}>"
