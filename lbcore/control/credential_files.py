"""The files of API keys and of users that settings name: read, watched, and the last good ones kept."""

from __future__ import annotations

import os
import stat
import time

from lbcore.config.credentials import KEYS, USERS, Credentials, parse
from lbcore.config.settings.access import OFF
from lbcore.errors import ConfigError
from lbcore.tls import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings

LOOK_EVERY_S = 5.0
"""How often files are looked at."""
Sets = dict[tuple[str, str], Credentials]
"""By kind and file."""


class CredentialFiles:
    """Between the files and the table. The supervisor's lock guards it. log: called with one line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._seen: dict[tuple[str, str], files.Stamp] = {}
        self._look_at = 0.0
        self.sets: Sets = {}
        """What is in force."""

    def read(self, settings: BalancerSettings) -> Sets:
        """What all files that settings name hold now. Raises ConfigError with all that is wrong."""
        found: Sets = {}
        problems: list[str] = []
        for kind, path in sorted(wanted_by(settings)):
            try:
                found[kind, path] = self._read(kind, path)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return found

    def adopt(self, sets: Sets) -> None:
        """Put into force what `read` returned."""
        self.sets = sets
        self._seen = {key: files.stamp([key[1]]) for key in sets}
        self._look_at = time.monotonic() + LOOK_EVERY_S

    @property
    def wanted_at(self) -> float | None:
        """When `tick` is to be called next (monotonic seconds); None: there are no files."""
        return self._look_at if self.sets else None

    def tick(self, now: float) -> bool:
        """Look at the files when it is time. Is anything new in force?"""
        if not self.sets or now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        fresh = [key for key in list(self.sets) if self._follow(*key)]
        return bool(fresh)

    def _follow(self, kind: str, path: str) -> bool:
        stamp = files.stamp([path])
        if stamp == self._seen.get((kind, path)):
            return False
        self._seen[kind, path] = stamp
        try:
            fresh = self._read(kind, path)
        except ConfigError as error:
            for problem in error.problems:
                self._log(f"{problem}; what was read before stays in force")
            return False
        if fresh == self.sets[kind, path]:
            return False
        self.sets = {**self.sets, (kind, path): fresh}
        self._log(f"{kind}: {path!r} has changed and is in force: {len(fresh)} entries")
        return True

    def _read(self, kind: str, path: str) -> Credentials:
        try:
            text = files.read(path).decode()
            if os.stat(path).st_mode & stat.S_IROTH:
                self._log(f"{kind}: {path!r} can be read by every user of this host (chmod o-r)")
        except files.FileFault as fault:
            raise ConfigError(f"{kind}: {fault}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{kind}: {path!r} is not UTF-8 text") from None
        except OSError as error:
            raise ConfigError(f"{kind}: {path!r} cannot be read ({error.strerror})") from None
        found, faults = parse(kind, text)
        if faults:
            raise ConfigError(f"{kind}: {path!r} {fault}" for fault in faults)
        return found


def wanted_by(settings: BalancerSettings) -> set[tuple[str, str]]:
    """The kinds and files that settings name."""
    entries = [*settings.listeners, *settings.routes]
    named = [(kind, getattr(entry, kind)) for entry in entries for kind in (KEYS, USERS)]
    return {(kind, path) for kind, path in named if path not in (None, OFF)}
