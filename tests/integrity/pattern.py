"""Bytes that know where they belong: one that is lost, doubled or swapped names itself."""

from __future__ import annotations

from array import array

CELL = 8
CELLS = 1_000_003
"""Of the ring: a prime, so that no buffer, pipe or window goes round with it."""
_ODD = 0x9E3779B97F4A7C15
"""Knuth's multiplicative hash (TAOCP 6.4): odd, so it can be undone, and all eight bytes of a cell are spread."""
_INVERSE = pow(_ODD, -1, 1 << 64)
_APART = 123_457 * CELL
"""Between the beginnings of two streams."""

_RING = array("Q", ((number * _ODD) & 0xFFFFFFFFFFFFFFFF for number in range(CELLS))).tobytes()


class Wrong(AssertionError):
    """Bytes that are not what belongs there."""


class Stream:
    """An endless stream of bytes of its own. number: which one. name: who sends it, for complaints."""

    def __init__(self, number: int, name: str = "") -> None:
        self.name = name or f"stream {number}"
        self._base = number * _APART % len(_RING)

    def piece(self, at: int, most: int) -> memoryview:
        """The bytes from `at` on, without a copy: at most so many, fewer where the ring begins anew."""
        begin = (self._base + at) % len(_RING)
        return memoryview(_RING)[begin : begin + most]

    def bytes_at(self, at: int, count: int) -> bytes:
        """Exactly so many bytes from `at` on."""
        first = bytes(self.piece(at, count))
        while len(first) < count:
            first += self.piece(at + len(first), count - len(first))
        return first

    def check(self, at: int, data: bytes | memoryview) -> None:
        """Raise Wrong where data is not what belongs at `at`, and say what it is instead."""
        data = bytes(data)
        if data == self.bytes_at(at, len(data)):
            return
        wanted = self.bytes_at(at, len(data))
        first = next(index for index, pair in enumerate(zip(data, wanted, strict=True)) if pair[0] != pair[1])
        raise Wrong(f"{self.name}: at byte {at + first} came {self._what_is(data[first:], at + first)}")

    def _what_is(self, data: bytes, at: int) -> str:
        for skip in range(min(CELL, len(data) - CELL + 1)):
            number = int.from_bytes(data[skip : skip + CELL], "little") * _INVERSE & 0xFFFFFFFFFFFFFFFF
            if number < CELLS:
                shift = (number * CELL - skip - self._base - at) % len(_RING)
                return (
                    f"what belongs at {at + shift}, {shift} later"
                    if shift < len(_RING) // 2
                    else (f"what belongs {len(_RING) - shift} bytes before it, or to another stream")
                )
        return f"what nobody sent: {data[:CELL].hex()}"
