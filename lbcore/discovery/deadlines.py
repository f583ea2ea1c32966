"""When each backend is to be looked at next, for what time alone may change of it."""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Deadlines:
    """The earliest time of each: who looks then asks for the next. Heartbeats, which only put an end off, cost nothing here.

    wanted: when somebody looks by what he was told; None: not at all. sooner: called when that turns out to be too late.
    """

    def __init__(self, sooner: Callable[[], None]) -> None:
        self.wanted: float | None = None
        self._sooner = sooner
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    def plan(self, when: float, name: str) -> None:
        """Look at it by then."""
        if when < self._at.get(name, float("inf")):
            self._at[name] = when
            heapq.heappush(self._heap, (when, name))
            self.wake_by(when)

    def wake_by(self, when: float) -> None:
        """Look by then, at whatever it is."""
        if self.wanted is None or when < self.wanted:
            self.wanted = when
            self._sooner()

    def take(self, now: float) -> list[str]:
        """Whose time has come; each has no deadline any more."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, name = heapq.heappop(self._heap)
            if self._at.get(name) == when:
                del self._at[name]
                due.append(name)
        return due

    def forget(self, name: str) -> None:
        """It has left."""
        self._at.pop(name, None)

    @property
    def first(self) -> float | None:
        """When the next look is due."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
