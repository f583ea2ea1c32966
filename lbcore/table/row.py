"""A backend in the table, as the control plane knows it."""

from __future__ import annotations

import socket

from lbcore.config.settings import parse_address
from lbcore.engine.codes import STATE_NAMES
from lbcore.table.resolved import UNRESOLVED, Resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.engine.segment import Segment


class Row:
    """A backend in the table. Written by Table only.

    tier: it is picked only while no backend of a lower tier can be. kept: it is up only because nobody is better. known: DEAD
    and PROVEN of engine.codes, whatever its state. instances: how many processes registered it. counted: the pool and tier in
    which it is counted as one that takes sessions. load: 0..1 as reported, None: unknown. elsewhere: requests under way there
    that did not come from here. capacity: as declared. cut_at: when its sessions are cut (monotonic seconds), None unless it
    was removed. free_at: when its row may be another's, None until it was cut.
    """

    __slots__ = (
        "address",
        "capacity",
        "counted",
        "cut_at",
        "elsewhere",
        "family",
        "free_at",
        "generation",
        "host",
        "index",
        "instances",
        "ip",
        "kept",
        "known",
        "load",
        "pool",
        "port",
        "reason",
        "scope",
        "source",
        "state",
        "tier",
        "weight",
    )

    def __init__(self, pool: str, address: str, resolved: Resolved, *, weight: int, source: str, tier: int = 0) -> None:
        """Its index, generation, state and reason are the table's to fill in. Raises ValueError when the address is bad."""
        self.index: int = 0
        self.generation: int = 0
        self.pool: str = pool
        self.address: str = address
        self.host: str
        self.port: int
        self.host, self.port = parse_address(address)
        self.family: int = resolved.family
        self.ip: str = resolved.ip
        self.scope: int = resolved.scope
        self.weight: int = weight
        self.tier: int = tier
        self.source: str = source
        self.kept: bool = False
        self.known: int = 0
        self.instances: int = 0
        self.counted: tuple[str, int] | None = None
        self.state: str = ""
        self.reason: str = ""
        self.load: float | None = None
        self.elsewhere: float = 0.0
        self.capacity: float | None = None
        self.cut_at: float | None = None
        self.free_at: float | None = None

    @classmethod
    def recalled(cls, segment: Segment, index: int, pool: str) -> Row:
        """What the segment says of a row that another control plane has left."""
        found: Any = segment.backend(index)
        address, source, reason = segment.texts(found)
        family = int(found.family)
        resolved = Resolved(family, _ip_of(found, address), int(found.scope))
        row = cls(pool, address, resolved, weight=int(found.weight), source=source, tier=int(found.tier))
        row.kept, row.known, row.instances = bool(found.kept), int(found.known), int(found.instances)
        row.index, row.generation = index, int(found.generation)
        row.state, row.reason = STATE_NAMES.get(found.state, "draining"), reason
        row.load = None if found.load < 0 else float(found.load)
        row.elsewhere, row.capacity = float(found.elsewhere), float(found.capacity) or None
        row.cut_at = found.leaves_ms / 1000 if found.leaves_ms else None
        return row

    @property
    def id(self) -> str:
        """INDEX.GENERATION: never the same for two registrations."""
        return f"{self.index}.{self.generation}"

    @property
    def unresolved(self) -> bool:
        """Its name has no address: nobody can be sent there."""
        return bool(self.ip == UNRESOLVED.ip)

    @property
    def leaving(self) -> bool:
        """It was removed: sessions finish, no new ones come."""
        return self.cut_at is not None

    def __repr__(self) -> str:
        return f"<Row {self.pool} {self.address} {self.state} weight={self.weight} id={self.id}>"


def _ip_of(found: Any, address: str) -> str:
    """What Resolved has as `ip`, of a row of the segment."""
    if found.family == socket.AF_UNIX:
        return address
    return socket.inet_ntop(found.family, bytes(found.ip)[: 16 if found.family == socket.AF_INET6 else 4])
