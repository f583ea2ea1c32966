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


def verdict(scenario: dict[str, Any], goal: dict[str, Any]) -> Verdict:
    """The median decides. A rival that is absent is named in the note."""
    samples = scenario["samples"]
    ours = subject(sample["target"] for sample in samples)
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
        return Verdict("not measured", note=note)
    met = [_reaches(value, goal["limit"], better) for value in found]
    state: Literal["met", "missed"] = "met" if _reaches(measured.median, goal["limit"], better) else "missed"
    return Verdict(state, measured, sum(met), note)


def _reaches(value: float, limit: float, better: str) -> bool:
    return value <= limit if better == "lower" else value >= limit
