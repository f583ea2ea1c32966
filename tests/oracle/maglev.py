"""The table of maglev, written apart from csrc/table/maglev.c.

Eisenbud et al., "Maglev: a fast and reliable software network load balancer" (NSDI 2016), 3.4, with 65,521 slots. Weights are
turns: a member of half the heaviest weight takes every other round. Addresses are hashed by SipHash-2-4 (Aumasson and
Bernstein, 2012).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 65_521
MASK = (1 << 64) - 1


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4, of 64 bits."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(x: int, by: int) -> int:
        return (x << by | x >> 64 - by) & MASK

    def rounds(times: int) -> None:
        for _ in range(times):
            v[0], v[2] = v[0] + v[1] & MASK, v[2] + v[3] & MASK
            v[1], v[3] = turn(v[1], 13) ^ v[0], turn(v[3], 16) ^ v[2]
            v[0] = turn(v[0], 32)
            v[2], v[0] = v[2] + v[1] & MASK, v[0] + v[3] & MASK
            v[1], v[3] = turn(v[1], 17) ^ v[2], turn(v[3], 21) ^ v[0]
            v[2] = turn(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


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
