"""What strangers may do to the admin server: calls a second by address, and refusals that are counted."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS = 10_000
"""Addresses that are remembered; with more, the one not heard of for longest is forgotten."""


class Rate:
    """A token bucket for each address: so many calls a second, as many again at once. 0: no limit."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str | None) -> bool:
        """May this address call now? Counts the request."""
        if not self._rate:
            return True
        now, name = self._clock(), caller or ""
        left, at = self._buckets.pop(name, (2.0 * self._rate, now))
        left = min(2.0 * self._rate, left + (now - at) * self._rate)
        self._buckets[name] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        return left >= 1


class Refusals:
    """Counts refused calls by status; says so in the log once a second at most. count: called with what to count."""

    def __init__(
        self, log: Callable[[str], None], count: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._quiet_until = 0.0
        self._unsaid = 0

    def note(self, status: int, caller: str | None, path: str, why: str) -> None:
        """One more."""
        self._count(f"refused_{status}")
        now = self._clock()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} more since the last such line)" if self._unsaid else ""
        self._log(f"admin: refused {caller or 'unix'} {path}: {why} (status {status}){more}")
        self._quiet_until, self._unsaid = now + 1, 0
