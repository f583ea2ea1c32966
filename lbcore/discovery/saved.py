"""A backend as the state file has it: what came at run time, by registration or by an operator, and outlives a restart."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.config.settings import parse_address
from lbcore.discovery.evidence import Evidence
from lbcore.discovery.reports import MOST_INSTANCES
from lbcore.engine.codes import TIERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lbcore.discovery.member import Member

SOURCES = ("lease", "api")
ENGINES = ("dns", "etcd", "consul", "kubernetes", "nats")
"""Sources that may not answer when lbcore starts: what they named is kept, too. A file is here when lbcore is."""
MOST_CLAIMS, MOST_CLAIM = 64, 8192
"""Sources that one backend may have, and characters of a source's name."""
DRAIN = "drain"
"""In the place of a source: only that an operator has drained the address is kept, since another names the backend."""


class Saved(NamedTuple):
    """JSON-ready by `_asdict`. up: it could serve, though it may have been busy."""

    pool: str
    address: str
    source: str
    weight: int
    capacity: float | None
    drained: bool
    up: bool
    tier: int = 0
    instances: Sequence[str] = ()
    claims: Sequence[str] = ()


def is_kept(member: Member) -> bool:
    """Did it come at run time, from where it may not come again at once?"""
    return member.row.source in (*SOURCES, *ENGINES)


def entry_of(member: Member) -> dict[str, Any]:
    """What is kept of a backend that `is_kept`."""
    row = member.row
    up = member.verdict.state in ("up", "busy")
    drained, instances = member.evidence.drained, list(member.instances)
    claims = sorted(member.claims) if row.source in ENGINES else []
    kept = Saved(row.pool, row.address, row.source, row.weight, row.capacity, drained, up, row.tier, instances, claims)
    return kept._asdict()


def drain_of(pool: str, address: str) -> dict[str, Any]:
    """What is kept of a drain, whoever names the backend."""
    return Saved(pool, address, DRAIN, 1, None, True, False, 0)._asdict()


def read(entry: dict[str, Any]) -> Saved:
    """What a state file says of a backend, whoever wrote it. Raises KeyError, ValueError or TypeError."""
    capacity = float(entry["capacity"]) if entry.get("capacity") else None
    pool, address, source = str(entry["pool"]), str(entry["address"]), str(entry["source"])
    weight = min(256, max(0, int(entry["weight"])))
    tier = max(0, min(TIERS - 1, int(entry.get("tier", 0))))
    listed = entry.get("instances")
    instances = [str(id)[:64] for id in listed[:MOST_INSTANCES]] if isinstance(listed, list) else []
    named = entry.get("claims")
    claims = [str(claim)[:MOST_CLAIM] for claim in named[:MOST_CLAIMS]] if isinstance(named, list) else []
    return Saved(pool, address, source, weight, capacity, bool(entry["drained"]), bool(entry["up"]), tier, instances, claims)


def host_of(entry: dict[str, Any]) -> tuple[str, int] | None:
    """The host and port that it speaks of, if it does."""
    try:
        return parse_address(str(entry["address"]))
    except (KeyError, ValueError, TypeError):
        return None


def evidence_of(kept: Saved) -> Evidence:
    """It begins on probation: one bad probe, or a lease's time of silence, takes it out."""
    evidence = Evidence(leased=kept.source == "lease", probation=kept.up)
    evidence.drained = kept.drained
    return evidence
