"""`python -m bench.maglev`: how evenly the policy maglev spreads, and what moves when backends leave. Counted, not timed.

Writes bench/results/maglev.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.pages import command, shown
from lbcore import _engine
from lbcore.config.settings import PoolSettings
from lbcore.table import Table

PAGE = Path(__file__).resolve().parent / "results" / "maglev.md"
SLOTS = 65521
"""LB_MAGLEV_SLOTS of csrc/table/maglev.h."""
HEAD = """\
# Maglev: spread and disruption

`python -m bench.maglev`: every slot of the lookup table ({slots:,}), asked through the engine's own picks. Each row is the
median of {draws} pools with other addresses, and the least and the greatest.

Eisenbud et al. (NSDI 2016, 3.4): with more than 100 slots a backend, backends differ by at most 1% of the space. That holds up
to 655 backends here; beyond, one slot more or less is more than that.

Spread: the slots of the fullest and of the emptiest backend, beside the mean. Disruption: of the slots whose backend stays, how
many change hands when others leave; on a ring of hashes (Karger) none would, and the spread would be many times wider (5.3 of
the paper).

| backends | leave | fullest ÷ mean | emptiest ÷ mean | others that move |
| --- | --- | --- | --- | --- |
"""
CASES = ((5, 1), (20, 1), (100, 1), (100, 5), (650, 1), (1000, 1), (1000, 10), (1000, 50))


def homes(addresses: list[str]) -> list[str]:
    """Whose each slot is in a pool of these."""
    table = Table(name="maglev", version="0", workers=1, max_backends=len(addresses), datapath="auto")
    try:
        table.set_pool(PoolSettings(name="p", policy="maglev"))
        with table.batch():
            rows = [table.add("p", address, weight=1, source="api") for address in addresses]
        with table.batch():
            for row in rows:
                table.set_state(row, "up", "")
        picker: _engine.Picker = table.picker("p")
        names = {row.index: row.address for row in rows}
        picked = (picker.pick(key=slot) for slot in range(SLOTS))
        return [names[row] for row in picked if row is not None]
    finally:
        table.close()


def draw(number: int, count: int, leave: int) -> tuple[float, float, float]:
    """Of the pool with this number: fullest and emptiest beside the mean, and the share of others that move."""
    addresses = [f"10.{number}.{index >> 8}.{index & 255}:80" for index in range(count)]
    before, after = homes(addresses), homes(addresses[leave:])
    counts, mean = Counter(before), SLOTS / count
    gone = set(addresses[:leave])
    stay = [(old, new) for old, new in zip(before, after, strict=True) if old not in gone]
    return max(counts.values()) / mean, min(counts.values()) / mean, sum(old != new for old, new in stay) / len(stay)


def page(draws: int) -> str:
    """All rows, measured now."""
    lines = [HEAD.format(draws=draws, slots=SLOTS)]
    for count, leave in CASES:
        fullest, emptiest, moved = zip(*(draw(number, count, leave) for number in range(draws)), strict=True)
        figures = shown(list(fullest), ".3f"), shown(list(emptiest), ".3f"), shown(list(moved), ".2%")
        lines.append(f"| {count:,} | {leave} | {' | '.join(figures)} |\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(command("bench.maglev", __doc__, page, PAGE, count="draws", default=5, of="pools a row"))
