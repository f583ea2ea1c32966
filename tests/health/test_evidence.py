"""The rules of health as tables, and their invariants over generated histories. No clock, no sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbcore.config.settings import LeaseSettings, OutlierSettings, PoolSettings, ProbeSettings
from lbcore.discovery import evidence as rules_of
from lbcore.discovery import outliers, panic
from lbcore.discovery.evidence import Evidence

RULES = PoolSettings(probe=ProbeSettings(rise=2, fall=3, interval="1s", timeout="500ms"), retry_after="10s")
UNPROBED = RULES.replace(probe=ProbeSettings(kind="off"))
NOW = 1000.0
LATER = NOW + 1000


def tell(story: str, *, leased: bool = False, rules: PoolSettings = RULES) -> Evidence:
    """Evidence from a story: g and b for good and bad probes, c for connects that failed."""
    evidence = Evidence(leased=leased)
    for at, event in enumerate(story):
        if event == "g":
            rules_of.note_good_probe(evidence, rules, NOW + at)
        elif event == "b":
            rules_of.note_bad_probe(evidence, "connection refused", rules, NOW + at)
        else:
            rules_of.note_connects_failed(evidence, 3, "connection refused", rules, NOW + at)
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
        rules_of.note_good_probe(evidence, RULES, NOW)
        rules_of.note_connects_failed(evidence, 3, "timed out", RULES, NOW + at)
        pool.append((evidence, rules_of.judge(evidence, RULES, NOW + 200)))
    pool += [(Evidence(), rules_of.Verdict(state, "")) for state in others]
    changed = panic.keep(pool, RULES)
    assert sorted(changed) == kept
    for verdict in changed.values():
        assert verdict.state == "up"
        assert verdict.reason == (
            "kept: every usable backend of the pool failed at once (3 connects failed in a row: timed out)"
        )


stories = st.text(alphabet="gbc", max_size=30)


@given(stories, st.booleans())
def test_one_bad_probe_after_a_good_one_never_ejects(story: str, leased: bool) -> None:
    evidence = tell(story, leased=leased)
    for _ in range(2):
        rules_of.note_good_probe(evidence, RULES, LATER)
    rules_of.note_bad_probe(evidence, "x", RULES, LATER)
    assert rules_of.judge(evidence, RULES, LATER).state == "up"


@given(stories, st.booleans())
def test_every_backend_returns_with_good_probes(story: str, leased: bool) -> None:
    """Once its hold-down, which has an end, is over."""
    evidence = tell(story, leased=leased)
    assert evidence.hold_until <= NOW + len(story) + RULES.hold_down_max_ms / 1000
    for _ in range(RULES.probe.rise):
        rules_of.note_good_probe(evidence, RULES, LATER)
    assert rules_of.judge(evidence, RULES, LATER).state == "up"


@given(stories)
def test_no_flap_is_faster_than_the_hold_down(story: str) -> None:
    evidence = Evidence()
    held = 0.0
    for at, event in enumerate(story):
        was_dead = evidence.dead
        if event == "g":
            rules_of.note_good_probe(evidence, RULES, NOW + at / 10)
        else:
            rules_of.note_connects_failed(evidence, 3, "timed out", RULES, NOW + at / 10)
        if evidence.dead and not was_dead:
            held = evidence.hold_until
        if was_dead and not evidence.dead:
            assert NOW + at / 10 >= held


@given(st.lists(stories, min_size=1, max_size=8), st.booleans())
def test_failures_never_empty_a_pool(histories: list[str], doubting: bool) -> None:
    pool = [(evidence, rules_of.judge(evidence, RULES, NOW)) for evidence in (tell("g" + story) for story in histories)]
    kept = panic.keep(pool, RULES, doubting=doubting)
    states = [kept.get(at, verdict).state for at, (_, verdict) in enumerate(pool)]
    assert "up" in states
    assert all(pool[at][1].state == "down" for at in kept)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8), st.integers(0, 100))
def test_outliers_are_never_all_of_a_pool(counts: list[tuple[int, int]], percent: int) -> None:
    rules = OutlierSettings(max_ejected=percent)
    figures = {str(at): outliers.Figures(good, bad, 0) for at, (good, bad) in enumerate(counts)}
    found = outliers.worse(figures, rules)
    assert min(len(found), rules.may_eject(len(counts))) < max(1, len(counts))
    assert all(sum(figures[name][:2]) >= rules.min_requests for name in found)


# --- hold-down, lateness, ejection, outliers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("deaths", "held"), [(1, 0), (2, 1), (3, 3), (4, 7), (5, 15), (6, 31), (7, 60), (30, 60)])
def test_hold_down_grows_with_each_flap(deaths: int, held: float) -> None:
    assert rules_of.hold_s(deaths, RULES) == held


def test_flaps_decay() -> None:
    evidence = tell("cggcgg")
    assert rules_of.flaps_at(evidence, RULES, evidence.flapped_at) == pytest.approx(2, abs=0.1)
    assert rules_of.flaps_at(evidence, RULES, evidence.flapped_at + 60) == pytest.approx(1, abs=0.1)
    assert rules_of.flaps_at(evidence, RULES, evidence.flapped_at + 600) < 0.01


def test_held_down_says_so_and_comes_back_by_itself() -> None:
    evidence = tell("cggc")
    rules_of.note_good_probe(evidence, RULES, NOW + 3.1)
    rules_of.note_good_probe(evidence, RULES, NOW + 3.2)
    verdict = rules_of.judge(evidence, RULES, NOW + 3.2)
    assert verdict.state == "down"
    assert "probes succeed again, held down after 2 failures" in verdict.reason
    rules_of.note_retry_due(evidence, RULES, evidence.hold_until - 0.01)
    assert evidence.dead
    rules_of.note_retry_due(evidence, RULES, evidence.hold_until)
    assert not evidence.dead


@pytest.mark.parametrize(
    ("late", "served_before", "state"),
    [
        (True, 0.5, "busy"),  # slow, and alive
        (True, 1.6, "busy"),
        (True, 1.8, "down"),  # its last answer is too old to speak for it
        (True, None, "down"),
        (False, 0.5, "down"),  # refused, or a wrong answer: that is no lateness
    ],
)
def test_late_probes_of_one_that_answers_requests(late: bool, served_before: float | None, state: str) -> None:
    evidence = tell("g")
    for _ in range(5):
        served_at = 0.0 if served_before is None else NOW - served_before
        rules_of.note_bad_probe(evidence, "timed out after 0.5s", RULES, NOW, late=late, served_at=served_at)
    assert rules_of.judge(evidence, RULES, NOW).state == state


def test_disagreeing_heartbeats_are_named() -> None:
    evidence = tell("gbbb", leased=True)
    evidence.lease_until = NOW + 5
    assert rules_of.judge(evidence, RULES, NOW).reason == "3 probes failed: connection refused; it still sends heartbeats"


def test_an_ejected_backend_returns_in_time() -> None:
    evidence = tell("g")
    rules_of.eject(evidence, "10 responses failed in a row: status 503", RULES, NOW)
    assert rules_of.judge(evidence, RULES, NOW) == ("down", "10 responses failed in a row: status 503")
    assert rules_of.judge(evidence, RULES, NOW + 10).state == "up"
    rules_of.eject(evidence, "x", RULES, NOW + 10)
    assert rules_of.judge(evidence, RULES, NOW + 20.5).state == "down"  # the second time it takes longer


def test_probation_ends_with_one_bad_probe_or_a_good_one() -> None:
    for good, state in ((True, "up"), (False, "down")):
        evidence = Evidence(leased=True, probation=True)
        assert rules_of.judge(evidence, RULES, NOW).state == "up"
        if good:
            rules_of.note_good_probe(evidence, RULES, NOW)
        else:
            rules_of.note_bad_probe(evidence, "timed out", RULES, NOW)
        assert rules_of.judge(evidence, RULES, NOW).state == state


@pytest.mark.parametrize(
    ("figures", "rules", "found"),
    [
        ({"a": (100, 0, 0), "b": (100, 0, 0)}, {}, []),
        ({"a": (100, 0, 0), "b": (70, 30, 0)}, {}, ["b"]),
        ({"a": (100, 0, 0), "b": (80, 20, 0)}, {}, []),  # not worse enough
        ({"a": (100, 0, 0), "b": (5, 10, 0)}, {}, []),  # too few to compare
        ({"a": (100, 0, 0)}, {}, []),
        ({"a": (0, 100, 0), "b": (0, 100, 0)}, {}, []),  # all are bad: it is not they
        ({"a": (100, 0, 0), "b": (0, 100, 0)}, {"success_gap": 0}, []),
        ({"a": (99, 0, 1000), "b": (99, 0, 1200), "c": (99, 0, 9000)}, {"latency_factor": 5}, ["c"]),
        ({"a": (99, 0, 1000), "b": (99, 0, 1200), "c": (99, 0, 9000)}, {}, []),
        ({"a": (99, 0, 1000), "b": (10, 90, 900), "c": (99, 0, 90000)}, {"latency_factor": 5}, ["b", "c"]),
    ],
)
def test_outliers(figures: dict[str, tuple[int, int, int]], rules: dict[str, int], found: list[str]) -> None:
    pool = {name: outliers.Figures(*values) for name, values in figures.items()}
    assert list(outliers.worse(pool, OutlierSettings(**rules))) == found


@pytest.mark.parametrize(
    ("size", "percent", "most"), [(1, 50, 0), (2, 50, 1), (2, 0, 0), (3, 10, 1), (10, 50, 5), (10, 100, 9)]
)
def test_outliers_that_may_be_ejected(size: int, percent: int, most: int) -> None:
    assert OutlierSettings(max_ejected=percent).may_eject(size) == most


@pytest.mark.parametrize(
    ("why", "up", "doubting", "kept"),
    [
        ("timed out", 1, True, [0, 1]),
        ("timed out", 1, False, []),
        ("connection refused", 1, True, []),  # somebody refused: that is no fault of ours
        ("connection refused", 0, False, [0, 1]),
    ],
)
def test_doubt_keeps_whom_no_answer_came_from(why: str, up: int, doubting: bool, kept: list[int]) -> None:
    pool = []
    for at in (0.0, 1.0):
        evidence = Evidence()
        rules_of.note_good_probe(evidence, RULES, NOW)
        rules_of.note_connects_failed(evidence, 3, why, RULES, NOW + at)
        pool.append((evidence, rules_of.judge(evidence, RULES, NOW + 2)))
    pool += [(Evidence(), rules_of.Verdict("up", ""))] * up
    assert sorted(panic.keep(pool, RULES, doubting=doubting)) == kept


# --- every combination --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probed", [True, False], ids=["probed", "unprobed"])
@pytest.mark.parametrize("leased", [True, False], ids=["leased", "configured"])
@pytest.mark.parametrize("proven", [True, False], ids=["proven", "new"])
@pytest.mark.parametrize("trouble", ["", "dead", "ejected", "late", "dead ejected late"])
@pytest.mark.parametrize("says", ["ready", "starting", "busy", "busy over", "draining"])
@pytest.mark.parametrize("order", ["", "drained", "lease over"])
def test_the_strongest_word_counts(order: str, says: str, trouble: str, proven: bool, leased: bool, probed: bool) -> None:
    """600 cases. From above: an operator, a lease that is over, what it says of leaving or being busy, failures, ejection,
    lateness, what it says of starting; then whether it is proven or need not be."""
    evidence = Evidence(leased=leased)
    evidence.proven, evidence.drained = proven, order == "drained"
    evidence.lease_until = NOW if order == "lease over" else NOW + 5
    evidence.declared, evidence.busy_until = says.partition(" ")[0], NOW + (5 if says == "busy" else 0)
    evidence.dead, evidence.death, evidence.ejection = "dead" in trouble, "it failed", "it is worse"
    evidence.ejected_until = NOW + 5 if "ejected" in trouble else NOW - 1
    evidence.late_until = NOW + 5 if "late" in trouble else NOW - 1
    ladder = [
        (order == "drained", "draining"),
        (order == "lease over", "draining"),
        (says == "draining", "draining"),
        (says == "busy", "busy"),
        ("dead" in trouble, "down"),
        ("ejected" in trouble, "down"),
        ("late" in trouble, "busy"),
        (says == "starting", "starting"),
        (not proven and leased and probed, "starting"),
        (True, "up"),
    ]
    expected = next(state for holds, state in ladder if holds)
    verdict = rules_of.judge(evidence, RULES if probed else UNPROBED, NOW)
    assert verdict.state == expected
    assert verdict.reason
