"""A registration as the store has it: what a backend said of itself, and which node heard it last. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.cluster.stamp import Stamp
from lbcore.cluster.words import NotOurs, Words, written

STATUSES = ("ready", "busy", "starting", "draining")
STANDS, OFFERED, SILENT = "", "offered", "silent"
"""How an entry ends: not at all; its node does not hear the backend any more, so that another one that does may take it; nobody
took it. Any other end is a word of the backend or of an operator."""
DAY_MS = 24 * 3_600_000


class Told(NamedTuple):
    """What a backend says of itself. busy_ms: for how much longer, from when it was written. capacity: None: not declared."""

    status: str = "ready"
    busy_ms: int = 0
    weight: int = 1
    tier: int = 0
    capacity: float | None = None

    @property
    def lasting(self) -> tuple[object, ...]:
        """What does not change by time alone."""
        return self[:1] + self[2:]


class Owner(NamedTuple):
    """A node in one of its lives: a name that starts again has another one."""

    node: str
    life: str


class Entry(NamedTuple):
    """generation: how often this backend has registered. end: STANDS, OFFERED, SILENT or why it left."""

    stamp: Stamp
    owner: Owner
    generation: int
    told: Told
    end: str = STANDS

    @property
    def is_over(self) -> bool:
        """Is the backend gone, by its own word or after its silence?"""
        return self.end not in (STANDS, OFFERED)

    @property
    def is_final(self) -> bool:
        """Is it gone by its own or an operator's word, whoever still hears it?"""
        return self.is_over and self.end != SILENT

    def write(self) -> bytes:
        """The value of its key."""
        return written(
            stamp=self.stamp,
            node=self.owner.node,
            life=self.owner.life,
            generation=self.generation,
            end=self.end,
            **self.told._asdict(),
        )


def read(value: bytes) -> Entry:
    """Raises NotOurs."""
    words = Words(value)
    told = Told(
        words.text("status", allowed=STATUSES),
        words.whole("busy_ms", 0, DAY_MS),
        words.whole("weight", 0, 256),
        words.whole("tier", 0, 1),
        words.number("capacity", 0.0, 1e9),
    )
    owner = Owner(words.text("node"), words.text("life"))
    return Entry(words.stamp(), owner, words.whole("generation", 1, 1 << 62), told, words.text("end"))


class Node(NamedTuple):
    """What a node says of itself. since_ms: Unix time. draining: it is about to leave. asks: it wants the loads that
    backends report to other nodes."""

    life: str
    address: str
    version: str
    since_ms: int
    draining: bool = False
    asks: bool = False

    def write(self) -> bytes:
        """The value of its key."""
        return written(**self._asdict())


def read_node(value: bytes) -> Node:
    """Raises NotOurs."""
    words = Words(value)
    return Node(
        words.text("life"),
        words.text("address"),
        words.text("version"),
        words.whole("since_ms", 0, 1 << 62),
        words.truth("draining"),
        words.truth("asks"),
    )


__all__ = ("DAY_MS", "OFFERED", "SILENT", "STANDS", "Entry", "Node", "NotOurs", "Owner", "Told", "read", "read_node")
