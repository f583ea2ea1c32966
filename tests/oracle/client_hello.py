"""What a ClientHello says, written apart from csrc/l4/hello.c.

RFC 8446 4.1.2 and 5.1, server_name of RFC 6066 3, ALPN of RFC 7301 3.1.
Of one that is not whole and well-formed: an AssertionError.
"""

from __future__ import annotations

from typing import Any


class Vector:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, count: int) -> bytes:
        """The next so many bytes."""
        assert count <= len(self._data)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, width: int) -> int:
        """The next integer."""
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> Vector:
        """The next vector, whose length is so wide."""
        return Vector(self.take(self.number(width)))


def handshake(records: bytes) -> bytes:
    """The first handshake message in these records."""
    rest, message = Vector(records), b""
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        assert rest.number(1) == 22
        assert rest.number(2) >> 8 == 3
        fragment = rest.take(rest.number(2))
        assert 0 < len(fragment) <= 1 << 14
        message += fragment
    return message


def read(records: bytes) -> dict[str, Any]:
    """name, alpn, version."""
    message = Vector(handshake(records))
    assert message.number(1) == 1
    body = message.vector(3)
    told: dict[str, Any] = {"name": None, "alpn": [], "version": body.number(2)}
    body.take(32)
    assert len(body.vector(1)._data) <= 32
    for width in (2, 1):
        body.vector(width)  # cipher suites, compression methods
    extensions = body.vector(2) if body else Vector(b"")
    while extensions:
        kind, data = extensions.number(2), extensions.vector(2)
        if kind == 0:
            for name_kind, name in pairs(data.vector(2)):
                if name_kind == 0:
                    told["name"] = name.decode().lower().removesuffix(".")
        elif kind == 16:
            told["alpn"] = list(protocols(data.vector(2)))
        elif kind == 43:
            listed = data.vector(1)._data
            offered = [int.from_bytes(listed[at : at + 2], "big") for at in range(0, len(listed), 2)]
            told["version"] = max((version for version in offered if version >> 8 == 3), default=0)
    return told


def pairs(names: Vector) -> list[tuple[int, bytes]]:
    """Kinds and names."""
    found = []
    while names:
        found.append((names.number(1), names.vector(2)._data))
    return found


def protocols(listed: Vector) -> list[bytes]:
    """The names of ALPN."""
    found = []
    while listed:
        found.append(listed.vector(1)._data)
    return found
