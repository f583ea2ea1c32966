"""Nodes of a cluster as processes of their own, backends that beat at any node that is there, clients that count failures."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
import time
from typing import TYPE_CHECKING

from harness import Command
from http_peers import Backend

from lbcore.client.registration import AdminClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PREFIX, TOKEN = "/lbcore/test/", "of all nodes"
BEAT_S = 0.5
CONFIG = """
name = "{name}"
workers = 1
[admin]
listen = "127.0.0.1:0"
token = "{token}"
[[listener]]
bind = "http://127.0.0.1:0"
[[pool]]
[pool.probe]
kind = "off"
[pool.lease]
heartbeat = "2s"
[cluster]
endpoints = {endpoints}
prefix = "{prefix}"
node = "{name}"
"""


def node(folder: Path, name: str, endpoints: list[str]) -> Command:
    """`lbcore run`, serving."""
    file = folder / f"{name}.toml"
    quoted = "[" + ", ".join(f'"{url}"' for url in endpoints) + "]"
    text = CONFIG.format(name=name, token=TOKEN, endpoints=quoted, prefix=PREFIX)
    file.write_text(text.replace('heartbeat = "2s"', 'heartbeat = "1s"'))
    return Command(folder, "-c", str(file))


class Beating:
    """Backends that send each heartbeat to the next node that answers, and register where they are told to."""

    def __init__(self, nodes: Sequence[Command], count: int) -> None:
        self.nodes = list(nodes)
        self.backends = [Backend() for _ in range(count)]
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            for backend in self.backends:
                self.beat(backend)

    def beat(self, backend: Backend) -> None:
        """Once."""
        said = {"server_ip": "127.0.0.1", "port": backend.port, "status": "ready"}
        for _ in self.nodes:
            at = self.nodes[next(self._turn) % len(self.nodes)]
            with contextlib.suppress(OSError):
                client = AdminClient(at.admin, TOKEN, timeout=1)
                if client.call("POST", "/heartbeat", said)[0] == 404:
                    client.call("POST", "/register", said)
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for backend in self.backends:
            backend.close()


class Asking:
    """A client that asks one balancer all the time. failed: what went wrong, each with its time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.done = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            connection = http.client.HTTPConnection(*self.address, timeout=10)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(f"{time.monotonic():.3f}: status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.monotonic():.3f}: {error!r}")
            else:
                self.done += 1
            finally:
                connection.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def asking(*nodes: Command) -> Iterator[list[Asking]]:
    """A client for each node; none may fail."""
    clients = [Asking(node.address) for node in nodes]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()
    for client in clients:
        assert client.done > 10
        assert client.failed == []
