"""A pool that decides on requests of a listener or a route."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.base import Settings, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_NAMES, NAME_BYTES, PATH_BYTES = 7, 64, 1024
"""All names together fit LB_GRANTED_NAMES of csrc/l7/twin.h."""
CACHE_BY = ("authorization", "cookie")
OFF = "off"
"""In the place of a pool: no request is asked about, whatever the listener says."""
NOT_GRANTED = ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
"""What no backend may be told in the name of another server: it is of the message, or of its connection."""


class AuthRequestSettings(Settings):
    """Who decides, what of the answer goes on, and how long a yes holds."""

    OPTIONS = options.AUTH_REQUEST
    __slots__ = slots(options.AUTH_REQUEST)
    KEY = "auth_request."

    pool: str
    path: str
    headers: list[str] | None
    timeout_ms: int
    cache_ms: int
    cache_by: list[str] | None

    @property
    def cached_by(self) -> tuple[str, ...]:
        """Headers on which a cached yes depends."""
        return tuple(self.cache_by) if self.cache_by else CACHE_BY

    def check(self) -> Iterable[str]:
        if self.pool is None:
            yield "pool: missing (the pool that decides, or off)"
        if not self.path.startswith("/") or len(self.path) > PATH_BYTES or not all("!" <= char <= "~" for char in self.path):
            yield f"path: {self.path!r} is not allowed (allowed: at most {PATH_BYTES} characters, such as /verify)"
        for key in ("headers", "cache_by"):
            yield from _name_faults(key, getattr(self, key))
        for name in self.headers or ():
            if name.lower() in NOT_GRANTED:
                yield f"headers: {name} is not allowed (allowed: headers that speak of neither message nor connection)"
        if self.cache_by is not None and not self.cache_ms:
            yield "cache_by: requires cache"


def _name_faults(key: str, names: list[str] | None) -> Iterable[str]:
    if names is not None and not (
        len(names) <= MOST_NAMES and all(is_token(name) and len(name) <= NAME_BYTES for name in names)
    ):
        yield f"{key}: {names!r} is not allowed (allowed: at most {MOST_NAMES} headers, of {NAME_BYTES} characters each)"
