"""`python -m bench.attack`: what good clients notice of each attack: requests a second, p50 and p99, failures; a line each.

Good clients (8 kept connections at one address) and attackers (at another) ask one uvicorn through `lbcore run --workers 2`.
All share this machine's cores, so that the attackers' own work shows in the figures, too: compare the lines, not machines.
Exit codes: 0 no good request failed, 1 some did.
"""

from __future__ import annotations

import http.client
import json
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
from bench.attackers import ATTACKS
from bench.origin import free_port

CLIENTS = 8
MEASURE_S = 3.0
BITE_S = 1.5
"""How long an attack goes on before anything is measured."""
ATTACKERS = {"request_flood": 50, "large_heads": 50, "small_windows": 200}
OTHERWISE = 300
LIMITS = """\
client_request_rate = 200
max_client_sessions = 100
client_session_rate = 200
min_body_rate = 240
trusted_proxies = ["127.0.0.1/32"]
"""
CONFIG = """\
workers = 2
[[listener]]
bind = "http://127.0.0.1:0"
header_timeout = "1s"
body_timeout = "1s"
{limits}
[[pool]]
[pool.probe]
kind = "off"
[[pool.backend]]
address = "127.0.0.1:{port}"
"""

Address = tuple[str, int]


class Good:
    """A client that asks one request after the other, and keeps the times."""

    def __init__(self, address: Address) -> None:
        self.times_s: list[float] = []
        self.failed = 0
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                good = answer.read() == b"ok" and answer.status == 200
            except (OSError, http.client.HTTPException):
                good = False
                connection.close()
            if good:
                self.times_s.append(time.perf_counter() - began)
            else:
                self.failed += 1
        connection.close()

    def end(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()


def measured(address: Address) -> tuple[float, float, float, int]:
    """Requests a second, p50 and p99 in ms, failures."""
    clients = [Good(address) for _ in range(CLIENTS)]
    time.sleep(MEASURE_S)
    for client in clients:
        client.end()
    times = sorted(second for client in clients for second in client.times_s)
    failed = sum(client.failed for client in clients)
    if not times:
        return 0.0, float("nan"), float("nan"), failed
    return len(times) / MEASURE_S, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3, failed


@contextmanager
def child(words: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A child that ends with the block."""
    process: subprocess.Popen[str] = subprocess.Popen([sys.executable, *words], text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def answers(port: int) -> bool:
    """Does the origin serve?"""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def balanced(directory: Path, port: int, limits: str) -> Iterator[Address]:
    """The address of `lbcore run` with these lines for its listener."""
    config = directory / "lb.toml"
    config.write_text(CONFIG.format(port=port, limits=limits))
    words = ["-m", "lbcore", "run", "-c", str(config), "--name", "attacked", "--admin", "off"]
    with child(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        yield ready.address(ready.words(running)["listen"])


@contextmanager
def attacked(name: str, address: Address) -> Iterator[dict[str, int]]:
    """Under this attack; what the attackers say is in the dict afterwards."""
    count = ATTACKERS.get(name, OTHERWISE)
    words = ["-m", "bench.attackers", name, address[0], str(address[1]), str(count)]
    said: dict[str, int] = {}
    with child(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attackers:
        time.sleep(BITE_S)
        yield said
        said |= json.loads(attackers.communicate(timeout=30)[0])


def line(what: str, figures: tuple[float, float, float, int], said: dict[str, int] | None = None) -> None:
    """One line of the report."""
    rate, p50, p99, failed = figures
    told = ", ".join(f"{key}: {value}" for key, value in sorted((said or {}).items()))
    print(f"{what:32} {rate:8.0f} req/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  failed {failed}  {told}", flush=True)


def main() -> int:
    """Measure and print."""
    bad = 0
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        child(["-m", "uvicorn", "bench.attackers:app", "--port", str(port), "--log-level", "error"]),
    ):
        while not answers(port):
            time.sleep(0.05)
        for limits, label in (("", "no limits"), (LIMITS, "limits")):
            with balanced(Path(directory), port, limits) as address:
                measured(address)  # warm
                line(f"no attack, {label}", measured(address))
                for name in ATTACKS:
                    if not limits and name not in ("connection_flood", "request_flood", "slow_heads"):
                        continue
                    with attacked(name, address) as said:
                        figures = measured(address)
                    line(f"{name}, {label}", figures, said)
                    bad += figures[3]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
