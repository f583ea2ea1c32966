"""The access log of a running balancer, read line by line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness import (
    wait_for,
)

if TYPE_CHECKING:
    from pathlib import Path


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
