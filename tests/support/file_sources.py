"""Sources that read a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from http_balancers import OFF

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, SourceSettings

if TYPE_CHECKING:
    from pathlib import Path


def settings(*sources: SourceSettings, **pool: Any) -> BalancerSettings:
    return BalancerSettings(
        workers=1,
        drain_timeout="200ms",
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(**{"probe": OFF, "sources": list(sources)} | pool)],
    )


def write(path: Path, text: str) -> None:
    """As a deployment does: a new file in the old one's place."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)


def of_file(path: Path) -> SourceSettings:
    return SourceSettings(kind="file", path=str(path), interval="50ms")
