"""Every node that knows the same backends sends the same keys to the same backends, however it came to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore.config.settings import PoolSettings
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = range(0, 65_521, 37)
NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True)


def choices(policy: str, arrivals: Sequence[int], gone: Sequence[int], weights: dict[int, int]) -> list[str | None]:
    """What a node picks for each key, that has seen these come, and those of them go."""
    table = Table(name="t", version="0", workers=1, max_backends=64, datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy=policy))
        rows = {}
        for number in [*gone, *arrivals]:
            rows[number] = table.add("p", f"10.0.0.{number}:80", weight=weights[number], source="lease")
            table.set_state(rows[number], "up", "")
        for number in gone:
            table.remove(rows[number], 0)
        table.sweep(1e12)
        table.sweep(2e12)
        names = {row.index: row.address for row in table.rows("p") if not row.leaving}
        picker = table.picker("p")
        return [names.get(picked) if picked is not None else None for picked in (picker.pick(key=key) for key in KEYS)]
    finally:
        table.close()


@given(numbers=NUMBERS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_maglev_is_the_same_in_any_order_of_arrival(numbers: list[int], data: st.DataObject) -> None:
    other = data.draw(st.permutations(numbers))
    gone = data.draw(st.lists(st.integers(41, 60), max_size=4, unique=True))
    weights = {number: data.draw(st.integers(1, 5)) for number in numbers} | dict.fromkeys(gone, 3)
    first = choices("maglev", numbers, [], weights)
    assert first == choices("maglev", other, gone, weights)
    assert None not in first
