"""The floor under a pool, pure: failures never empty it, and a balancer that sees most of a pool fail at once doubts itself."""

from __future__ import annotations

from lbcore.discovery.evidence import Evidence, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.settings import PoolSettings

KEPT = "kept"
"""How the reason of a backend begins that only the floor holds up."""


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


def keep(pool: Iterable[tuple[Evidence, Verdict]], rules: PoolSettings, *, doubting: bool = False) -> dict[int, Verdict]:
    """Whom the floor holds up: changed verdicts by position.

    With nobody "up": all that died together with the last, and those that are only late, whatever the evidence; they were the
    last good set. With somebody up: while the balancer doubts itself, those that were lost together (`is_lost`). It begins to
    when `doubts` says so, and stops after `window_s`: by then the same would have been noticed again.
    """
    entries = list(pool)
    dead = [
        (at, evidence, verdict)
        for at, (evidence, verdict) in enumerate(entries)
        if verdict.state == "down" and not evidence.unresolved
    ]
    late = [(at, evidence) for at, (evidence, verdict) in enumerate(entries) if _is_late(evidence, verdict)]
    up = sum(verdict.state == "up" for _, verdict in entries)
    since = max((_since(evidence) for _, evidence, _ in dead), default=0.0) - window_s(rules)
    recent = [(at, evidence, verdict) for at, evidence, verdict in dead if _since(evidence) >= since]
    if not up:
        words = "every usable backend of the pool failed at once"
        kept = {at: Verdict("up", f"{KEPT}: {words} ({verdict.reason})") for at, _, verdict in recent}
        return kept | {at: Verdict("up", f"{KEPT}: nobody else is usable (probes time out)") for at, _ in late}
    return {at: doubted(verdict) for at, evidence, verdict in recent if doubting and is_lost(evidence, verdict)}


def doubted(verdict: Verdict) -> Verdict:
    """The verdict of a backend that was lost together with most of its pool."""
    return Verdict("up", f"{KEPT}: more than half of the pool failed at once ({verdict.reason})")


def _is_late(evidence: Evidence, verdict: Verdict) -> bool:
    return bool(verdict.state == "busy" and evidence.late_until and evidence.declared != "busy")


def _since(evidence: Evidence) -> float:
    return max(evidence.died_at, evidence.flapped_at)
