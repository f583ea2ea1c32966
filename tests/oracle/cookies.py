"""Cookies of a request (RFC 6265 4.2.1, 5.4), and what a sticky cookie says.

Read apart from csrc/l7: route.c, sticky.c and bound.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .siphash import siphash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PART = re.compile(rb"([0-9a-fA-F]{8})\.([0-9a-fA-F]{16})\.([0-9a-fA-F]{16})")
PART_BYTES = 42
MOST_PARTS = 8
"""So many parts of one request's cookies are looked at."""


def values(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The values of all cookies of a name, in their order. What has no "=" is no cookie, and a name's case counts."""
    pairs = [
        pair.lstrip(b" \t") for key, value in fields if key.lower() == b"cookie" for pair in value.strip(b" \t").split(b";")
    ]
    return [value for key, equals, value in (pair.partition(b"=") for pair in pairs) if equals and key == name]


def sticky_part(key: bytes, address: bytes, index: int) -> bytes:
    """INDEX.NAME.SIGNATURE of the backend of an address in this row."""
    name = siphash(key, address)
    return b"%08x.%016x.%016x" % (index, name, _signature(key, name))


def bound_to(jar: Iterable[bytes], key: bytes, addresses: Sequence[bytes]) -> list[bytes]:
    """Backends of a pool that the values of its cookie name, in their order. The index is a hint alone."""
    by_name = {siphash(key, address): address for address in addresses}
    looked_at = [part for value in jar for part in _parts(value)][:MOST_PARTS]
    found = [int(match[2], 16) for match in map(PART.fullmatch, looked_at) if match and _is_signed(key, match)]
    return [by_name[name] for name in found if name in by_name]


def _parts(value: bytes) -> list[bytes]:
    """Cut after every 42 bytes. A "-" or the end must follow each; the first part without it is none, and ends the reading."""
    parts = []
    while len(value) >= PART_BYTES and value[PART_BYTES : PART_BYTES + 1] in (b"", b"-"):
        parts.append(value[:PART_BYTES])
        value = value[PART_BYTES + 1 :]
    return parts


def _is_signed(key: bytes, part: re.Match[bytes]) -> bool:
    return int(part[3], 16) == _signature(key, int(part[2], 16))


def _signature(key: bytes, name: int) -> int:
    return siphash(key, name.to_bytes(8, "little") + int.from_bytes(b"sticky", "big").to_bytes(8, "little"))
