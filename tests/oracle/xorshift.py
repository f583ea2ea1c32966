"""Draws of the policies that throw dice, written apart from csrc/core/random.h.

xorshift64* of Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016). A number below a bound is the
upper half, multiplied and shifted (Lemire, "Fast random integer generation in an interval", 2019, without its rejection).
"""

from __future__ import annotations

MASK = (1 << 64) - 1


class Draws:
    """A worker's dice."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, bound: int) -> int:
        """A number from 0 to the bound, without it."""
        x = self._state
        x ^= x >> 12
        x ^= x << 25 & MASK
        x ^= x >> 27
        self._state = x
        return ((x * 0x2545F4914F6CDD1D & MASK) >> 32) * bound >> 32
