"""Servers and clients of datagrams, and balancers between them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harness import SLOWER, check_ledger

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings

WAIT_S = 3 * SLOWER


class Server:
    """A server of datagrams in a thread. answer: what a datagram is answered with, as datagrams. got: what came, from whom."""

    def __init__(self, answer: Callable[[bytes], list[bytes]], host: str = "127.0.0.1", port: int = 0) -> None:
        self._answer = answer
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, port))
        self.host, self.port = self.socket.getsockname()[:2]
        self.got: list[tuple[bytes, object]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _run(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(65536)
            except OSError:
                return
            if peer is None:  # it was shut down
                return
            self.got.append((data, peer))
            for part in self._answer(data):
                self.socket.sendto(part, peer)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """From now on its port refuses."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, though it says ENOTCONN
        self.socket.close()
        self._thread.join(WAIT_S)


def echo(data: bytes) -> list[bytes]:
    return [data]


def named(name: bytes) -> Callable[[bytes], list[bytes]]:
    return lambda data: [name]


def settings(backends: list[str], listener: dict[str, object] | None = None, **pool: object) -> BalancerSettings:
    return BalancerSettings(
        workers=pool.pop("workers", 1),
        drain_timeout=pool.pop("drain_timeout", "1s"),
        max_sessions=pool.pop("max_sessions", 10_000),
        listeners=[ListenerSettings(**({"bind": "udp://127.0.0.1:0"} | (listener or {})))],
        pools=[PoolSettings(**({"backends": backends} | pool))],
    )


@contextmanager
def balanced(*, settings: BalancerSettings) -> Iterator[Balancer]:
    """An embedded balancer; its books are checked at the end. Sessions may still be open: they end by time alone."""
    lb = Balancer(settings=settings)
    lb.start()
    try:
        yield lb
        if lb.running:
            check_ledger(lb.status())
    finally:
        lb.stop(0)


@contextmanager
def client(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(WAIT_S)
        made.connect(address)
        yield made


def ask(made: socket.socket, data: bytes = b"?") -> bytes:
    made.send(data)
    return made.recv(65536)
