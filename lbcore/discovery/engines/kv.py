"""What a key-value store has under a prefix, as it is listed and then changes."""

from __future__ import annotations

from lbcore.discovery.engines.entries import MOST_VALUE_BYTES, backends
from lbcore.discovery.found import MOST_ENTRIES, Answer, SourceFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_KEYS = 2 * MOST_ENTRIES


class Entries:
    """Values by key. listed: what a list gave; later changes are told one by one."""

    def __init__(self, listed: Iterable[tuple[str, bytes]] = ()) -> None:
        self._values: dict[str, bytes] = {}
        self._told = False
        for key, value in listed:
            self.put(key, value)
        self._told = False

    def put(self, key: str, value: bytes) -> None:
        """A key has this value now. Raises SourceFailed where there are too many keys."""
        self._values[key] = value[: MOST_VALUE_BYTES + 1]
        self._told = True
        if len(self._values) > MOST_KEYS:
            raise SourceFailed(f"there are more than {MOST_KEYS:,} keys: is the prefix right?")

    def drop(self, key: str) -> None:
        """A key is gone, and the engine says so."""
        self._values.pop(key, None)
        self._told = True

    def answer(self, note: str) -> Answer:
        """The backends that they name. note: what to say where there is none."""
        found, skipped = backends(self._values.items())
        told = self._told and not skipped
        return Answer(found, skipped, told=told, note=f"{len(skipped)} entries are skipped" if skipped else note)
