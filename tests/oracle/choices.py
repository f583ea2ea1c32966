"""Policies that draw, compare, or do both, written apart from csrc/table/policy.c: whom each of them picks, by exact fractions.

They stand together because they are two steps: p2c and ewma are the same comparison of two draws of `random`, by other burdens.

random      any turn of the schedule
p2c         two different ones, of these the less busy (Mitzenmacher, "The power of two choices", 2001)
least_conn  any of the least busy
ewma        two different ones, of these that with the lower peak EWMA of latency (ewma.py) times what is under way
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .xorshift import Draws


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
