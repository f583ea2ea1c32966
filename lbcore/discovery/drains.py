"""What operators have drained, by address: it stays drained when the backend goes and comes again, and over a restart."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 10_000
"""Addresses that are remembered; beyond it those drained first are forgotten."""


class Drains:
    """Pairs of pool and address. An operator's `ready` or `remove` ends a drain, and nothing else does."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], None] = {}

    def add(self, pool: str, address: str) -> None:
        """An operator drains it."""
        self._marks.pop((pool, address), None)
        self._marks[pool, address] = None
        while len(self._marks) > MOST:
            del self._marks[next(iter(self._marks))]

    def discard(self, pool: str, address: str) -> None:
        """An operator is done with that."""
        self._marks.pop((pool, address), None)

    def __contains__(self, mark: tuple[str, str]) -> bool:
        return mark in self._marks

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Pool and address of each, in the order in which they were drained."""
        return iter(list(self._marks))
