"""A steady load that tells what failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, namedtuple
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servers.kinds import Kind

Failed = namedtuple("Failed", "method at what")
Failed.__doc__ = "method: GET or POST. at: seconds since the load began. what: the response, or the error."


class Load:
    """Requests at an even rate, about half of them POSTs, each on a connection of its own, while something happens.

    Methods are drawn: if they alternated, round robin would send all POSTs to one of two servers.
    failed: what came to no 200. served: how many did. processes: those that the responses name.
    """

    def __init__(self, address: tuple[str, int], kind: Kind, rate: float = 50, patience_s: float = 15) -> None:
        self._address, self._kind = address, kind
        self._rate = rate
        self._patience_s = patience_s
        self.failed: list[Failed] = []
        self.served = 0
        self.processes: set[str] = set()

    def run(self, *steps: tuple[float, Callable[[], Any] | None]) -> None:
        """steps: (seconds, what is called then), in order; the last one ends the load."""
        asyncio.run(self._run(steps))

    def figures(self) -> dict[str, Any]:
        """asked, and how many of each method failed, with the first reasons."""
        by_method = Counter(failure.method for failure in self.failed)
        return {
            "asked": self.served + len(self.failed),
            "GET": by_method["GET"],
            "POST": by_method["POST"],
            "reasons": [" ".join(map(str, failure)) for failure in self.failed[:4]],
        }

    async def _run(self, steps: Sequence[tuple[float, Callable[[], Any] | None]]) -> None:
        began, tasks, left = time.monotonic(), set(), list(steps)
        serial, lots = 0, random.Random()
        while left:
            now = time.monotonic() - began
            if now >= left[0][0]:
                call = left.pop(0)[1]
                if call is not None:
                    await asyncio.to_thread(call)
                continue
            task = asyncio.create_task(self._ask(lots.choice(("GET", "POST")), now))
            tasks.add(task)
            serial += 1
            await asyncio.sleep(max(0.0, serial / self._rate - (time.monotonic() - began)))
        await asyncio.gather(*tasks)

    async def _ask(self, method: str, at: float) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                answer = await ask(self._address, request(self._kind, method))
        except (OSError, TimeoutError) as error:
            self.failed.append(Failed(method, round(at, 3), repr(error)))
            return
        if answer[9:12] == b"200":
            self.served += 1
            self.processes |= {_process(answer)}
        else:
            self.failed.append(Failed(method, round(at, 3), repr(answer[:40])))


def request(kind: Kind, method: str) -> bytes:
    """One whose response ends the connection."""
    path, body = (kind.post, kind.content) if method == "POST" else (kind.get, "")
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{length}\r\n{body}".encode()


async def ask(address: tuple[str, int], message: bytes) -> bytes:
    """The whole response to one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(message)
        return await reader.read()
    finally:
        writer.close()


def _process(answer: bytes) -> str:
    head = answer.partition(b"\r\n\r\n")[0].decode(errors="replace").lower()
    return head.partition("x-process: ")[2].partition("\r\n")[0]
