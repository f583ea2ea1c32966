"""Map files of routes are followed as they change: a good one comes into force, a bad one is told once and changes nothing."""

from __future__ import annotations

from lbcore.config.settings.host_map import HostMap, MapFault
from lbcore.config.settings.loops import loop_faults
from lbcore.errors import ConfigError
from lbcore.log_once import LogOnce
from lbcore.regular_file import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
        self.wanted_at: float | None = None
        """When to look next, monotonic; None: there are no maps."""

    def follow(self, settings: BalancerSettings, now: float) -> None:
        """From now on, the maps of these, which have just been read."""
        self._settings = settings
        self._followed = [_Followed(route, self._log) for route in settings.routes if route.mapped is not None]
        self.wanted_at = now + EVERY_S if self._followed else None

    def tick(self, now: float) -> None:
        """Look, if it is time."""
        if self._settings is None or self.wanted_at is None or now < self.wanted_at:
            return
        self.wanted_at = now + EVERY_S
        for followed in self._followed:
            followed.look(self._settings, self._publish)


class _Followed:
    """The file of a route's map."""

    def __init__(self, route: RouteSettings, log: Callable[[str], None]) -> None:
        assert route.mapped is not None
        self._route, self._log = route, log
        self._path = route.mapped.path
        self._taken: Stamp | None = route.mapped.stamp
        self._seen: Stamp | None = route.mapped.stamp
        self._log_once = LogOnce(log, f"map {self._path}", over="well again")

    def look(self, settings: BalancerSettings, publish: Callable[[BalancerSettings], None]) -> None:
        """Take what it says, if that is new and can be believed."""
        try:
            now = stamp(self._path)
        except OSError as error:
            self._fail(error.strerror or str(error))
            self._taken = self._seen = None
            return
        settled, self._seen = now == self._seen, now
        if now != self._taken and settled:
            self._taken = now  # a bad one is read again when it changes
            self._take(settings, publish)

    def _take(self, settings: BalancerSettings, publish: Callable[[BalancerSettings], None]) -> None:
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
            self._fail("; ".join(fault.lines if isinstance(fault, MapFault) else fault.problems))
            return
        self._log_once.tell("")
        self._log(f"map {self._path}: {len(fresh.pools)} hosts")

    def _fail(self, fault: str) -> None:
        self._log_once.tell(f"left as it was: {fault}")
