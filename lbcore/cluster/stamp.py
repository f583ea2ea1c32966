"""When something was said, so that every node finds the same last word: a hybrid logical clock.

Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases", 2014: the clock on the
wall, pushed on by every stamp that is seen. Who has seen a word and answers it is later, however the clocks differ.
"""

from __future__ import annotations

from typing import NamedTuple

AHEAD_MS = 24 * 3_600_000
"""A stamp so far in the future does not push our clock on: its author's clock is wrong, and would be followed for ever."""


class Stamp(NamedTuple):
    """ms: Unix time in milliseconds, or more. node: decides between equal times."""

    ms: int
    node: str


NEVER = Stamp(0, "")


class StampClock:
    """The stamps of one node: each is later than all that it has seen."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._last_ms = 0

    def see(self, stamp: Stamp, now_ms: int) -> None:
        """Another's stamp."""
        if stamp.ms < now_ms + AHEAD_MS:
            self._last_ms = max(self._last_ms, stamp.ms)

    def next(self, now_ms: int, after: Stamp = NEVER) -> Stamp:
        """A stamp for what is said now. after: the word that it replaces, whatever its clock."""
        self._last_ms = max(now_ms, self._last_ms + 1)
        return Stamp(max(self._last_ms, after.ms + 1), self._node)
