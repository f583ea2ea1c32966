"""Map files of routes are followed as they change: a good one comes into force, a bad one is told once and changes nothing."""

from __future__ import annotations

import time

from lbcore.config.settings.host_map import HostMap, MapFault
from lbcore.config.settings.loops import loop_faults
from lbcore.errors import ConfigError
from lbcore.log_once import LogOnce
from lbcore.regular_file import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.config.settings import BalancerSettings, RouteSettings
    from lbcore.regular_file import Stamp

EVERY_S = 1.0


class RouteMaps:
    """Looks at the files once a second. A file that changed is read when it is the same at two looks in a row: somebody may
    still be writing it."""

    def __init__(self, log: Callable[[str], None], publish: Callable[[BalancerSettings], None]) -> None:
        """publish: called with the settings when a map of theirs has changed. Raises ConfigError when they do not fit."""
        self._log, self._publish = log, publish
        self._settings: BalancerSettings | None = None
        self._followed: list[_Followed] = []
        self._figures: dict[str, _Figures] = {}
        self.wanted_at: float | None = None
        """When to look next, monotonic; None: there are no maps."""

    def follow(self, settings: BalancerSettings, now: float) -> None:
        """From now on, the maps of these, which have just been read."""
        self._settings = settings
        figures: dict[str, _Figures] = {}
        followed = []
        for route in settings.routes:
            if route.mapped is not None:
                path = route.mapped.path
                told = figures.setdefault(path, self._figures.get(path) or _Figures(path))
                followed.append(_Followed(route, self._log, told))
        self._followed, self._figures = followed, figures
        self.wanted_at = now + EVERY_S if self._followed else None

    def tick(self, now: float) -> None:
        """Look, if it is time."""
        if self._settings is None or self.wanted_at is None or now < self.wanted_at:
            return
        self.wanted_at = now + EVERY_S
        for followed in self._followed:
            followed.look(self._settings, self._publish)

    def standings(self) -> list[dict[str, Any]]:
        """Of each file: {"file", "hosts" (of the map in force), "read_at" (of that, Unix seconds), "taken" and "refused"
        (changes of the file), "fault" (why what it says now is not in force; "": it is)}. Any thread may ask."""
        return [figures.document() for figures in list(self._figures.values())]


class _Figures:
    """What came of a file. Several routes may name it: the first one that sees a change counts it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._hosts, self._read_at = 0, 0.0
        self._taken = self._refused = 0
        self._counted: Stamp | None = None
        self.fault = ""

    def begin(self, hosts: int) -> None:
        """It was read with the configuration."""
        self._hosts, self._read_at, self.fault = hosts, time.time(), ""

    def take(self, hosts: int, seen: Stamp) -> None:
        """A change of it is in force."""
        self._taken += self._counted != seen
        self._counted = seen
        self.begin(hosts)

    def refuse(self, fault: str, seen: Stamp | None) -> None:
        """A change of it is not. seen: None: it cannot be read, which is told at every look and counts once."""
        self._refused += self._counted != seen if seen else self.fault != fault
        self._counted = seen
        self.fault = fault

    def document(self) -> dict[str, Any]:
        return {
            "file": self._path,
            "hosts": self._hosts,
            "read_at": round(self._read_at, 3),
            "taken": self._taken,
            "refused": self._refused,
            "fault": self.fault,
        }


class _Followed:
    """The file of a route's map."""

    def __init__(self, route: RouteSettings, log: Callable[[str], None], figures: _Figures) -> None:
        assert route.mapped is not None
        self._route, self._log, self._figures = route, log, figures
        figures.begin(len(route.mapped.pools))
        self._path = route.mapped.path
        self._taken: Stamp | None = route.mapped.stamp
        self._seen: Stamp | None = route.mapped.stamp
        self._log_once = LogOnce(log, f"map {self._path}", over="well again")

    def look(self, settings: BalancerSettings, publish: Callable[[BalancerSettings], None]) -> None:
        """Take what it says, if that is new and can be believed."""
        try:
            now = stamp(self._path)
        except OSError as error:
            self._fail(error.strerror or str(error), None)
            self._taken = self._seen = None
            return
        settled, self._seen = now == self._seen, now
        if now != self._taken and settled:
            self._taken = now  # a bad one is read again when it changes
            self._take(settings, publish, now)

    def _take(self, settings: BalancerSettings, publish: Callable[[BalancerSettings], None], seen: Stamp) -> None:
        before = self._route.mapped
        try:
            self._route.mapped = fresh = HostMap(self._path, [pool.name for pool in settings.pools])
            faults = list(loop_faults(settings.listeners, settings.routes, settings.pools))
            if faults:
                raise MapFault(faults)
            if fresh != before:
                publish(settings)
        except (MapFault, ConfigError) as fault:
            self._route.mapped = before
            self._fail("; ".join(fault.lines if isinstance(fault, MapFault) else fault.problems), seen)
            return
        self._log_once.tell("")
        self._figures.take(len(fresh.pools), seen)
        self._log(f"map {self._path}: {len(fresh.pools)} hosts")

    def _fail(self, fault: str, seen: Stamp | None) -> None:
        self._figures.refuse(fault, seen)
        self._log_once.tell(f"left as it was: {fault}")
