"""The table of maglev, written apart from csrc/table/maglev.c.

Eisenbud et al., "Maglev: a fast and reliable software network load balancer" (NSDI 2016), 3.4, with 65,521 slots. Weights are
turns: a member of half the heaviest weight takes every other round. Addresses are hashed by SipHash-2-4.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 65_521


def preference(name: int) -> Iterator[int]:
    """Slots in the order in which a member wants them."""
    offset, skip = (name >> 32) % SLOTS, (name & 0xFFFFFFFF) % (SLOTS - 1) + 1
    return ((offset + turn * skip) % SLOTS for turn in count())


def table(names: list[int], weights: list[int]) -> list[int]:
    """The member of each slot."""
    order = sorted(range(len(names)), key=lambda member: names[member])
    heaviest = max(weights)
    slots: list[int | None] = [None] * SLOTS
    preferred = {member: preference(names[member]) for member in order}
    taken, left = dict.fromkeys(order, 0), SLOTS
    for round_ in count(1):
        for member in order:
            if (taken[member] + 1) * heaviest > round_ * weights[member]:
                continue
            taken[member] += 1
            slot = next(slot for slot in preferred[member] if slots[slot] is None)
            slots[slot] = member
            left -= 1
            if not left:
                return [member for member in slots if member is not None]
    raise AssertionError
