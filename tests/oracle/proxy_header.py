"""PROXY headers, read apart from csrc/l4/proxy_read.c: HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2.

Addresses are read by the module ipaddress, the checksum is CRC-32C bit by bit (RFC 3720 B.4). It takes whole headers.
"""

from __future__ import annotations

import ipaddress
from typing import Any

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL = 1, 2, 3, 5, 0x20
ONCE = (ALPN, AUTHORITY, CRC32C, SSL)
"""Said twice, these mean two things to two readers: refused."""


def crc32c(data: bytes) -> int:
    """The reflected polynomial 0x1EDC6F41."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read(data: bytes) -> dict[str, Any] | None:
    """source, target, authority, alpn, tls, bytes; None where this is no whole header."""
    try:
        return _version_2(data) if data.startswith(SIGNATURE) else _version_1(data)
    except (ValueError, IndexError, UnicodeDecodeError):
        return None


def _told(size: int, source: Any = None, target: Any = None) -> dict[str, Any]:
    return {"source": source, "target": target, "authority": None, "alpn": None, "tls": False, "bytes": size}


def _version_1(data: bytes) -> dict[str, Any]:
    end = data.index(b"\r\n") + 2
    words = data[: end - 2].split(b" ")
    if end > 107 or words[0] != b"PROXY":
        raise ValueError
    if words[1] == b"UNKNOWN":
        return _told(end)
    kind: Any = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}.get(words[1])
    if kind is None or len(words) != 6 or b"%" in data[:end]:
        raise ValueError
    ports = [int(word) for word in words[4:]]
    if any(
        not word.isdigit() or str(port).encode() != word or port > 65535 for word, port in zip(words[4:], ports, strict=True)
    ):
        raise ValueError
    return _told(end, *((kind(word.decode("ascii")), port) for word, port in zip(words[2:4], ports, strict=True)))


def _version_2(data: bytes) -> dict[str, Any]:
    if data[12] not in (0x20, 0x21):
        raise ValueError
    size = 16 + int.from_bytes(data[14:16], "big")
    if len(data) < size or len(data) < 16:
        raise ValueError
    if data[12] == 0x20:
        return _told(size)
    family, transport = data[13] >> 4, data[13] & 15
    if family > 3 or transport > 2:
        raise ValueError
    width, at = {0: 0, 1: 4, 2: 16, 3: 108}[family], 16
    ends: list[Any] = [None, None]
    if size < at + (2 * width + 4 if family in (1, 2) else 2 * width):
        raise ValueError
    if family in (1, 2):
        kind: Any = ipaddress.IPv4Address if family == 1 else ipaddress.IPv6Address
        for end in range(2):
            port = int.from_bytes(data[at + 2 * width + 2 * end :][:2], "big")
            if transport:
                ends[end] = (kind(data[at + width * end :][:width]), port)
    told = _told(size, *ends)
    _tlvs(told, data[:size], at + (2 * width + 4 if family in (1, 2) else 2 * width))
    return told


def _tlvs(told: dict[str, Any], header: bytes, at: int) -> None:
    seen = set()
    for kind, start, value in _split(header, at):
        if kind in seen and kind in ONCE:
            raise ValueError
        seen.add(kind)
        if kind == ALPN:
            told["alpn"] = value
        elif kind == AUTHORITY:
            told["authority"] = value
        elif kind == UNIQUE_ID and len(value) > 128:
            raise ValueError
        elif kind == CRC32C:
            zeroed = header[:start] + bytes(4) + header[start + 4 :]
            if len(value) != 4 or int.from_bytes(value, "big") != crc32c(zeroed):
                raise ValueError
        elif kind == SSL:
            told["tls"] = bool(value[0] & 1)
            if len(value) < 5:
                raise ValueError
            list(_split(value, 5))


def _split(data: bytes, at: int) -> list[tuple[int, int, bytes]]:
    found = []
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 + size > len(data):
            raise ValueError
        found.append((data[at], at + 3, data[at + 3 : at + 3 + size]))
        at += 3 + size
    return found
