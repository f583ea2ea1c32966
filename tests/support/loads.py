"""Servers and clients that go on for as long as a test breaks something."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from harness import free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path


APP = """
import asyncio, os
async def app(scope, receive, send):
    if scope["type"] != "http": return
    if scope["path"] == "/health": await asyncio.sleep(float(os.environ["SLOW_HEALTH"]))
    status = int(os.environ["STATUS"]) if scope["path"] == "/" else 200
    if scope["path"] == "/": await asyncio.sleep(float(os.environ.get("SLOW", "0.002")))
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


CLIENTS = 4


class Server:
    """uvicorn on a port of its own."""

    def __init__(self, directory: Path, *, slow: float = 0.002, slow_health: float = 0, status: int = 200) -> None:
        (directory / "app.py").write_text(APP)
        self.port = free_port()
        self._directory = directory
        self._env = {"SLOW": str(slow), "SLOW_HEALTH": str(slow_health), "STATUS": str(status), "PATH": ""}
        self.process = self._start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), "--log-level", "error"]
        process = subprocess.Popen(line, cwd=self._directory, env=self._env)
        wait_for(self.answers, "uvicorn serves", 20)
        return process

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        with contextlib.suppress(OSError):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def restart(self) -> None:
        self.process = self._start()

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.end(signal.SIGKILL)


class Load:
    """Clients that ask one request after the other over kept connections, and count."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._stop = threading.Event()
        self.good = 0
        self.bad: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200 and body == b"ok":
                    self.good += 1
                    continue
                self.bad.append((time.monotonic(), f"{answer.status} {body!r}"))
            except (OSError, http.client.HTTPException) as error:
                self.bad.append((time.monotonic(), repr(error)))
            connection.close()
            time.sleep(0.005)
        connection.close()

    def flows(self, count: int = 100) -> None:
        """Wait for so many more good answers."""
        seen = self.good
        wait_for(lambda: self.good >= seen + count, f"{count} more answers", 20)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.flows(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
