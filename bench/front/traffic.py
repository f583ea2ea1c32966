"""Backends that say who they are, and clients that note what each of their connections came to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, NamedTuple

from bench.front.network import CLIENT, PORT, ROUTER, SHARED, Network

FIRST_PORT = 9001
EVERY_S = 0.005
"""A new client comes so often."""
LATE_S = 0.8
"""Who is served later than this had to send its SYN again, which it does after 1 s."""
STEADY_S = 0.3
"""All clients that come in so long a time are served by one node: then the address has moved."""
LIMIT_S = 4.0
"""A client waits no longer."""
PIECES = 30
PIECE_S = 0.1
LONG = "/long"


class Attempt(NamedTuple):
    """What a client came to. began, ended: monotonic seconds. by: the node that served it, or None. fault: why not, or ""."""

    began: float
    ended: float
    by: str | None
    fault: str


@contextlib.contextmanager
def _looping(network: Network, name: str, main: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Run this in an event loop of a thread in that namespace, until the end of the block."""
    begun = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def marked() -> None:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        begun.set()
        await main

    def serve() -> None:
        with network.entered(name), contextlib.suppress(asyncio.CancelledError):
            asyncio.run(marked())

    thread = threading.Thread(target=serve)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # it has come to its end
            running[0][0].call_soon_threadsafe(running[0][1].cancel)
        thread.join()


# --- backends -------------------------------------------------------------------------------------------------------------


async def _respond(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            line = head.split(b"\r\n")[0].decode()
            forwarded = next((row for row in head.split(b"\r\n") if row.lower().startswith(b"x-forwarded-for:")), b"")
            body = f"{name} {forwarded.partition(b':')[2].strip().decode()}".encode()
            if LONG not in line:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(body)))
            for _ in range(PIECES):
                writer.write(body)
                await writer.drain()
                await asyncio.sleep(PIECE_S)
    writer.close()


async def _backends(sockets: dict[str, socket.socket]) -> None:
    for name, listener in sockets.items():
        await asyncio.start_server(functools.partial(_respond, name), sock=listener)
    await asyncio.Event().wait()


@contextlib.contextmanager
def backends(network: Network) -> Iterator[None]:
    """One for each node, at the router: port 9001 says "a", 9002 "b", ... and what X-Forwarded-For said."""
    with network.entered(ROUTER):
        sockets = {
            name: socket.create_server(("10.77.0.1", FIRST_PORT + at), backlog=1024) for at, name in enumerate(network.names)
        }
    with _looping(network, ROUTER, _backends(sockets)):
        yield


# --- clients --------------------------------------------------------------------------------------------------------------


class Clients:
    """Come every 5 ms, one connection and request each. attempts: those that ended, in the order of their ends."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    async def main(self) -> None:
        """Until it is cancelled."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as under_way:
            while True:
                under_way.create_task(self._attempt())
                due = max(due + EVERY_S, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())

    async def _attempt(self) -> None:
        began = time.monotonic()
        by, fault = None, ""
        try:
            async with asyncio.timeout(LIMIT_S):
                by = (await ask("/")).split()[0]
        except (OSError, ValueError, IndexError) as error:
            fault = repr(error)
        self.attempts.append(Attempt(began, time.monotonic(), by, fault))

    def served_by(self, name: str, since: float = 0.0) -> bool:
        """Did that node serve a client that came after this time?"""
        return any(attempt.by == name and attempt.began > since for attempt in reversed(self.attempts))

    def moved_s(self, since: float, to: str) -> float:
        """How long after this time the last client came that `to` did not serve at once, before all were for STEADY_S."""
        last = since
        for attempt in sorted(self.attempts):
            if attempt.began > last + STEADY_S:
                break
            if attempt.began > since and (attempt.by != to or attempt.ended - attempt.began > LATE_S):
                last = attempt.began
        return last - since

    def lost(self, since: float) -> list[Attempt]:
        """Clients that came or waited after this time, and were not served."""
        return [attempt for attempt in self.attempts if attempt.ended > since and attempt.fault]


async def ask(path: str, address: tuple[str, int] = (SHARED, PORT)) -> str:
    """The body of a response over a connection of its own. Raises OSError or ValueError when it is not whole."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        while not reader.at_eof():
            answer += await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next((row for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:")), b":-1")
    if not head.startswith(b"HTTP/1.1 200 ") or len(body) != int(length.partition(b":")[2]):
        raise ValueError(head.split(b"\r\n")[0].decode(errors="replace"))
    return body.decode()


@contextlib.contextmanager
def clients(network: Network) -> Iterator[Clients]:
    """They come until the end of the block."""
    coming = Clients()
    with _looping(network, CLIENT, coming.main()):
        yield coming


class Long:
    """Clients with a response of three seconds each, for a few of them at a time. done, faults: how they ended."""

    def __init__(self, count: int) -> None:
        self.done = 0
        self.faults: list[str] = []
        self.count = count
        self.begun = threading.Event()

    async def main(self) -> None:
        """All of them, once."""
        await asyncio.gather(*(self._one() for _ in range(self.count)))

    async def _one(self) -> None:
        try:
            task = asyncio.create_task(ask(LONG))
            await asyncio.sleep(PIECE_S * 3)  # by then it has its first pieces
            self.begun.set()
            async with asyncio.timeout(PIECES * PIECE_S * 4):
                await task
            self.done += 1
        except (OSError, ValueError) as error:
            self.faults.append(type(error).__name__)


@contextlib.contextmanager
def long_responses(network: Network, count: int) -> Iterator[Long]:
    """So many, under way from the beginning of the block on."""
    running = Long(count)
    with _looping(network, CLIENT, running.main()):
        if count:
            running.begun.wait(10)
        yield running
