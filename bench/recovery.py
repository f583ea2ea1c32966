"""`python -m bench.recovery`: how soon a killed worker or control plane is replaced. Writes bench/results/recovery.md.

No rival is in it: this is about parts that only lbcore has. Times are this machine's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import ready
from bench.pages import command, shown
from lbcore.client.admin_client import AdminClient

PAGE = Path(__file__).resolve().parent / "results" / "recovery.md"
HEAD = """\
# Recovery

`python -m bench.recovery`: {rounds} rounds each, a fresh balancer with one worker in each round, so that nobody else can serve.
Milliseconds: median (least..greatest). The load average was {load:.1f} at the start.

| what is killed (SIGKILL) | until | ms |
| --- | --- | --- |
"""
LIMIT_S = 20.0


class Echo:
    """A backend in this process: each connection gets one byte."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"x")


class Run:
    """`lbcore run` in a directory of its own."""

    def __init__(self, directory: str, backend: str, port: int = 0) -> None:
        line = ["run", "--listen", f"tcp://127.0.0.1:{port}", "--backend", backend, "--health", "off"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lbcore", *line, "--admin", "off", "--workers", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "LBCORE_RUNTIME_DIR": directory},
        )
        self.address = ready.address(ready.words(self.process)["listen"])
        self.control = AdminClient(f"unix:{directory}/lbcore.sock")

    def worker(self) -> int:
        """The process id of its only worker."""
        _, document = self.control.call("GET", "/status")
        return int(document["workers"][0]["pid"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)


@contextmanager
def running() -> Iterator[tuple[Run, str, str]]:
    """A fresh balancer, its directory and its backend."""
    echo = Echo()
    with tempfile.TemporaryDirectory() as directory, echo.listener:
        run = Run(directory, echo.address)
        try:
            yield run, directory, echo.address
        finally:
            if run.process.poll() is None:
                run.stop()


def ask(address: tuple[str, int]) -> bool:
    """One connection: was it served?"""
    try:
        with socket.create_connection(address, LIMIT_S) as client:
            return client.recv(1) == b"x"
    except OSError:
        return False


def until(what: str, address: tuple[str, int]) -> None:
    """Until a connection is served."""
    limit = time.monotonic() + LIMIT_S
    while not ask(address):
        if time.monotonic() > limit:
            raise SystemExit(f"{what}: no connection was served within {LIMIT_S:.0f} s")


def worker_killed() -> float:
    """Milliseconds from the kill of the only worker until a client that came at that moment has its answer."""
    with running() as (run, _, _):
        until("before", run.address)
        victim = run.worker()
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        until("a killed worker", run.address)
        return (time.perf_counter() - began) * 1e3


def control_plane_killed() -> float:
    """Milliseconds from the start of `lbcore run` until it has adopted the orphaned worker and says that it is ready."""
    with running() as (run, directory, backend):
        until("before", run.address)
        worker = run.worker()
        run.process.kill()
        run.process.wait()
        began = time.perf_counter()
        heir = Run(directory, backend, run.address[1])
        elapsed = (time.perf_counter() - began) * 1e3
        try:
            if heir.worker() != worker:
                raise SystemExit("the worker was replaced, not adopted")
        finally:
            heir.stop()
        return elapsed


CASES = (
    ("the only worker", "a client that came at that moment is served", worker_killed),
    (
        "the control plane",
        "`lbcore run`, started at once, has adopted its workers and is ready; they serve meanwhile",
        control_plane_killed,
    ),
)


def page(rounds: int) -> str:
    """All rows, measured now."""
    lines = [HEAD.format(rounds=rounds, load=os.getloadavg()[0])]
    for victim, end, measure in CASES:
        figures = shown([measure() for _ in range(rounds)], ".0f")
        lines.append(f"| {victim} | {end} | {figures} |\n")
        print(lines[-1], end="", flush=True)
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(command("bench.recovery", __doc__, page, PAGE, count="rounds", default=15, of="kills a row"))
