"""The access log of a running balancer, read line by line."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from harness import balanced, wait_for

from lbcore.config.settings import ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFF = ProbeSettings(kind="off")


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a log in JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(path: Path, count: int = 1) -> list[dict[str, Any]]:
    """So many lines, when they are there."""
    found: list[dict[str, Any]] = wait_for(
        lambda: path.exists() and len(found := lines(path)) >= count and found, f"{count} lines are written"
    )
    assert len(found) == count, found
    return found


@contextlib.contextmanager
def logging(path: Path, **options: Any) -> Iterator[Any]:
    """An http balancer with a log."""
    with balanced(listen="http://127.0.0.1:0", access_log=str(path), **options) as lb:
        yield lb
