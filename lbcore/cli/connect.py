"""lbcore check --connect: each source is asked once, as the balancer would ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from lbcore.discovery.found import SourceFailed
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from typing import Any

    from lbcore.config.settings import BalancerSettings
    from lbcore.discovery.sources import Source

LIMIT_S = 60.0


class Asked(NamedTuple):
    """What a source said. fault: why it said nothing. backends, skipped: how many. note: what is odd about it."""

    pool: str
    kind: str
    what: str
    fault: str | None
    backends: int = 0
    skipped: int = 0
    note: str = ""

    @property
    def line(self) -> str:
        """All of it in a line."""
        about = f"pool {self.pool}: {self.kind} {self.what}"
        if self.fault is not None:
            return f"{about}: {self.fault}"
        if not self.backends:
            return f"{about}: it names no backend{': ' + self.note if self.note else ''}"
        skipped = f", {_counted(self.skipped, 'entry', 'entries')} skipped" if self.skipped else ""
        return f"{about}: {_counted(self.backends, 'backend', 'backends')}{skipped}"

    def document(self) -> dict[str, Any]:
        """For --json."""
        return self._asdict()


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def ask_sources(settings: BalancerSettings) -> list[Asked]:
    """All at once."""
    return asyncio.run(_ask_all(made(settings.pools, lambda line: None)))


async def _ask_all(sources: list[Source]) -> list[Asked]:
    return list(await asyncio.gather(*(_ask(source) for source in sources)))


async def _ask(source: Source) -> Asked:
    standing = source.standing
    names = standing.pool, standing.kind, standing.what
    try:
        async with asyncio.timeout(LIMIT_S):
            answer = await source.examine()
    except SourceFailed as failure:
        return Asked(*names, str(failure))
    except TimeoutError:
        return Asked(*names, f"no answer within {LIMIT_S:g} s")
    return Asked(*names, None, len(answer.found), len(answer.skipped), answer.note)
