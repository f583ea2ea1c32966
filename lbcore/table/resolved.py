"""The address of a host that was named."""

from __future__ import annotations

import socket
from collections import namedtuple

Resolved = namedtuple("Resolved", "family ip scope", module=__name__)


def resolve(host: str, port: int) -> Resolved:
    """The first address of a host, IPv4 before IPv6. May take seconds. Raises ValueError if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"{host}: cannot be resolved: {error.strerror or error}") from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    scope = int(address[3]) if len(address) == 4 else 0
    return Resolved(int(family), str(address[0]).partition("%")[0], scope)
