"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Each twice as long as the last, from first_s to longest_s, and cut by up to half at random, so that those who failed
    together do not come back together."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def next(self) -> float:
        """Seconds to wait now."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s * random.uniform(0.5, 1.0)

    def begin_anew(self) -> None:
        """It went well: the next pause is a first one."""
        self._next_s = self._first_s

    def lengthen(self) -> None:
        """Trying again soon would change nothing: from now on they are the longest."""
        self._next_s = self._longest_s
