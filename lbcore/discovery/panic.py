"""The panic under a pool, pure: failures never empty it, and a balancer that sees most of a pool fail at once doubts itself."""

from __future__ import annotations

from lbcore.discovery.evidence import Evidence, Verdict, was_good

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings import PoolSettings

KEPT = "kept"
"""How the reason of a backend begins that only the panic holds up."""
HELD_LATE = Verdict("up", f"{KEPT}: nobody else is usable (probes time out)")
"""The verdict of a backend that is only late, of a pool in outage."""


def window_s(rules: PoolSettings) -> float:
    """Failures within so many seconds happened at once: as long as one failure takes to be noticed everywhere."""
    probe = rules.probe
    return float(max(1.0, (probe.fall * probe.interval_ms * 1.2 + probe.timeout_ms) / 1000))


def doubts(up: int, lost: int) -> bool:
    """Do so many that were lost at once, beside so many that are up, speak against the balancer rather than against them?"""
    return lost > up


def is_lost(evidence: Evidence, verdict: Verdict) -> bool:
    """Is it out for a reason that a fault of the balancer's own might look like? A refused connection is none: somebody said
    so. Nor is an ejection: others served while it did not."""
    return bool(verdict.state == "down" and evidence.dead and not evidence.hard)


def keep(
    pool: Iterable[tuple[Evidence, Verdict]], rules: PoolSettings, *, usable: bool | None = None, doubting: bool = False
) -> dict[int, Verdict]:
    """Whom the panic holds up: changed verdicts by position. usable: can anybody be picked? None: whoever is up can.

    With nobody usable: all that died together with the last, and those that are only late, whatever the evidence; they were the
    last good set. Who was never good is not among them. With somebody: while the balancer doubts itself, those that were lost
    together (`is_lost`). It begins to when `doubts` says so, and stops after `window_s`: by then the same would have been
    noticed again. A pool that refuses when there is nobody holds nobody up.
    """
    if rules.when_none == "refuse":
        return {}
    entries = list(pool)
    dead = [
        (at, evidence, verdict)
        for at, (evidence, verdict) in enumerate(entries)
        if verdict.state == "down" and was_good(evidence, rules) and not evidence.unresolved
    ]
    if usable is None:
        usable = any(verdict.state == "up" for _, verdict in entries)
    since = max((_since(evidence) for _, evidence, _ in dead), default=0.0) - window_s(rules)
    recent = [(at, evidence, verdict) for at, evidence, verdict in dead if _since(evidence) >= since]
    if not usable:
        late = (at for at, (evidence, verdict) in enumerate(entries) if is_late(evidence, verdict))
        return {at: held(verdict) for at, _, verdict in recent} | dict.fromkeys(late, HELD_LATE)
    return {at: doubted(verdict) for at, evidence, verdict in recent if doubting and is_lost(evidence, verdict)}


def held(verdict: Verdict) -> Verdict:
    """The verdict of a backend that was among the last good ones of a pool in outage."""
    return Verdict("up", f"{KEPT}: every usable backend of the pool failed at once ({verdict.reason})")


def unheld(reason: str) -> str:
    """What a backend's own evidence says, of the reason of one that is kept."""
    _, _, own = reason.partition(" (")
    return own.removesuffix(")") or reason


def doubted(verdict: Verdict) -> Verdict:
    """The verdict of a backend that was lost together with most of its pool."""
    return Verdict("up", f"{KEPT}: more than half of the pool failed at once ({verdict.reason})")


def is_late(evidence: Evidence, verdict: Verdict) -> bool:
    """Do its probes time out while requests succeed?"""
    return bool(verdict.state == "busy" and evidence.late_until and evidence.declared != "busy")


def _since(evidence: Evidence) -> float:
    return max(evidence.died_at, evidence.flapped_at)
