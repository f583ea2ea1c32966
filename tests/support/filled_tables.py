"""Tables of backends, ready made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lbcore.config.settings import PoolSettings
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(name="t", version="0", workers=2, max_backends=20_000, datapath="auto")
    yield table
    table.close()


def fill(table: Table, policy: str, weights: list[int], pool: str = "p") -> list[int]:
    """A pool of backends with these weights: their row indices."""
    table.set_pool(PoolSettings(name=pool, policy=policy))
    with table.batch():
        rows = [
            table.add(pool, f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}:80", weight=weight, source="api")
            for at, weight in enumerate(weights)
        ]
    return [row.index for row in rows]
