"""Paths in the readings of servers, written apart from csrc/l7/path.c: RFC 3986 5.2.4 and 6.2.2 by regular expressions.

reading: bits of csrc/l7/path.h, as the servers' habits want them (tools/docs/headers.md).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

SLASHED, DECODED, BARE, TWICE = 1, 2, 4, 8


def is_broken(path: bytes) -> bool:
    """Has it an escape that is none, or one of NUL?"""
    return re.search(rb"%(?![0-9A-Fa-f]{2})|%00", path) is not None


def read(path: bytes, reading: int) -> bytes | None:
    """The path in this reading, by other means."""
    if reading & BARE and not reading & TWICE:
        path = re.sub(rb";[^/\\]*" if reading & SLASHED else rb";[^/]*", b"", path)
    if is_broken(path):
        return None
    if reading & TWICE:
        path = unquote_to_bytes(path)
        path = re.sub(rb"%(?![0-9A-Fa-f]{2})|%(?=00)", b"\0", path)  # what is no escape any more
    if reading & BARE:
        path = re.sub(rb";[^/\\]*" if reading & SLASHED else rb";[^/]*", b"", path)
    if reading & SLASHED:
        path = re.sub(rb"(?i)\\|%5c|%2f", b"/", path)
    if reading & DECODED:
        path = unquote_to_bytes(path)
    else:
        decode = re.compile(rb"%[0-9A-Fa-f]{2}")
        path = decode.sub(
            lambda found: bare if (bare := unquote_to_bytes(found[0])).isalnum() or bare in b"-._~" else found[0].upper(), path
        )
    path = path.replace(b"\0", b"%")
    if reading & SLASHED:
        path = re.sub(rb"//+", b"/", path)
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    path = b"/" + b"/".join(kept)
    return re.sub(rb"//+", b"/", path) if reading & SLASHED else path
