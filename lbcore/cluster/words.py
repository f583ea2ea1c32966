"""JSON values of a store, read part by part: what is not as we would have written it is refused as a whole."""

from __future__ import annotations

import json

from lbcore.cluster.stamp import Stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 16 << 10
MOST_TEXT = 256


class NotOurs(ValueError):
    """A value that no lbcore has written, or that was damaged."""


class Words:
    """The members of a JSON object. Each of its methods raises NotOurs."""

    def __init__(self, value: bytes) -> None:
        if len(value) > MOST_BYTES:
            raise NotOurs(f"{len(value)} bytes")
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            raise NotOurs("no JSON") from None
        if not isinstance(document, dict):
            raise NotOurs("no JSON object")
        self._document: dict[str, Any] = document

    def text(self, name: str, *, allowed: tuple[str, ...] = ()) -> str:
        """A printable text; allowed: what it may be, if that is fixed."""
        found = self._document.get(name)
        if not isinstance(found, str) or len(found) > MOST_TEXT or not (found == "" or found.isprintable()):
            raise NotOurs(f"{name}: {found!r:.80}")
        if allowed and found not in allowed:
            raise NotOurs(f"{name}: {found!r:.80}")
        return found

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number."""
        found = self._document.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise NotOurs(f"{name}: {found!r:.80}")
        return found

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number, or none."""
        found = self._document.get(name)
        if found is None:
            return None
        if not isinstance(found, int | float) or isinstance(found, bool) or not low <= found <= high:
            raise NotOurs(f"{name}: {found!r:.80}")
        return float(found)

    def truth(self, name: str) -> bool:
        """True or false."""
        found = self._document.get(name)
        if not isinstance(found, bool):
            raise NotOurs(f"{name}: {found!r:.80}")
        return found

    def pair(self, name: str, *most: int) -> tuple[int, ...] | None:
        """Whole numbers from 0 to each of most; None: it is no list."""
        found = self._document.get(name)
        if not isinstance(found, list):
            return None
        good = len(found) == len(most) and all(
            type(one) is int and 0 <= one <= top for one, top in zip(found, most, strict=True)
        )
        if not good:
            raise NotOurs(f"{name}: {found!r:.80}")
        return tuple(found)

    def stamp(self, name: str = "stamp") -> Stamp:
        """A pair of milliseconds and a node's name."""
        found = self._document.get(name)
        if not isinstance(found, list) or len(found) != 2:
            raise NotOurs(f"{name}: {found!r:.80}")
        ms, node = found
        if not isinstance(ms, int) or isinstance(ms, bool) or not 0 < ms < 1 << 62 or not isinstance(node, str):
            raise NotOurs(f"{name}: {found!r:.80}")
        return Stamp(ms, node[:MOST_TEXT])

    def inner(self, name: str) -> Words | None:
        """An object within, if there is one."""
        found = self._document.get(name)
        if found is None:
            return None
        return Words(json.dumps(found).encode())


def written(**members: object) -> bytes:
    """As `Words` reads it."""
    return json.dumps(members, separators=(",", ":")).encode()
