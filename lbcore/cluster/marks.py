"""Which backends a node hears though another node owns their entries: eight bytes for each, in keys of their own. Pure."""

from __future__ import annotations

import base64
from hashlib import blake2b

from lbcore.cluster.words import NotOurs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.cluster.keys import Backend

_BYTES = 8
MOST_MARKS = 1500
"""Of one key: 16 kB."""


def mark_of(backend: Backend) -> int:
    """The same at every node. Two backends of one mark would vouch for each other: that takes four billion of them."""
    return int.from_bytes(blake2b(f"{backend.pool}/{backend.address}".encode(), digest_size=_BYTES).digest(), "big")


def written(marks: Iterable[int]) -> list[bytes]:
    """The values of their keys."""
    raw = b"".join(mark.to_bytes(_BYTES, "big") for mark in sorted(marks))
    size = MOST_MARKS * _BYTES
    return [base64.b64encode(raw[begin : begin + size]) for begin in range(0, len(raw), size)]


def read(value: bytes) -> frozenset[int]:
    """Raises NotOurs."""
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        raise NotOurs("no base64") from None
    if len(raw) % _BYTES or len(raw) > MOST_MARKS * _BYTES:
        raise NotOurs(f"{len(raw)} bytes")
    return frozenset(int.from_bytes(raw[begin : begin + _BYTES], "big") for begin in range(0, len(raw), _BYTES))
