"""Policies that compare what is under way, written apart from csrc/table/policy.c: whom each of them picks, by exact fractions.

random      any turn of the schedule
p2c         two different ones, of these the less busy (Mitzenmacher, "The power of two choices", 2001)
least_conn  any of the least busy
ewma        two different ones, of these that with the lower peak EWMA of latency times what is under way (Twitter's Finagle)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .xorshift import Draws

TAU_S = 10
"""Of a peak EWMA, as Finagle has it; here and ten times the latency, so that answers that take long are remembered."""


def busy(under_way: int, weight: int) -> Fraction:
    """Sessions per weight."""
    return Fraction(under_way, weight)


def random(turns: Sequence[int], draws: Draws) -> int:
    """A member."""
    return turns[draws.below(len(turns))]


def better_of_two(turns: Sequence[int], draws: Draws, burden: Callable[[int], Fraction | float]) -> int:
    """A member: of two different ones, where there are two, the first where they are even."""
    one, other = random(turns, draws), random(turns, draws)
    for _ in range(16):
        if other != one or len(set(turns)) == 1:
            break
        other = random(turns, draws)
    return other if burden(other) < burden(one) else one


def least_busy(under_way: Sequence[int], weights: Sequence[int]) -> set[int]:
    """Members whom least_conn may pick."""
    burdens = [busy(count, weight) for count, weight in zip(under_way, weights, strict=True)]
    return {member for member, burden in enumerate(burdens) if burden == min(burdens)}


@dataclass
class Peak:
    """The peak EWMA of one backend's latencies: a slow answer counts at once, and is forgotten by and by."""

    us: float = 0
    at_s: float = 0
    long_run_us: int = 0
    """Its mean, of which an eighth is new each time."""

    def left(self, at_s: float) -> float:
        """The share of it that is not forgotten."""
        return math.exp(-max(0, at_s - self.at_s) / (TAU_S + 10 * self.long_run_us / 1e6))

    def saw(self, latency_us: int, at_s: float) -> None:
        """Take a latency in."""
        self.long_run_us = (7 * self.long_run_us + latency_us) // 8 if self.us else latency_us
        left = self.left(at_s)
        self.us = latency_us if latency_us >= left * self.us else left * self.us + (1 - left) * latency_us
        self.at_s = at_s
