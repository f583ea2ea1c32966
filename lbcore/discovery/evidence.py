"""The rules of health, pure: what was seen of a backend goes in, a state and its reason come out. No clock, no sockets.

`note_*` add to the evidence; `judge` reads it; `keep` is the floor under a whole pool. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.settings import PoolSettings

Verdict = namedtuple("Verdict", "state reason", module=__name__)
Verdict.__doc__ = "A state of lbcore.table.STATES, and why, in words."


class Evidence:
    """What is known of one backend.

    leased: it registered itself. proven: it has answered well at least once. dead: failures took it out, `death` says which
    and `died_at` when. declared: what it says of itself: ready, starting, busy or draining. drained: an operator said so.
    """

    __slots__ = (
        "bad_probes",
        "busy_until",
        "dead",
        "death",
        "declared",
        "died_at",
        "drained",
        "good_probes",
        "lease_until",
        "leased",
        "proven",
    )

    def __init__(self, *, leased: bool = False) -> None:
        self.leased = leased
        self.proven = False
        self.dead = False
        self.death = ""
        self.died_at = 0.0
        self.good_probes = 0
        self.bad_probes = 0
        self.declared = "ready"
        self.busy_until = 0.0
        self.drained = False
        self.lease_until: float | None = None


def _times(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _die(evidence: Evidence, why: str, now: float) -> None:
    if not evidence.dead:
        evidence.died_at = now
    evidence.dead = True
    evidence.death = why
    evidence.good_probes = 0


def note_good_probe(evidence: Evidence, rules: PoolSettings) -> None:
    """`rise` good probes in a row bring a dead backend back; one proves a new one."""
    evidence.bad_probes = 0
    evidence.good_probes += 1
    if not evidence.dead or evidence.good_probes >= rules.probe.rise:
        evidence.dead = False
        evidence.proven = True


def note_bad_probe(evidence: Evidence, detail: str, rules: PoolSettings, now: float) -> None:
    """`fall` bad probes in a row take a backend out. One alone never does (unless fall is 1)."""
    evidence.good_probes = 0
    evidence.bad_probes += 1
    if evidence.bad_probes >= rules.probe.fall:
        _die(evidence, f"{_times(evidence.bad_probes, 'probe')} failed: {detail}", now)


def note_connects_failed(evidence: Evidence, count: int, detail: str, now: float) -> None:
    """Connect failures in a row on the data path take a backend out at once."""
    _die(evidence, f"{_times(count, 'connect')} failed in a row: {detail}", now)


def note_answers_failed(evidence: Evidence, count: int, detail: str, now: float) -> None:
    """Failed answers in a row on the data path (5xx, late, broken; never 4xx) take a backend out at once."""
    _die(evidence, f"{_times(count, 'answer')} failed in a row: {detail}", now)


def note_retry_due(evidence: Evidence, rules: PoolSettings, now: float) -> None:
    """Without probes, time alone brings a backend back: the next sessions are its trial."""
    if evidence.dead and rules.probe.kind == "off" and now >= evidence.died_at + rules.retry_after_ms / 1000:
        evidence.dead = False
        evidence.proven = True


def lease_is_over(evidence: Evidence, now: float) -> bool:
    """Have heartbeats been missed for the length of the lease?"""
    return evidence.lease_until is not None and now >= evidence.lease_until


def judge(evidence: Evidence, rules: PoolSettings, now: float) -> Verdict:
    """The state that a backend's own evidence calls for. The strongest word comes first."""
    if evidence.drained:
        return Verdict("draining", "drained by an operator")
    if lease_is_over(evidence, now):
        return Verdict("draining", f"{_times(rules.lease.missed, 'heartbeat')} missed")
    if evidence.declared == "draining":
        return Verdict("draining", "the backend says that it is draining")
    if evidence.declared == "busy" and now < evidence.busy_until:
        return Verdict("busy", "the backend says that it is busy")
    if evidence.dead:
        return Verdict("down", evidence.death)
    if evidence.declared == "starting":
        return Verdict("starting", "the backend says that it is starting")
    if evidence.proven:
        return Verdict("up", "probes succeed" if rules.probe.kind != "off" else "not probed")
    if rules.probe.kind == "off":
        return Verdict("up", "registered, not probed" if evidence.leased else "configured, not probed")
    if evidence.leased:
        return Verdict("starting", "registered, not probed yet")
    return Verdict("up", "configured, not probed yet")


def window_s(rules: PoolSettings) -> float:
    """Failures within so many seconds happened at once: as long as one failure takes to be noticed everywhere."""
    probe = rules.probe
    return max(1.0, (probe.fall * probe.interval_ms * 1.2 + probe.timeout_ms) / 1000)


def keep(pool: Iterable[tuple[Evidence, Verdict]], rules: PoolSettings) -> dict[int, Verdict]:
    """The floor: failures never empty a pool.

    When no verdict of a pool is "up", those whose verdict is "down" and who died together with the last are kept: they were the
    last good set. A balancer that finds everybody dead at once doubts itself. Returns the changed verdicts by position.
    """
    entries = list(pool)
    dead = [(at, evidence) for at, (evidence, verdict) in enumerate(entries) if verdict.state == "down"]
    if not dead or any(verdict.state == "up" for _, verdict in entries):
        return {}
    since = max(evidence.died_at for _, evidence in dead) - window_s(rules)
    return {
        at: Verdict("up", f"{KEPT}: every usable backend of the pool failed at once ({evidence.death})")
        for at, evidence in dead
        if evidence.died_at >= since
    }


KEPT = "kept"
"""How the reason of a backend begins that only the floor holds up."""
