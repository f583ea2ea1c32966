"""A world for the rules of a cluster: nodes, a store, backends and time, all of them virtual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbcore.cluster.entry import Entry, Owner, Told
from lbcore.cluster.keys import Backend
from lbcore.cluster.moves import Drop, Show
from lbcore.cluster.registry import Registry
from lbcore.cluster.stamp import StampClock

if TYPE_CHECKING:
    from collections.abc import Iterable

BEAT_S, LEASE_S, KEEP_S, STORE_LEASE_S = 5, 15, 30, 15
START_MS = 1_700_000_000_000


class Store:
    """What a store has, and all that was ever written there, in order. snapshots: earlier states, to go back to."""

    def __init__(self) -> None:
        self.entries: dict[Backend, Entry] = {}
        self.history: list[tuple[Backend, Entry | None]] = []
        self.snapshots: list[dict[Backend, Entry]] = [{}]
        self.writes = 0

    def write(self, backend: Backend, entry: Entry | None) -> None:
        self.writes += 1
        if entry is None:
            if self.entries.pop(backend, None) is None:
                return
        else:
            self.entries[backend] = Entry(*entry)
        self.history.append((backend, entry))

    def expire(self, owner: Owner) -> None:
        """The lease of a node is over."""
        for backend, entry in list(self.entries.items()):
            if entry.owner == owner:
                self.write(backend, None)

    def replace(self, entries: dict[Backend, Entry]) -> None:
        """Wiped, or restored: watches are lost, history is another one."""
        self.entries = dict(entries)
        self.history = []


class Node:
    """A balancer: the rules, and members as they were moved."""

    def __init__(self, world: World, name: str, skew_ms: int) -> None:
        self.world, self.name, self.skew_ms = world, name, skew_ms
        self.lives = 0
        self.alive = False
        self.start()

    def start(self) -> None:
        """Begin a life, with what a state file kept."""
        kept = list(self.rows) if self.lives else []
        self.lives += 1
        self.owner = Owner(self.name, str(self.lives))
        self.rules = Registry(self.owner, StampClock(self.name), KEEP_S, self.world.lives)
        self.rows: set[Backend] = set()
        self.until: dict[Backend, float] = {}
        self.alive, self.connected, self.cursor = True, False, 0
        for backend in kept:
            self.rules.assume(backend, Told(), self.world.now)
        self.follow()

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.world.now * 1000) + self.skew_ms

    def connect(self) -> None:
        """Read all, and watch from there."""
        store = self.world.store
        if self.owner not in self.world.leases:
            self.rules.lease_lost(self.world.now, self.now_ms)
        self.world.leases[self.owner] = self.world.now
        self.connected = self.rules.connected = True
        self.cursor = len(store.history)
        self.rules.reread(dict(store.entries), self.world.now, self.now_ms)
        self.rules.owners_changed(self.world.now, self.now_ms)
        self.flush()

    def disconnect(self) -> None:
        self.connected = self.rules.connected = False

    def hear(self, backend: Backend, told: Told) -> None:
        """A heartbeat, or the registration that follows when it is unknown."""
        fresh = backend not in self.until or backend not in self.rows
        self.until[backend] = self.world.now + LEASE_S
        if fresh or self.rules.held.get(backend) != told:
            self.rules.heard(backend, told, self.world.now, self.now_ms)
        self.follow()

    def bye(self, backend: Backend) -> None:
        self.until.pop(backend, None)
        self.rules.left(backend, "deregistered", self.world.now, self.now_ms)
        self.rows.discard(backend)
        self.follow()

    def deliver(self, count: int = 1 << 30) -> None:
        """So many changes arrive by the watch."""
        if not self.connected:
            return
        history = self.world.store.history
        for backend, entry in history[self.cursor : self.cursor + count]:
            self.rules.changed(backend, entry, self.world.now, self.now_ms)
        self.cursor = min(len(history), self.cursor + count)
        self.follow()

    def flush(self) -> None:
        self.follow()
        if self.connected:
            for backend, entry in list(self.rules.writes.items()):
                self.world.store.write(backend, entry)
            self.rules.writes.clear()

    def tick(self) -> None:
        for backend, until in list(self.until.items()):
            if self.world.now >= until:
                del self.until[backend]
                self.rules.silent(backend, self.world.now, self.now_ms)
        self.rules.tick(self.world.now, self.now_ms)
        if self.connected:
            self.world.leases[self.owner] = self.world.now
        self.flush()

    def follow(self) -> None:
        for move in self.rules.moves:
            if isinstance(move, Show):
                self.rows.add(move.backend)
            elif isinstance(move, Drop):
                self.rows.discard(move.backend)
                self.until.pop(move.backend, None)
                if move.backend in self.world.beating:
                    self.world.dropped.append((self.world.now, self.name, move))
        self.rules.moves.clear()


class World:
    """now: virtual seconds. beating: the backends that send heartbeats, each with what it says and where it sends next."""

    def __init__(self, nodes: int = 3, skews_ms: Iterable[int] = ()) -> None:
        self.now = 0.0
        self.store = Store()
        self.beating: dict[Backend, Told] = {}
        self.dropped: list[tuple[float, str, Drop]] = []
        skews = [*skews_ms, *[0] * nodes]
        self.leases: dict[Owner, float] = {}
        self.nodes: list[Node] = []
        for number in range(nodes):
            self.nodes.append(Node(self, f"n{number}", skews[number]))
            self.nodes[-1].connect()
        self.turn = self.summaries = 0

    def lives(self, owner: Owner) -> bool:
        """As nodes' keys say, which go with their leases."""
        return owner in self.leases and any(node.owner == owner for node in self.nodes)

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    def beat(self, backend: Backend, at: int) -> None:
        """To a node that is there."""
        if self.up:
            self.up[at % len(self.up)].hear(backend, self.beating[backend])

    def second(self, *, spread: bool = True, deliver: bool = True) -> None:
        """Time passes: backends beat, leases end, nodes look."""
        self.now += 1
        for number, backend in enumerate(list(self.beating)):
            if (int(self.now) + number) % BEAT_S == 0:
                self.turn += 1
                self.beat(backend, self.turn if spread else number)
        for owner, renewed in list(self.leases.items()):
            if self.now - renewed > STORE_LEASE_S:
                del self.leases[owner]
                self.store.expire(owner)
        for node in self.up:
            if deliver:
                node.deliver()
                node.rules.owners_changed(self.now, node.now_ms)
            node.tick()
        if int(self.now) % BEAT_S == 0:
            self._vouch()
        if int(self.now) % 10 == 0:
            self.store.snapshots.append(dict(self.store.entries))

    def restore(self, entries: dict[Backend, Entry]) -> None:
        """The store goes back to these, with the leases that they had; watches are lost."""
        self.store.replace(entries)
        for entry in entries.values():
            self.leases.setdefault(entry.owner, self.now)
        for node in self.up:
            if node.connected:
                node.connect()

    def _vouch(self) -> None:
        """What each node says that it hears, read by all that are connected."""
        for node in self.nodes:
            if node.alive and node.connected:
                marks = frozenset(node.rules.foreign())
                self.summaries += bool(marks)
                for other in self.nodes:
                    if other.connected and other is not node:
                        other.rules.vouched(f"{node.name}/0", marks, self.now)

    def later(self, seconds: int, **how: bool) -> None:
        for _ in range(seconds):
            self.second(**how)

    def heal(self) -> None:
        """All nodes run and reach the store."""
        for node in self.nodes:
            if not node.alive:
                node.start()
            if not node.connected:
                node.connect()


def backend(number: int) -> Backend:
    return Backend("p", f"10.0.{number >> 8}.{number & 255}:80")
