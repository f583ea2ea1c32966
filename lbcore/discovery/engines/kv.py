"""What a key-value store has under a prefix, as it is listed and then changes."""

from __future__ import annotations

from lbcore.discovery.engines.entries import parse
from lbcore.discovery.found import MOST_ENTRIES, Answer, Found, SourceFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_KEYS = 2 * MOST_ENTRIES


class Entries:
    """What each key names, read when it is written. listed: what a list gave; later changes are told one by one."""

    def __init__(self, listed: Iterable[tuple[str, bytes]] = ()) -> None:
        self._named: dict[str, Found] = {}
        self._wrong: dict[str, str] = {}
        for key, value in listed:
            self.put(key, value)
        self._told = False

    def put(self, key: str, value: bytes) -> None:
        """A key has this value now. Raises SourceFailed where there are too many keys."""
        self.drop(key)
        try:
            self._named[key] = parse(value)
        except ValueError as error:
            self._wrong[key] = str(error)
        if len(self._named) + len(self._wrong) > MOST_KEYS:
            raise SourceFailed(f"there are more than {MOST_KEYS:,} keys: is the prefix right?")

    def drop(self, key: str) -> None:
        """A key is gone, and the engine says so."""
        self._named.pop(key, None)
        self._wrong.pop(key, None)
        self._told = True

    def answer(self, note: str) -> Answer:
        """The backends that they name; of two entries with one address the lower key counts. note: what to say of none."""
        found: dict[str, Found] = {}
        skipped = dict(self._wrong)
        for key, one in sorted(self._named.items()):
            if len(found) < MOST_ENTRIES or one.address in found:
                found.setdefault(one.address, one)
            else:
                skipped[key] = f"more than {MOST_ENTRIES:,} backends"
        note = f"{len(skipped)} entries are skipped" if skipped else note
        return Answer(sorted(found.values()), skipped, told=self._told and not skipped, note=note)
