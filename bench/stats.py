"""Medians, spreads, ratios and verdicts: pure functions over the samples of a document (see run.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Sample = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some values, and how many there were."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Verdict:
    """How lbcore did. `spread`: of the ratios round by round, or of the figure for an absolute goal."""

    state: Literal["met", "missed", "not measured"]
    spread: Spread | None = None
    rounds_met: int = 0
    note: str = ""


def spread(values: list[float]) -> Spread | None:
    """None when there are no values."""
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def values(samples: list[Sample], target: str, metric: str) -> dict[int, float]:
    """round → figure, of the samples that did not fail."""
    good = (s for s in samples if s["target"] == target and s["ok"] and metric in s["figures"])
    return {sample["round"]: sample["figures"][metric] for sample in good}


def subject(names: Iterable[str]) -> str:
    """The target that the others are compared with: lbcore, as this scenario runs it first."""
    return next((name for name in names if name.startswith("lbcore")), "lbcore")


def ratios(samples: list[Sample], metric: str, better: str, rivals: list[str], target: str = "lbcore") -> list[float]:
    """`target` over the best rival, round by round; without the rounds in which a side has no figure."""
    best = min if better == "lower" else max
    rival_values = [values(samples, rival, metric) for rival in rivals]
    found = []
    for number, value in sorted(values(samples, target, metric).items()):
        others = [by_round[number] for by_round in rival_values if number in by_round]
        if others and best(others) > 0:
            found.append(value / best(others))
    return found


def alike(samples: list[Sample], metric: str, better: str, rivals: list[str], target: str) -> dict[str, Spread]:
    """What the reading of `ratios` makes of each rival: it over the best of `target` and the other rivals, round by round.

    The best of several is known only after the round, so where rounds scatter, equals come out worse than 1, each of them.
    """
    found = {}
    for rival in rivals:
        others = [target, *(other for other in rivals if other != rival)]
        measured = spread(ratios(samples, metric, better, others, rival))
        if measured:
            found[rival] = measured
    return found


def series(document: dict[str, Any], sweep: str, mode: str, metric: str) -> dict[str, list[tuple[int, Spread]]]:
    """target → (the number that grows, its figures there), without the points where it has none."""
    found: dict[str, list[tuple[int, Spread]]] = {}
    for part in document["scenarios"]:
        if (part.get("sweep"), part.get("mode")) == (sweep, mode):
            for target in dict.fromkeys(sample["target"] for sample in part["samples"]):
                measured = spread(list(values(part["samples"], target, metric).values()))
                found.setdefault(target, []).extend([(part["at"], measured)] if measured else [])
    return {target: points for target, points in found.items() if points}


def rivals(names: Iterable[str]) -> list[str]:
    """Those of these targets with which lbcore is compared."""
    return [name for name in dict.fromkeys(names) if name != "direct" and not name.startswith("lbcore")]


@dataclass(frozen=True)
class Worse:
    """A figure in which lbcore is not the best. `factor`: how many times worse, round by round; above 1 in its median."""

    scenario: str
    metric: str
    rival: str
    factor: Spread
    rounds: int


def worse(document: dict[str, Any]) -> list[Worse]:
    """All of them, the worst first. The rival is the one that was best most often."""
    found = []
    for part in document["scenarios"]:
        names = [sample["target"] for sample in part["samples"]]
        for metric in part["metrics"]:
            factors = _factors(part["samples"], metric, rivals(names), subject(names))
            measured = spread(factors)
            if measured and measured.median > 1:
                rival = _usual_best(part["samples"], metric, rivals(names))
                rounds = sum(factor > 1 for factor in factors)
                found.append(Worse(part["title"], metric["title"], rival, measured, rounds))
    return sorted(found, key=lambda one: -one.factor.median)


def _factors(samples: list[Sample], metric: dict[str, Any], others: list[str], ours: str) -> list[float]:
    found = ratios(samples, metric["key"], metric["better"], others, ours)
    return found if metric["better"] == "lower" else [1 / ratio for ratio in found if ratio > 0]


def _usual_best(samples: list[Sample], metric: dict[str, Any], others: list[str]) -> str:
    best = min if metric["better"] == "lower" else max
    figures = {rival: values(samples, rival, metric["key"]) for rival in others}
    rounds = {number for by_round in figures.values() for number in by_round}
    wins = [best((by[number], name) for name, by in figures.items() if number in by)[1] for number in rounds]
    return max(sorted(set(wins)), key=wins.count)


def verdict(scenario: dict[str, Any], goal: dict[str, Any]) -> Verdict:
    """The median decides. A rival that is absent is named in the note."""
    samples = scenario["samples"]
    ours = goal.get("target") or subject(sample["target"] for sample in samples)
    better = next(m["better"] for m in scenario["metrics"] if m["key"] == goal["metric"])
    present = [rival for rival in goal["rivals"] if values(samples, rival, goal["metric"])]
    if goal["rivals"]:
        found = ratios(samples, goal["metric"], better, present, ours)
    else:
        found = list(values(samples, ours, goal["metric"]).values())
    measured = spread(found)
    absent = [rival for rival in goal["rivals"] if rival not in present]
    note = f"without {' and '.join(absent)}" if absent else ""
    if measured is None:
        return Verdict("not measured", note=scenario["skipped"].get(ours, note))
    met = [_reaches(value, goal["limit"], better) for value in found]
    state: Literal["met", "missed"] = "met" if _reaches(measured.median, goal["limit"], better) else "missed"
    return Verdict(state, measured, sum(met), note)


def _reaches(value: float, limit: float, better: str) -> bool:
    return value <= limit if better == "lower" else value >= limit
