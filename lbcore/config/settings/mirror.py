"""The mirror of a route."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class MirrorSettings(Settings):
    """A pool that gets copies of a route's requests."""

    OPTIONS = options.MIRROR
    __slots__ = slots(options.MIRROR)
    KEY = "mirror."

    pool: str
    percent: int

    def check(self) -> Iterable[str]:
        if self.pool is None:
            yield "pool: missing (the pool that gets the copies)"
