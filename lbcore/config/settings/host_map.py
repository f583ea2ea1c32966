"""A map file: hosts and the pools that they lead to, a line each, "HOST POOL"; what is wrong with it, by its lines."""

from __future__ import annotations

from lbcore.config.settings.match import is_route_host
from lbcore.regular_file import Stamp, read_regular, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 8 << 20
MOST_TOLD = 5
"""Faults that are told one by one."""


class HostMap:
    """What a map file said when it was read.

    pools: by host, in lower case, exact or "*.example.com". stamp: of the file, from before it was read.
    """

    __slots__ = ("_lines", "path", "pools", "stamp")

    def __init__(self, path: str, known: Iterable[str] | None = None) -> None:
        """known: the pools that there are. Raises MapFault with all that is wrong, a line each."""
        self.path: str = path
        self.pools: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        """By pool, where it is named first."""
        try:
            self.stamp: Stamp = stamp(path)
            text = read_regular(path, MAX_BYTES, f"{MAX_BYTES >> 20} MiB").decode()
        except (OSError, ValueError) as error:
            raise MapFault([f"{path}: {getattr(error, 'strerror', None) or error}"]) from None
        faults = [f"{path}:{line}: {fault}" for line, fault in self._take(text)]
        faults += [] if faults or known is None else self.unknown(known)
        if faults:
            raise MapFault(faults)

    def _take(self, text: str) -> Iterable[tuple[int, str]]:
        for number, line in enumerate(text.split("\n"), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2:
                yield number, f"{line.strip()!r} is not allowed (allowed: HOST POOL, and comments behind #)"
                continue
            host = words[0].lower().rstrip(".")
            if not is_route_host(host):
                yield number, f"{words[0]!r} is not allowed (allowed: api.example.com or *.example.com, without a port)"
            elif host in self.pools:
                yield number, f"{host} is named twice"
            else:
                self.pools[host] = words[1]
                self._lines.setdefault(words[1], number)

    def unknown(self, known: Iterable[str]) -> list[str]:
        """A line for each pool that there is not."""
        names = list(known)
        return [
            f"{self.path}:{line}: pool {pool!r} is unknown (known: {', '.join(names)})"
            for pool, line in self._lines.items()
            if pool not in names
        ]

    @property
    def targets(self) -> frozenset[str]:
        """The pools that it names."""
        return frozenset(self._lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostMap) and (self.path, self.pools) == (other.path, other.pools)

    def __repr__(self) -> str:
        return f"HostMap({self.path!r}, {len(self.pools)} hosts)"


class MapFault(ValueError):
    """A map cannot be used. lines: what is wrong, the first few faults and how many more there are."""

    def __init__(self, faults: list[str]) -> None:
        more = len(faults) - MOST_TOLD
        self.lines: list[str] = faults[:MOST_TOLD] + ([f"and {more} more faults"] if more > 0 else [])
        super().__init__("; ".join(self.lines))
