"""A service manager: sockets that it passes, and notifications that it reads."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import SLOWER

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def bound(kind: socket.SocketKind = socket.SOCK_STREAM, listens: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM and listens:
            made.listen(64)
        yield made


def url(passed: socket.socket, mode: str = "tcp") -> str:
    return f"{mode}://127.0.0.1:{passed.getsockname()[1]}"


def run_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lbcore", "run", *arguments]


class Manager:
    """Who listens on NOTIFY_SOCKET."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(10 * SLOWER)

    def next(self, *wanted: str) -> dict[str, str]:
        """The next message that has these keys."""
        while True:
            words = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())
            if set(wanted) <= set(words):
                return words

    def pinged(self, within_s: float) -> bool:
        """Does a ping come within the time?"""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if b"WATCHDOG=1" in self.socket.recv(4096):
                    return True
        return False
