"""Operators' orders for a backend: of each kind the last word counts, wherever it was given. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.cluster.stamp import NEVER, Stamp
from lbcore.cluster.words import NotOurs, Words, written

FORGET_MS = 7 * 24 * 3_600_000
"""Orders that change nothing any more are kept for so long: who was away hears of them."""


class Order(NamedTuple):
    """One word of an operator. by: the node at which it was given; when is in the stamp."""

    stamp: Stamp
    value: object
    by: str


class Orders(NamedTuple):
    """Of one backend. member: (weight, tier) of one that was added, False: it was removed. drain: a bool. weight: 0..256."""

    member: Order | None = None
    drain: Order | None = None
    weight: Order | None = None

    def merged(self, other: Orders) -> Orders:
        """The later word of each kind. Whoever merges the same orders, in whatever order, finds the same."""
        return Orders(*(_later(mine, theirs) for mine, theirs in zip(self, other, strict=True)))

    @property
    def stamp(self) -> Stamp:
        """Of the last word."""
        return max((order.stamp for order in self if order), default=NEVER)

    @property
    def is_drained(self) -> bool:
        """Is it to have no new sessions?"""
        return bool(self.drain and self.drain.value)

    @property
    def added(self) -> tuple[int, int] | None:
        """Weight and tier of a backend that an operator has added; the weight as it was set since."""
        if self.member is None or not isinstance(self.member.value, tuple):
            return None
        weight, tier = self.member.value
        if self.weight is not None and self.weight.stamp > self.member.stamp and isinstance(self.weight.value, int):
            weight = self.weight.value
        return weight, tier

    def is_void(self, now_ms: int) -> bool:
        """Do they change nothing, and have not for long?"""
        old = self.stamp.ms < now_ms - FORGET_MS
        return old and self.added is None and not self.is_drained

    def write(self) -> bytes:
        """The value of their key."""
        return written(**{kind: order and order._asdict() for kind, order in self._asdict().items()})


def _later(mine: Order | None, theirs: Order | None) -> Order | None:
    if mine is None or theirs is None:
        return mine or theirs
    return max(mine, theirs, key=lambda order: (order.stamp, repr(order)))


def read(value: bytes) -> Orders:
    """Raises NotOurs."""
    words = Words(value)
    member, drain, weight = (words.inner(kind) for kind in Orders._fields)
    return Orders(
        Order(member.stamp(), _member(member), member.text("by")) if member else None,
        Order(drain.stamp(), drain.truth("value"), drain.text("by")) if drain else None,
        Order(weight.stamp(), weight.whole("value", 0, 256), weight.text("by")) if weight else None,
    )


def _member(words: Words) -> object:
    pair = words.pair("value", 256, 1)
    return pair if pair is not None else words.truth("value")


__all__ = ("FORGET_MS", "NotOurs", "Order", "Orders", "read")
