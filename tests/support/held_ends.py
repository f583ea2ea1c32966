"""Sessions whose both ends a test holds in its own hands."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple

from harness import PATIENCE_S, SLOWER, dial, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ends(NamedTuple):
    """A client, and what its backend has accepted."""

    client: socket.socket
    backend: socket.socket


class Backend:
    """A listener of this host whose connections the test holds."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.settimeout(PATIENCE_S * SLOWER)
        port = self.listener.getsockname()[1]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @contextlib.contextmanager
    def meets(self, address: tuple[str, int], *, greets: bytes = b"") -> Iterator[Ends]:
        """A session through the balancer there. Both ends have time limits, and are O_NONBLOCK therefore."""
        with dial(address) as client:
            client.sendall(greets)
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(PATIENCE_S * SLOWER)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                assert read_exactly(connection, len(greets)) == greets
                yield Ends(client, connection)

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
