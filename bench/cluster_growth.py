"""`python -m bench.cluster_growth`: what a cluster of many nodes writes, watches and keeps, by the nodes' own rules.

Writes bench/results/cluster_growth.md and its plot. Virtual time, a store without delay. One node in full sees every
change; the others are given the changes of backends that they hear, which are all that their decisions depend on.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
from collections import defaultdict
from typing import NamedTuple

from bench.serving import ROOT
from lbcore.cluster.entry import Entry, Owner, Told, read
from lbcore.cluster.keys import Backend, Keys
from lbcore.cluster.marks import written
from lbcore.cluster.registry import Registry
from lbcore.cluster.stamp import StampClock
from lbcore.store.interface import MOST_OPERATIONS

PAGE = ROOT / "bench" / "results" / "cluster_growth.md"
PLOT = PAGE.with_suffix(".svg")
BEAT_S, LEASE_S, START_MS = 5, 15, 1_700_000_000_000
SIZES = ((3, 3000), (10, 10_000), (30, 30_000), (100, 100_000))
HEAD = """\
# A cluster that grows

`python -m bench.cluster_growth`: the rules of `lbcore/cluster/registry.py` in virtual time, with a store that answers at once.
Heartbeats every 5 s, leases of 15 s. Each row is {seconds} s, after all backends have registered.

- **quiet**: each backend sends its heartbeats to one node.
- **in turn**: each heartbeat goes to another node, by lot: the worst that a load balancer in front of the nodes can do.
- **a node dies**: its backends go to other nodes with their next heartbeats. Counted until all is quiet again.

Transactions hold {most} keys at most. Watch: what etcd sends to one node, keys and values as JSON and base64.

| nodes | backends | what | keys written/s | transactions/s | watch, to one node | of all nodes | one node's memory |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


class Row(NamedTuple):
    """Of one size and case; a second each. memory: of the rules of one node, bytes."""

    nodes: int
    backends: int
    what: str
    keys: float
    transactions: float
    watched_b: float
    memory_b: int

    def __str__(self) -> str:
        watched = f"{self.watched_b / 1000:,.1f} kB/s | {self.watched_b * self.nodes / 1e6:,.2f} MB/s"
        memory = f"{self.memory_b / 1e6:,.0f} MB"
        rates = f"{self.keys:,.1f} | {self.transactions:,.1f}"
        return f"| {self.nodes} | {self.backends:,} | {self.what} | {rates} | {watched} | {memory} |"


class World:
    """Nodes, a store and time. full: the node that sees all."""

    def __init__(self, nodes: int, backends: int) -> None:
        self.now, self.keys_written, self.transactions, self.watched_b = 0.0, 0, 0, 0
        self.dead: set[Owner] = set()
        self.nodes = [self._made(f"n{at}") for at in range(nodes)]
        self.full = self._made("observer")
        self.backends = [Backend("default", f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}:8000") for at in range(backends)]
        self.store: dict[Backend, Entry] = {}
        self.until: list[dict[Backend, float]] = [{} for _ in self.nodes]
        self.hearing: dict[Backend, set[int]] = defaultdict(set)
        self._names = Keys("/lbcore/shop/")

    def _made(self, name: str) -> Registry:
        made = Registry(Owner(name, "1"), StampClock(name), 60.0, lambda owner: owner not in self.dead)
        made.connected = True
        return made

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.now * 1000)

    def hear(self, backend: Backend, at: int) -> None:
        """A heartbeat."""
        fresh = backend not in self.until[at]
        self.until[at][backend] = self.now + LEASE_S
        if fresh:
            self.hearing[backend].add(at)
            if backend in self.store and backend not in self.nodes[at].seen:
                self.nodes[at].changed(backend, self.store[backend], self.now, self.now_ms)
            self.nodes[at].heard(backend, Told(), self.now, self.now_ms)

    def second(self, at_of: list[int] | None) -> None:
        """at_of: the node of each backend; None: by lot. Nodes write once in a twentieth of a second, as they do."""
        for part in range(20):
            self.now += 0.05
            first = (int(self.now * 20) % (BEAT_S * 20)) * len(self.backends) // (BEAT_S * 20)
            for number in range(first, first + max(1, len(self.backends) // (BEAT_S * 20))):
                at = at_of[number] if at_of else random.randrange(len(self.nodes) - len(self.dead))  # the last one dies
                if self.nodes[at].me not in self.dead:
                    self.hear(self.backends[number % len(self.backends)], at)
            if part == 0:
                self._end_leases()
            self._flush()
        if int(self.now + 0.01) % BEAT_S == 0:
            self._summarize()

    def _summarize(self) -> None:
        """Each node says what it hears of others' backends; owners read it."""
        for node in self.nodes:
            foreign = node.foreign() if node.me not in self.dead else set()
            if not foreign:
                continue
            values = written(foreign)
            self.keys_written += len(values)
            self.transactions += 1
            self.watched_b += sum(200 + len(value) * 4 // 3 for value in values)
            marks = frozenset(foreign)
            for other in self.nodes:
                if other is not node:
                    other.vouched(f"{node.me.node}/0", marks, self.now)

    def _end_leases(self) -> None:
        for at, until in enumerate(self.until):
            for backend in [backend for backend, end in until.items() if self.now >= end]:
                del until[backend]
                self.hearing[backend].discard(at)
                self.nodes[at].silent(backend, self.now, self.now_ms)
            if self.nodes[at].me not in self.dead:
                self.nodes[at].tick(self.now, self.now_ms)
        self.full.tick(self.now, self.now_ms)

    def _flush(self) -> None:
        for node in self.nodes:
            node.moves.clear()
            if node.me in self.dead or not node.writes:
                continue
            writes = dict(node.writes)
            node.writes.clear()
            self.transactions += -(-len(writes) // MOST_OPERATIONS)
            for backend, entry in writes.items():
                self.write(backend, entry)
        self.full.moves.clear()
        self.full.writes.clear()

    def write(self, backend: Backend, entry: Entry | None) -> None:
        """To the store, and by watches to nodes."""
        self.keys_written += 1
        size = len(self._names.of("leases", backend)) + (len(entry.write()) if entry else 0)
        self.watched_b += 130 + size * 4 // 3
        if entry is None:
            self.store.pop(backend, None)
        else:
            self.store[backend] = entry
        concerned = {*self.hearing[backend], *([_number(entry.owner)] if entry else [])}
        for registry in [*(self.nodes[at] for at in concerned), self.full]:
            registry.changed(backend, entry, self.now, self.now_ms)

    def kill(self, at: int) -> None:
        """A node, and its lease with it."""
        owner = self.nodes[at].me
        self.dead.add(owner)
        self.until[at].clear()
        for backend, entry in list(self.store.items()):
            if entry.owner == owner:
                self.hearing[backend].discard(at)
                self.write(backend, None)


def _number(owner: Owner) -> int:
    return int(owner.node[1:])


def memory_of(world: World) -> int:
    """Of the rules of a node that reads all that the store has, bytes."""
    values = [(str(backend.address), entry.write()) for backend, entry in world.store.items()]
    tracemalloc.start()
    made = Registry(Owner("late", "1"), StampClock("late"), 60.0, lambda owner: True)
    made.reread({Backend("default", address): read(value) for address, value in values}, 0.0, START_MS)
    made.moves.clear()
    found, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found


def measured(nodes: int, backends: int, seconds: int) -> list[Row]:
    """All cases of one size."""
    random.seed(nodes)
    world = World(nodes, backends)
    at_of = [number % nodes for number in range(backends + 1)]
    for _ in range(2 * BEAT_S):
        world.second(at_of)
    memory = memory_of(world)
    rows = []

    def case(what: str, where: list[int] | None, over: int) -> None:
        before = world.keys_written, world.transactions, world.watched_b
        for _ in range(over):
            world.second(where)
        keys, transactions, watched_b = (
            (after - was) / over
            for after, was in zip((world.keys_written, world.transactions, world.watched_b), before, strict=True)
        )
        rows.append(Row(nodes, backends, what, keys, transactions, watched_b, memory))
        print(rows[-1], flush=True)

    case("quiet", at_of, seconds)
    if nodes > 1:
        world.kill(nodes - 1)
        moved = [at if at != nodes - 1 else number % (nodes - 1) for number, at in enumerate(at_of)]
        case("a node dies", moved, seconds)
    for _ in range(LEASE_S):
        world.second(None)
    case("in turn", None, seconds)
    assert len(world.store) == backends, len(world.store)
    return rows


def plot(rows: list[Row]) -> None:
    """Keys written and bytes watched, by the number of nodes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for what in dict.fromkeys(row.what for row in rows):
        found = [row for row in rows if row.what == what]
        x = [row.nodes for row in found]
        left.plot(x, [max(row.transactions, 0.01) for row in found], marker="o", label=what)
        right.plot(x, [max(row.watched_b / 1000, 0.01) for row in found], marker="o", label=what)
    left.set_ylabel("transactions a second")
    right.set_ylabel("kB a second to one node")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("nodes, with 1,000 backends each")
        axes.set_xticks([nodes for nodes, _ in SIZES], [str(nodes) for nodes, _ in SIZES])
        axes.grid(alpha=0.3)
    left.legend()
    figure.tight_layout()
    figure.savefig(PLOT)


def main() -> int:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser("python -m bench.cluster_growth", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--nodes", type=int, default=SIZES[-1][0], help="the largest size (default: all)")
    arguments = parser.parse_args()
    began = time.monotonic()
    rows = [
        row for nodes, backends in SIZES if nodes <= arguments.nodes for row in measured(nodes, backends, arguments.seconds)
    ]
    plot(rows)
    text = HEAD.format(seconds=arguments.seconds, most=MOST_OPERATIONS) + "\n".join(map(str, rows))
    PAGE.write_text(f"{text}\n\n![Transactions and watch traffic, by the number of nodes]({PLOT.name})\n")
    print(f"written: {PAGE} ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
