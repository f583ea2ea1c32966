"""Who is missing from one answer is not gone yet: answers rotate, and zones are reloaded. Pure: no clock, no sockets."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.discovery.found import Found

SURE = 2
"""So many answers in a row must lack a backend."""


class Hold:
    """What a source names, and what it named a moment ago.

    hold_s: so long a backend stays that answers lack; 0: it goes at once. known: what was named before this began.
    """

    def __init__(self, hold_s: float, known: Iterable[Found] = ()) -> None:
        self._hold_s = hold_s
        self._present: dict[str, Found] = {one.address: one for one in known}
        self._missed: dict[str, tuple[float, int]] = {}  # since when, and by how many answers

    def take(self, found: Iterable[Found], now: float, most: int) -> list[Found]:
        """An answer came: what is named by it and what is held, in a fixed order, no more than `most`, the answer's first."""
        named = {one.address: one for one in found}
        self._missed = {address: self._miss(address, now) for address in self._present if address not in named}
        held = {address: self._present[address] for address in self._missed if not self._is_over(address, now)}
        self._present = dict(sorted(list((named | held).items())[:most]))
        self._missed = {address: missed for address, missed in self._missed.items() if address in self._present}
        return list(self._present.values())

    def _miss(self, address: str, now: float) -> tuple[float, int]:
        since, count = self._missed.get(address, (now, 0))
        return since, count + 1

    def _is_over(self, address: str, now: float) -> bool:
        since, count = self._missed[address]
        return self._hold_s == 0 or (count >= SURE and now - since >= self._hold_s)

    def left_s(self, now: float) -> float | None:
        """When the next answer is wanted, since somebody may be gone by then; None: nobody is held."""
        return min((max(0.0, since + self._hold_s - now) for since, _ in self._missed.values()), default=None)
