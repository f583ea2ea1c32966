"""The rules of health, pure: what was seen of a backend goes in, a state and its reason come out. No clock, no sockets.

`note_*` add to the evidence; `judge` reads it. What concerns a pool as a whole is in `panic` and `outliers`.
Times are monotonic seconds.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import PoolSettings


class Verdict(NamedTuple):
    """A state of lbcore.engine.codes.STATES, and why, in words."""

    state: str
    reason: str


TOLD_EVERY_S = 60.0
"""That a probe speaks for a backend whose responses fail is told at most so often."""
REFUSED = "connection refused"
DRAINED = "drained by an operator"
UNSEEN = "no probe has succeeded yet"
DEAD_BEFORE = "it was down before"


class Suspicion(enum.Enum):
    """What failed responses in a row call for."""

    EJECT = enum.auto()
    PROBE = enum.auto()
    NOTHING = enum.auto()


class Evidence:
    """What is known of one backend.

    leased: it registered itself. proven: it has answered well at least once. probation: it is known from before a restart
    only. dead: failures took it out; `death` says which, `died_at` when, `hard` that its host refused the connection, which
    no fault of the balancer's own looks like. flaps: how often that happened lately, as of flapped_at; hold_until: before
    that it does not come back. ejected_until, ejection: likewise for one that is worse than the others. declared: what it
    says of itself: ready, starting, busy or draining. unresolved: why its name has no address, "" if it has one.
    late_until: its probes time out, but requests succeed. drained: an operator said so. suspicion: its responses failed in a
    row, as of suspected_at, and its next probe decides. trusted_until: a probe has spoken for it. cleared_at: when that was
    last told.
    """

    __slots__ = (
        "bad_probes",
        "busy_until",
        "cleared_at",
        "dead",
        "death",
        "declared",
        "died_at",
        "drained",
        "ejected_until",
        "ejection",
        "flapped_at",
        "flaps",
        "good_probes",
        "hard",
        "hold_until",
        "late_until",
        "lease_until",
        "leased",
        "probation",
        "proven",
        "suspected_at",
        "suspicion",
        "trusted_until",
        "unresolved",
    )

    def __init__(self, *, leased: bool = False, probation: bool = False) -> None:
        self.leased: bool = leased
        self.probation: bool = probation
        self.proven: bool = False
        self.dead: bool = False
        self.hard: bool = False
        self.death: str = ""
        self.died_at: float = 0.0
        self.flaps: float = 0.0
        self.flapped_at: float = 0.0
        self.hold_until: float = 0.0
        self.ejected_until: float = 0.0
        self.ejection: str = ""
        self.good_probes: int = 0
        self.bad_probes: int = 0
        self.declared: str = "ready"
        self.busy_until: float = 0.0
        self.late_until: float = 0.0
        self.drained: bool = False
        self.unresolved: str = ""
        self.lease_until: float | None = None
        self.suspicion: str = ""
        self.suspected_at: float = 0.0
        self.trusted_until: float = 0.0
        self.cleared_at: float = -TOLD_EVERY_S


def recalled(verdict: Verdict, rules: PoolSettings, now: float, *, leased: bool, dead: bool, proven: bool) -> Evidence:
    """What a verdict that another control plane reached a moment ago means for one that knows nothing else.

    dead, proven: of its evidence, which the verdict may hide.
    """
    evidence = Evidence(leased=leased)
    evidence.proven = proven
    evidence.probation = verdict.state == "up" and rules.initial == "down"
    down = verdict.state == "down" and verdict.reason != UNSEEN
    if dead or down:
        evidence.dead, evidence.died_at = True, now
        evidence.death = verdict.reason if down else DEAD_BEFORE
    if verdict.state == "busy":
        evidence.declared, evidence.busy_until = "busy", now + rules.lease.length_ms / 1000
    elif verdict.state == "draining":
        evidence.drained = verdict.reason == DRAINED
        evidence.declared = "ready" if evidence.drained else "draining"
    return evidence


def was_good(evidence: Evidence, rules: PoolSettings) -> bool:
    """Did a probe ever succeed? Of a pool without probes every backend counts as one that was good."""
    return evidence.proven or rules.probe.kind == "off"


def note_ready(evidence: Evidence, rules: PoolSettings) -> None:
    """An operator's drain is over. Meanwhile nobody probed it, so in a pool whose backends begin "down" it begins anew."""
    evidence.drained = False
    if rules.initial == "down" and not evidence.dead:
        evidence.proven = evidence.probation = False
        evidence.good_probes = evidence.bad_probes = 0


def times(count: int, what: str) -> str:
    """ "1 probe", "3 probes"."""
    return f"1 {what}" if count == 1 else f"{count} {what}s"


# --- flaps -----------------------------------------------------------------------------------------------------------


def flaps_at(evidence: Evidence, rules: PoolSettings, now: float) -> float:
    """Recent failures: each counts half after every hold_down_max without another."""
    age = max(0.0, now - evidence.flapped_at)
    return float(evidence.flaps * 0.5 ** (age * 1000 / rules.hold_down_max_ms))


def hold_s(flaps: float, rules: PoolSettings) -> float:
    """How long a backend stays out after so many: 0 after the first, hold_down after two, then 3, 7, ... times it."""
    most = rules.hold_down_max_ms / 1000
    return min(most, rules.hold_down_ms / 1000 * (2 ** min(flaps - 1, 40) - 1)) if flaps > 1 else 0.0


def _flap(evidence: Evidence, rules: PoolSettings, now: float) -> float:
    """One more: how long it holds."""
    evidence.flaps = flaps_at(evidence, rules, now) + 1
    evidence.flapped_at = now
    return hold_s(evidence.flaps, rules)


def _die(evidence: Evidence, why: str, rules: PoolSettings, now: float, *, hard: bool) -> None:
    if not evidence.dead:
        evidence.died_at = now
        evidence.hold_until = now + _flap(evidence, rules, now)
        evidence.hard = hard
    evidence.hard = evidence.hard or hard
    evidence.dead = True
    evidence.death = why
    evidence.good_probes = 0
    evidence.probation = False


def _revive(evidence: Evidence) -> None:
    evidence.dead = evidence.hard = False
    evidence.proven = True


# --- what was seen ----------------------------------------------------------------------------------------------------


def note_good_probe(evidence: Evidence, rules: PoolSettings, now: float) -> None:
    """`rise` good probes in a row bring a dead backend back, not before its hold-down is over; one proves a new one."""
    evidence.bad_probes = 0
    evidence.good_probes += 1
    evidence.late_until = 0.0
    evidence.probation = False
    if not evidence.dead or (evidence.good_probes >= rules.probe.rise and now >= evidence.hold_until):
        _revive(evidence)


def note_bad_probe(
    evidence: Evidence, detail: str, rules: PoolSettings, now: float, *, late: bool = False, served_at: float = 0.0
) -> None:
    """`fall` bad probes in a row take a backend out. One alone never does, unless fall is 1 or it is on probation.

    late: it timed out. served_at: when it last answered a request, 0: never. One that answers requests while probes time out is
    busy, not dead: such probes do not count.
    """
    evidence.good_probes = 0
    if late and not evidence.dead and served_at and now - served_at <= served_window_s(rules):
        evidence.late_until = now + served_window_s(rules)
        return
    evidence.bad_probes += 1
    if evidence.bad_probes >= rules.probe.fall or evidence.probation:
        why = f"{times(evidence.bad_probes, 'probe')} failed: {detail}"
        _die(evidence, why, rules, now, hard=REFUSED in detail)


def served_window_s(rules: PoolSettings) -> float:
    """A response not older than this speaks for a backend whose probe timed out."""
    return float((rules.probe.interval_ms * 1.2 + rules.probe.timeout_ms) / 1000)


def note_connects_failed(evidence: Evidence, count: int, detail: str, rules: PoolSettings, now: float) -> None:
    """Connect failures in a row on the data path take a backend out at once."""
    why = f"{times(count, 'connect')} failed in a row: {detail}"
    _die(evidence, why, rules, now, hard=REFUSED in detail)


def note_retry_due(evidence: Evidence, rules: PoolSettings, now: float) -> None:
    """What time alone brings back: without probes a dead backend, whose next sessions are its trial; with them one whose
    hold-down was all that kept it out."""
    if not evidence.dead or now < evidence.hold_until:
        return
    if rules.probe.kind == "off":
        if now >= evidence.died_at + rules.retry_after_ms / 1000:
            _revive(evidence)
    elif evidence.good_probes >= rules.probe.rise:
        _revive(evidence)


def eject(evidence: Evidence, why: str, rules: PoolSettings, now: float) -> None:
    """It is alive, but worse than the others: out for the ejection time, longer when that follows other failures."""
    evidence.ejection = why
    evidence.ejected_until = now + rules.outlier.ejection_ms / 1000 + _flap(evidence, rules, now)


def note_responses_failed(evidence: Evidence, why: str, rules: PoolSettings, now: float) -> Suspicion:
    """Responses failed in a row. A probe that asks the application decides what that means: it may be one broken page. Other
    probes prove too little."""
    if rules.probe.kind not in ("http", "grpc"):
        return Suspicion.EJECT
    if now < evidence.trusted_until:
        return Suspicion.NOTHING
    if not evidence.suspicion:
        evidence.suspicion, evidence.suspected_at = why, now
        return Suspicion.PROBE
    if now >= evidence.suspected_at + served_window_s(rules):  # no probe came to an end: nothing speaks for it
        evidence.suspicion = ""
        return Suspicion.EJECT
    return Suspicion.NOTHING


def settle_suspicion(evidence: Evidence, ok: bool, began: float, rules: PoolSettings, now: float) -> str:
    """A probe that began then has ended: what the backend was suspected of, "" when that probe says nothing of it.

    A good one speaks for the backend for an interval.
    """
    if not evidence.suspicion or began < evidence.suspected_at:
        return ""
    why, evidence.suspicion = evidence.suspicion, ""
    if ok:
        evidence.trusted_until = now + max(1.0, rules.probe.interval_ms / 1000)
    return why


def is_told(evidence: Evidence, now: float) -> bool:
    """May it be told that a probe speaks for the backend, or was it lately?"""
    if now < evidence.cleared_at + TOLD_EVERY_S:
        return False
    evidence.cleared_at = now
    return True


def lease_is_over(evidence: Evidence, now: float) -> bool:
    """Have heartbeats been missed for the length of the lease?"""
    return evidence.lease_until is not None and now >= evidence.lease_until


# --- the verdict ------------------------------------------------------------------------------------------------------


def judge(evidence: Evidence, rules: PoolSettings, now: float) -> Verdict:
    """The state that a backend's own evidence calls for. The strongest word comes first."""
    if evidence.drained:
        return Verdict("draining", DRAINED)
    if evidence.unresolved:
        return Verdict("down", evidence.unresolved)
    if lease_is_over(evidence, now):
        return Verdict("draining", f"{times(rules.lease.missed, 'heartbeat')} missed")
    if evidence.declared == "draining":
        return Verdict("draining", "the backend says that it is draining")
    if evidence.declared == "busy" and now < evidence.busy_until:
        return Verdict("busy", "the backend says that it is busy")
    if evidence.dead:
        return Verdict("down", _death(evidence, rules, now))
    if now < evidence.ejected_until:
        return Verdict("down", evidence.ejection)
    if now < evidence.late_until:
        return Verdict("busy", "probes time out, but requests succeed")
    if evidence.declared == "starting":
        return Verdict("starting", "the backend says that it is starting")
    return _alive(evidence, rules)


def _alive(evidence: Evidence, rules: PoolSettings) -> Verdict:
    if evidence.probation and (evidence.proven or rules.initial == "up" or rules.probe.kind == "off"):
        return Verdict("up", "on probation: known from before the restart")
    if evidence.proven:
        return Verdict("up", "probes succeed" if rules.probe.kind != "off" else "not probed")
    if rules.probe.kind == "off":
        return Verdict("up", "registered, not probed" if evidence.leased else "configured, not probed")
    if evidence.leased:
        return Verdict("starting", "registered, not probed yet")
    if rules.initial == "down":
        return Verdict("down", UNSEEN)
    return Verdict("up", "configured, not probed yet")


def _death(evidence: Evidence, rules: PoolSettings, now: float) -> str:
    """Why it is out, with what speaks against that."""
    words = [evidence.death]
    if evidence.good_probes >= rules.probe.rise and now < evidence.hold_until:
        words.append(f"probes succeed again, held down after {evidence.flaps:.0f} failures")
    elif evidence.lease_until is not None:
        words.append("it still sends heartbeats")
    return "; ".join(words)


def next_change(evidence: Evidence, rules: PoolSettings, now: float) -> float | None:
    """When time alone may change the verdict next, leases apart."""
    ends = [evidence.busy_until, evidence.late_until, evidence.ejected_until]
    if evidence.dead:
        ends += [evidence.hold_until, evidence.died_at + rules.retry_after_ms / 1000 if rules.probe.kind == "off" else 0.0]
    return min((end for end in ends if end > now), default=None)
