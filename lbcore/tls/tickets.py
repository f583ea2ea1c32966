"""The keys that seal session tickets: when they change, and which are still good. Pure; random keys come from outside."""

from __future__ import annotations

import os
from typing import NamedTuple

from lbcore._layout import ffi
from lbcore.tls.bundle import MOST_KEYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES: int = ffi.sizeof("struct lb_ticket_key")


class TicketKey(NamedTuple):
    """born: monotonic seconds. secret: the bytes of a struct lb_ticket_key."""

    born: float
    secret: bytes


def random_key() -> bytes:
    """A name, a key of the cipher and one of the MAC, all of them random."""
    return os.urandom(KEY_BYTES)


def due(keys: tuple[TicketKey, ...], rotation_s: float) -> float:
    """When a new key is to seal (monotonic seconds)."""
    return keys[0].born + rotation_s if keys else float("-inf")


def rotated(
    keys: tuple[TicketKey, ...], now: float, rotation_s: float, fresh: Callable[[], bytes] = random_key
) -> tuple[TicketKey, ...]:
    """The keys from now on, the newest first: the same unless it is time for a new one.

    The newest seals for one rotation, and opens what it sealed for as many as there is room for others after it: then a ticket
    lives for MOST_KEYS - 1 rotations at least and MOST_KEYS at most. Whoever slept through some has no use of what is older.
    """
    if now < due(keys, rotation_s):
        return keys
    kept = [key for key in keys if now - key.born < MOST_KEYS * rotation_s]
    return (TicketKey(now, fresh()), *kept[: MOST_KEYS - 1])
