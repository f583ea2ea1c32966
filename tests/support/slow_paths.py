"""A way to a TCP server that tests make slow, or that lets nothing through for a while."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_S = 0.05


class Path:
    """delay_s: how late each part arrives, both ways. stalled: while it is set nothing arrives, and nothing is lost."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.stalled = threading.Event()
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._over.is_set():
            if not select.select([self._server], [], [], LOOK_S)[0]:
                continue
            client, _ = self._server.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._carry, args=ends, daemon=True))
                self._threads[-1].start()

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._hold()
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)

    def _hold(self) -> None:
        until = time.monotonic() + self.delay_s
        while (self.stalled.is_set() or time.monotonic() < until) and not self._over.is_set():
            time.sleep(min(LOOK_S, max(0.001, until - time.monotonic())))  # as a slow network would

    def cut(self) -> None:
        """Every connection that is open ends; new ones are let through."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._over.set()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in [self._server, *self._open]:
            end.close()


@contextlib.contextmanager
def slow_path(port: int) -> Iterator[Path]:
    """To a server on this host."""
    made = Path(port)
    try:
        yield made
    finally:
        made.close()
