"""When each backend is to be looked at next, for what time alone may change of it."""

from __future__ import annotations

import heapq


class Agenda:
    """The earliest time of each: who looks then asks for the next. Heartbeats, which only put an end off, cost nothing here."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    def add(self, when: float, name: str) -> bool:
        """Look at it by then. Is that sooner than it would have been?"""
        if when >= self._at.get(name, float("inf")):
            return False
        self._at[name] = when
        heapq.heappush(self._heap, (when, name))
        return True

    def take(self, now: float) -> list[str]:
        """Whose time has come; each is off the agenda."""
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
