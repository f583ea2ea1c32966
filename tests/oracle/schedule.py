"""The order of turns, written apart from csrc/table/schedule.c: exact fractions, a sort, no heap."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from math import gcd


def webster(weights: list[int]) -> list[int]:
    """One cycle: member i's k-th turn is due at (k + 1/2) / weight; ties go to the lower index."""
    divisor = reduce(gcd, weights)
    reduced = [weight // divisor for weight in weights]
    turns = [(Fraction(2 * turn + 1, 2 * weight), member) for member, weight in enumerate(reduced) for turn in range(weight)]
    return [member for _, member in sorted(turns)]
