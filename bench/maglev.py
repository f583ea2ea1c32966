"""`python -m bench.maglev`: how evenly the policy maglev spreads, and what moves when backends leave, beside the paper.

Counted, but for the time that a table takes. Writes bench/results/maglev.md.
"""

from __future__ import annotations

import ctypes
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
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
PAPERS = """
## Beside the paper's evaluation (5.3)

1,000 backends of equal weight, as in the paper, with its two table sizes. For this page csrc/table/maglev.c is compiled with
these sizes; names are random. {draws} pools a row; k backends fail at once.

Evenness. The paper finds Maglev's balance almost perfect with either size, while Karger's ring and rendezvous hashing need
backends that are 29.7% and 49.5% larger with 65,537 slots, and 10.3% and 12.3% with 655,373. Here the fullest backend has so
much more than the mean: {even}.

What moves. The paper shows it as a plot (figure 12, 200 draws a point) and says: more moves the more backends fail at once, and
less in a larger table. It chooses 65,537 all the same: such failures are rare, and a table of connections comes first. No
method can move less than what the failed backends had, k of 1,000; the rest moves without need:

| slots | fail | slots that change | of these, without need | flows of other backends that move |
| --- | --- | --- | --- | --- |
{rows}
The larger table takes {ratio} times as long to make ({small} and {large} ms of CPU here, load average {load:.1f}); in the paper
12.7 times (1.8 and 22.9 ms).

As in the paper, the share that moves without need falls with the size of the table. lbcore has 65,521 slots of four bytes for a
pool. Connections that are open stay where they are; UDP flows, too.
"""
PAPER_SIZES, PAPER_BACKENDS, FAILURES = (65_537, 655_373), 1000, (1, 5, 10, 20, 50)
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


class Tables:
    """The engine's tables with another number of slots. cpu_ms: what the last one took."""

    def __init__(self, slots: int, folder: Path) -> None:
        source, out = Path(__file__).resolve().parent.parent / "csrc" / "table" / "maglev.c", folder / f"maglev{slots}.so"
        flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", f"-DLB_MAGLEV_SLOTS={slots}"]
        subprocess.run(["gcc", *flags, str(source), "-o", str(out)], check=True)
        self.slots = slots
        self.cpu_ms = 0.0
        self._build = ctypes.CDLL(str(out)).lb_maglev_build
        self._build.restype = ctypes.c_int64

    def of(self, names: list[int], members: list[int]) -> list[int]:
        """The member of each slot; names: of all members."""
        count, found = len(members), (ctypes.c_uint32 * self.slots)()
        mine = (ctypes.c_uint32 * count)(*members)
        called = (ctypes.c_uint64 * count)(*(names[member] for member in members))
        weights = (ctypes.c_uint32 * count)(*([1] * count))
        began = time.process_time()
        built = self._build(mine, weights, called, count, found)
        self.cpu_ms = (time.process_time() - began) * 1e3
        if built != self.slots:
            raise MemoryError
        return list(found)


class PaperDraw:
    """One pool. fullest: beside the mean. cpu_ms: for its table. moved: by k, (all that changes, without need, of others)."""

    def __init__(self, tables: Tables, seed: int) -> None:
        dice = random.Random(seed)
        names, everybody = [dice.getrandbits(64) for _ in range(PAPER_BACKENDS)], list(range(PAPER_BACKENDS))
        before = tables.of(names, everybody)
        self.cpu_ms = tables.cpu_ms
        self.fullest = max(Counter(before).values()) / tables.slots * PAPER_BACKENDS - 1
        self.moved: dict[int, tuple[float, float, float]] = {}
        for k in FAILURES:
            failed = set(dice.sample(everybody, k))
            after = tables.of(names, [member for member in everybody if member not in failed])
            lost = sum(member in failed for member in before)
            others = sum(old != new and old not in failed for old, new in zip(before, after, strict=True))
            self.moved[k] = (lost + others) / tables.slots, others / tables.slots, others / (tables.slots - lost)


def beside_the_paper(draws: int) -> str:
    """The page's second part."""
    rows, even, cpu_ms = [], [], []
    with tempfile.TemporaryDirectory() as name:
        for slots in PAPER_SIZES:
            tables = Tables(slots, Path(name))
            found = [PaperDraw(tables, seed) for seed in range(draws)]
            even.append(f"{shown([one.fullest for one in found], '.1%')} with {slots:,} slots")
            cpu_ms.append(statistics.median(one.cpu_ms for one in found))
            for k in FAILURES:
                columns = zip(*(one.moved[k] for one in found), strict=True)
                rows.append(f"| {slots:,} | {k} | {' | '.join(shown(list(column), '.2%') for column in columns)} |\n")
    small, large = cpu_ms
    return PAPERS.format(
        draws=draws, even=", ".join(even), rows="".join(rows), ratio=f"{large / small:.1f}", small=f"{small:.1f}",
        large=f"{large:.1f}", load=os.getloadavg()[0],
    )  # fmt: skip


def page(draws: int) -> str:
    """All rows, measured now."""
    lines = [HEAD.format(draws=draws, slots=SLOTS)]
    for count, leave in CASES:
        fullest, emptiest, moved = zip(*(draw(number, count, leave) for number in range(draws)), strict=True)
        figures = shown(list(fullest), ".3f"), shown(list(emptiest), ".3f"), shown(list(moved), ".2%")
        lines.append(f"| {count:,} | {leave} | {' | '.join(figures)} |\n")
    lines.append(beside_the_paper(4 * draws))
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(command("bench.maglev", __doc__, page, PAGE, count="draws", default=5, of="pools a row"))
