"""The rules of health as tables, and their invariants over generated histories. No clock, no sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbcore.discovery import evidence as rules_of
from lbcore.discovery.evidence import Evidence
from lbcore.settings import LeaseSettings, PoolSettings, ProbeSettings

RULES = PoolSettings(probe=ProbeSettings(rise=2, fall=3, interval="1s", timeout="500ms"), retry_after="10s")
UNPROBED = RULES.replace(probe=ProbeSettings(kind="off"))
NOW = 1000.0


def tell(story: str, *, leased: bool = False, rules: PoolSettings = RULES) -> Evidence:
    """Evidence from a story: g and b for good and bad probes, c for connects that failed."""
    evidence = Evidence(leased=leased)
    for at, event in enumerate(story):
        if event == "g":
            rules_of.note_good_probe(evidence, rules)
        elif event == "b":
            rules_of.note_bad_probe(evidence, "connection refused", rules, NOW + at)
        else:
            rules_of.note_connects_failed(evidence, 3, "connection refused", NOW + at)
    return evidence


@pytest.mark.parametrize(
    ("story", "leased", "state", "reason"),
    [
        ("", False, "up", "configured, not probed yet"),
        ("", True, "starting", "registered, not probed yet"),
        ("g", True, "up", "probes succeed"),
        ("g", False, "up", "probes succeed"),
        ("b", False, "up", "configured, not probed yet"),
        ("gb", False, "up", "probes succeed"),
        ("gbb", False, "up", "probes succeed"),
        ("gbbb", False, "down", "3 probes failed: connection refused"),
        ("gbbbb", False, "down", "4 probes failed: connection refused"),
        ("gbbgbb", False, "up", "probes succeed"),
        ("bbb", True, "down", "3 probes failed: connection refused"),
        ("gbbbg", False, "down", "3 probes failed: connection refused"),
        ("gbbbgg", False, "up", "probes succeed"),
        ("gbbbgbg", False, "down", "3 probes failed: connection refused"),
        ("gbbbgbgg", False, "up", "probes succeed"),
        ("gc", False, "down", "3 connects failed in a row: connection refused"),
        ("gcg", False, "down", "3 connects failed in a row: connection refused"),
        ("gcgg", False, "up", "probes succeed"),
        ("c", True, "down", "3 connects failed in a row: connection refused"),
    ],
)
def test_probes_and_connects(story: str, leased: bool, state: str, reason: str) -> None:
    assert rules_of.judge(tell(story, leased=leased), RULES, NOW) == (state, reason)


@pytest.mark.parametrize(
    ("declared", "busy_for", "drained", "lease_left", "story", "state"),
    [
        ("ready", 0, False, 5, "g", "up"),
        ("busy", 9, False, 5, "g", "busy"),
        ("busy", 9, False, 5, "gbbb", "busy"),  # busy is not dead
        ("busy", 0, False, 5, "g", "up"),  # its time is over
        ("busy", 0, False, 5, "gbbb", "down"),
        ("draining", 0, False, 5, "g", "draining"),
        ("draining", 0, False, 5, "gbbb", "draining"),
        ("starting", 0, False, 5, "g", "starting"),
        ("starting", 0, False, 5, "gbbb", "down"),
        ("ready", 0, True, 5, "g", "draining"),
        ("ready", 0, True, 5, "gbbb", "draining"),
        ("ready", 0, False, 0, "g", "draining"),  # the lease is over
        ("busy", 9, False, 0, "g", "draining"),
    ],
)
def test_what_it_says_of_itself(
    declared: str, busy_for: float, drained: bool, lease_left: float, story: str, state: str
) -> None:
    evidence = tell(story, leased=True)
    evidence.declared, evidence.busy_until, evidence.drained = declared, NOW + busy_for, drained
    evidence.lease_until = NOW + lease_left
    assert rules_of.judge(evidence, RULES, NOW).state == state


def test_missed_heartbeats_are_named() -> None:
    evidence = tell("g", leased=True)
    evidence.lease_until = NOW
    rules = RULES.replace(lease=LeaseSettings(missed=3))
    assert rules_of.judge(evidence, rules, NOW).reason == "3 heartbeats missed"


def test_without_probes_time_brings_a_backend_back() -> None:
    evidence = tell("c", rules=UNPROBED)
    rules_of.note_retry_due(evidence, UNPROBED, NOW + 9.9)
    assert rules_of.judge(evidence, UNPROBED, NOW).state == "down"
    rules_of.note_retry_due(evidence, UNPROBED, NOW + 10)
    assert rules_of.judge(evidence, UNPROBED, NOW).state == "up"


def test_with_probes_time_alone_does_not() -> None:
    evidence = tell("c")
    rules_of.note_retry_due(evidence, RULES, NOW + 1e6)
    assert rules_of.judge(evidence, RULES, NOW).state == "down"


@pytest.mark.parametrize(
    ("deaths", "others", "kept"),
    [
        ([0.0], [], [0]),
        ([0.0, 1.0], [], [0, 1]),  # at once: the last good set is both
        ([0.0, 100.0], [], [1]),  # one long dead, the other was the last good one
        ([0.0, 1.0], ["up"], []),  # somebody serves
        ([0.0], ["busy"], [0]),  # busy takes no new sessions
        ([0.0], ["draining"], [0]),
        ([], ["draining", "busy"], []),  # no failure empties this pool: somebody asked for it
        ([], [], []),
    ],
)
def test_floor(deaths: list[float], others: list[str], kept: list[int]) -> None:
    pool = []
    for at in deaths:
        evidence = Evidence()
        rules_of.note_connects_failed(evidence, 3, "timed out", NOW + at)
        pool.append((evidence, rules_of.judge(evidence, RULES, NOW + 200)))
    pool += [(Evidence(), rules_of.Verdict(state, "")) for state in others]
    changed = rules_of.keep(pool, RULES)
    assert sorted(changed) == kept
    for verdict in changed.values():
        assert verdict.state == "up"
        assert verdict.reason == (
            "kept: every usable backend of the pool failed at once (3 connects failed in a row: timed out)"
        )


stories = st.text(alphabet="gbc", max_size=30)


@given(stories, st.booleans())
def test_one_bad_probe_after_a_good_one_never_ejects(story: str, leased: bool) -> None:
    evidence = tell(story + "gg", leased=leased)
    rules_of.note_bad_probe(evidence, "x", RULES, NOW)
    assert rules_of.judge(evidence, RULES, NOW).state == "up"


@given(stories, st.booleans())
def test_every_backend_returns_with_good_probes(story: str, leased: bool) -> None:
    assert rules_of.judge(tell(story + "g" * RULES.probe.rise, leased=leased), RULES, NOW).state == "up"


@given(st.lists(stories, min_size=1, max_size=8))
def test_failures_never_empty_a_pool(histories: list[str]) -> None:
    pool = [(evidence, rules_of.judge(evidence, RULES, NOW)) for evidence in map(tell, histories)]
    kept = rules_of.keep(pool, RULES)
    states = [kept.get(at, verdict).state for at, (_, verdict) in enumerate(pool)]
    assert "up" in states
    assert all(pool[at][1].state == "down" for at in kept)
