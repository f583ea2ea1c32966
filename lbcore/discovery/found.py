"""What sources say: the backends of a pool."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Publish = Callable[[list["Found"]], None]
    """How a source tells the whole set that it knows now."""

MOST = 1024
"""Backends that DNS may name for a pool."""


class Found(NamedTuple):
    """A backend as a source knows it: "IP:PORT" (IPv6 in brackets), its weight, 0..256, and its tier.

    It takes sessions only while none of a lower tier can.
    """

    address: str
    weight: int
    tier: int = 0
