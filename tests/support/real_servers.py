"""Real Python application servers, and a steady load that tells what failed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

from harness import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
PYTHON = [sys.executable, "-m"]

SERVERS: dict[str, Sequence[str]] = {
    "gunicorn sync": [*PYTHON, "gunicorn", "-b", "127.0.0.1:{port}", "apps:wsgi"],
    "gunicorn gthread": [*PYTHON, "gunicorn", "-b", "127.0.0.1:{port}", "-k", "gthread", "--threads", "4", "apps:wsgi"],
    "hypercorn": [*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", "apps:asgi"],
    "uvicorn --workers 2": [*PYTHON, "uvicorn", "--port", "{port}", "--workers", "2", "--log-level", "warning", "apps:asgi"],
    "sanic": [*PYTHON, "sanic", "apps:sanic", "--factory", "--host", "127.0.0.1", "--port", "{port}", "--no-motd"],
}
"""How each is started with its defaults."""

Failed = namedtuple("Failed", "method at what", module=__name__)


class Server:
    """A server as a process group of its own."""

    def __init__(self, kind: str) -> None:
        self.port = free_port()
        self.kind = kind
        words = [word.replace("{port}", str(self.port)) for word in SERVERS[kind]]
        self.process = subprocess.Popen(
            words, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        """Does it answer?"""
        import urllib.request

        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://{self.address}/", timeout=2).status == 200)
        return False

    def wait(self) -> None:
        """Until it serves."""
        wait_for(self.is_up, f"{self.kind} serves", 30)

    def close(self) -> None:
        """End the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Load:
    """Requests at an even rate, every second one a POST, each on a connection of its own, while something happens.

    failed: what came to no 200. served: how many did.
    """

    def __init__(self, address: tuple[str, int], rate: float = 50, patience_s: float = 15) -> None:
        self._address = address
        self._rate = rate
        self._patience_s = patience_s
        self.failed: list[Failed] = []
        self.served = 0
        self.slowest_s = 0.0

    def run(self, *steps: tuple[float, object]) -> None:
        """steps: (seconds, what is called then), in order; the last one ends the load."""
        asyncio.run(self._run(steps))  # type: ignore[arg-type]

    def by_method(self) -> dict[str, int]:
        """How many failed."""
        return dict(Counter(failure.method for failure in self.failed))

    async def _run(self, steps: Sequence[tuple[float, object]]) -> None:
        began, tasks, left = time.monotonic(), set(), list(steps)
        serial = 0
        while left:
            now = time.monotonic() - began
            if now >= left[0][0]:
                call = left.pop(0)[1]
                if callable(call):
                    await asyncio.to_thread(call)
                continue
            task = asyncio.create_task(self._ask("POST" if serial % 2 else "GET", now))
            tasks.add(task)
            serial += 1
            await asyncio.sleep(max(0.0, serial / self._rate - (time.monotonic() - began)))
        await asyncio.gather(*tasks)

    async def _ask(self, method: str, at: float) -> None:
        body = b"x" * 100 if method == "POST" else b""
        head = f"{method} /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                reader, writer = await asyncio.open_connection(*self._address)
                writer.write(head + body)
                answer = await reader.read()
                writer.close()
            if answer[9:12] == b"200":
                self.served += 1
            else:
                self.failed.append(
                    Failed(method, round(at, 3), answer[:15].decode(errors="replace") + answer[-60:].decode(errors="replace"))
                )
        except (OSError, TimeoutError) as error:
            self.failed.append(Failed(method, round(at, 3), repr(error)))
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
