"""The keys of a cluster, under its prefix: which is what. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from lbcore.config.settings import is_unix, join_host_port, parse_address

FORMAT = "lbcore 1"
"""The value of the key `format`: the prefix is ours, and its values are written like this."""
KINDS = ("leases", "orders")
_NAME, _NUMBER = re.compile(r"[A-Za-z0-9_.-]{1,63}"), re.compile(r"[0-9]{1,6}")


class Backend(NamedTuple):
    """Of which backend a key speaks."""

    pool: str
    address: str


class Name(NamedTuple):
    """What a key stands for. kind: leases, orders (backend), nodes, drains (node), secrets (which), heard and
    loads (node and number), format."""

    kind: str
    backend: Backend | None = None
    node: str = ""


class Keys:
    """Of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix: str = prefix
        self.format: str = f"{prefix}format"

    def of(self, kind: str, backend: Backend) -> str:
        """A registration ("leases") or orders ("orders")."""
        return f"{self.prefix}{kind}/{backend.pool}/{backend.address}"

    def node(self, node: str) -> str:
        """Where a node says that it is there."""
        return f"{self.prefix}nodes/{node}"

    def drain(self, node: str) -> str:
        """Where an operator has a node drained."""
        return f"{self.prefix}drains/{node}"

    def heard(self, node: str, number: int) -> str:
        """Where a node says which backends it hears that are others'."""
        return f"{self.prefix}heard/{node}/{number}"

    def loads(self, node: str, number: int) -> str:
        """Where a node says what backends have reported to it."""
        return f"{self.prefix}loads/{node}/{number}"

    def secret(self, which: str) -> str:
        """A sealed secret."""
        return f"{self.prefix}secrets/{which}"

    def read(self, key: str) -> Name | None:
        """None: it is none of ours."""
        kind, _, rest = key.removeprefix(self.prefix).partition("/")
        if key == self.format:
            return Name("format")
        if kind in KINDS:
            backend = _backend_of(rest)
            return Name(kind, backend) if backend else None
        if kind in ("nodes", "drains", "secrets") and _NAME.fullmatch(rest):
            return Name(kind, node=rest)
        node, _, number = rest.partition("/")
        if kind in ("heard", "loads") and _NAME.fullmatch(node) and _NUMBER.fullmatch(number):
            return Name(kind, node=rest)
        return None


def _backend_of(rest: str) -> Backend | None:
    pool, _, address = rest.partition("/")
    try:
        if not pool or is_unix(address):  # a socket of one host is nothing to the others
            return None
        return Backend(pool, address) if join_host_port(*parse_address(address)) == address else None
    except ValueError:
        return None
