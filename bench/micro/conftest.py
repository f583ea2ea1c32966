"""A table of its own for each benchmark: pools of many backends that nothing is connected to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lbcore.config.settings import PoolSettings
from lbcore.table import Row, Table

MAX_BACKENDS = 16384
Fill = Callable[[int, str], list[Row]]


def address(number: int) -> str:
    """The address of the backend of that number, below 65,536 of them each its own."""
    return f"127.1.{number // 256}.{number % 256}:8000"


@pytest.fixture
def table() -> Iterator[Table]:
    """An empty table for two workers."""
    made = Table(name="micro", version="0", workers=2, max_backends=MAX_BACKENDS, datapath="auto")
    yield made
    made.close()


@pytest.fixture
def fill(table: Table) -> Fill:
    """Makes the pool "default" with so many backends of weights 1, 2, 3 and a policy."""

    def make(count: int, policy: str = "p2c") -> list[Row]:
        table.set_pool(PoolSettings(name="default", policy=policy))
        with table.batch():
            return [table.add("default", address(number), weight=1 + number % 3, source="config") for number in range(count)]

    return make
