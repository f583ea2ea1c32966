"""The loads: each drives a loopback address for a bounded time and says what it did. Clients only."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

REPORT = Path(__file__).with_name("wrk_report.lua")
PACED = Path(__file__).with_name("paced.c")
DATAGRAMS = Path(__file__).with_name("datagrams.c")
WARMUP_S = 0.3
"""Of a paced load: requests of this time are sent and not counted."""

TIMEOUT_S = 5
"""An answer that takes longer is an error."""

Address = tuple[str, int]
Memory = Callable[[], int]


class LoadFailed(Exception):
    """The load did not do what it should: no tool, errors, no answers."""


@dataclass
class Done:
    """What a load did.

    seconds: its own wall clock. answers, bytes: what came back. latency_us: by quantile. memory_b: only from
    Idle. raw: what its tool said.
    """

    command: str
    seconds: float
    answers: int
    bytes: int
    latency_us: dict[str, float] = field(default_factory=dict)
    memory_b: float | None = None
    raw: dict[str, float] = field(default_factory=dict)


def client_threads() -> int:
    """Threads of the load generator and workers of the origin: half the cores, 1 to 4."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


@dataclass(frozen=True)
class Wrk:
    """wrk: `connections` clients, each one request at a time, as fast as responses come."""

    path: str
    connections: int
    close: bool = False
    tls: bool = False

    def command(self, address: Address, seconds: float) -> list[str]:
        """The command line; wrk takes whole seconds."""
        threads = min(client_threads(), self.connections)
        options = [
            f"-t{threads}",
            f"-c{self.connections}",
            f"-d{max(1, round(seconds))}s",
            f"--timeout={TIMEOUT_S}s",
        ]
        header = ["-H", "Connection: close"] if self.close else []
        return [
            shutil.which("wrk") or "wrk",
            *options,
            "-s",
            str(REPORT),
            "-H",
            "Host: bench",
            *header,
            url(address, self.path, "https" if self.tls else "http"),
        ]

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed."""
        command = self.command(address, seconds)
        report = _read_report(output_of(command, seconds + 4 * TIMEOUT_S))
        latency = {key: report[key] for key in ("p50_us", "p99_us", "p999_us", "max_us")}
        return Done(
            command=shown(command),
            seconds=report["duration_us"] / 1e6,
            answers=int(report["requests"]),
            bytes=int(report["bytes"]),
            latency_us=latency,
            raw=report,
        )


@dataclass(frozen=True)
class Paced:
    """Requests at a fixed rate over `connections`, whether or not responses come; latency from when each was due.

    So a stall is counted in every request that it held up, and not only in one (coordinated omission).
    `share`: of the rate that `rival` reaches under `flat_out`, found once before the first round. `rate`: what that was.
    """

    path: str
    connections: int
    share: float
    rival: str
    rate: float = 0.0

    @property
    def flat_out(self) -> Wrk:
        """The load whose rate is the whole."""
        return Wrk(self.path, connections=64)

    def at(self, whole: float) -> Paced:
        """This load, of a rival that reaches `whole` requests a second."""
        return replace(self, rate=round(self.share * whole))

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed: also when it could not keep up its rate."""
        numbers = [self.connections, self.rate, seconds, WARMUP_S]
        command = [str(compiled(PACED)), address[0], str(address[1]), self.path, *(f"{number:g}" for number in numbers)]
        report = _read_report(output_of(command, seconds + 4 * TIMEOUT_S))
        latency = {key: report[key] for key, _ in _SHARES}
        wall, answers, size = report["duration_us"] / 1e6, int(report["requests"]), int(report["bytes"])
        return Done(shown(command), wall, answers, size, latency, raw=report)


@dataclass(frozen=True)
class Sequential:
    """One client on one keep-alive connection: a request, its answer, the next request."""

    path: str

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed."""
        took: list[int] = []
        size = 0
        with connected(address) as client:
            _exchange(client, self.path)
            start = time.perf_counter_ns()
            end = start + int(seconds * 1e9)
            while (before := time.perf_counter_ns()) < end:
                size += _exchange(client, self.path)
                took.append(time.perf_counter_ns() - before)
        took.sort()
        latency = {name: _quantile(took, share) / 1e3 for name, share in _SHARES}
        wall = (time.perf_counter_ns() - start) / 1e9
        text = f"one socket, one GET {self.path} after the other for {seconds:g} s (bench/load.py, Sequential)"
        return Done(text, wall, len(took), size, latency)


@dataclass(frozen=True)
class Idle:
    """Sessions that did one request and stay open. Memory: of `more` sessions beyond the `first`."""

    path: str
    first: int
    more: int

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed. Waits a second before each reading: what was pooled has been given back."""
        clients: list[socket.socket] = []
        start = time.perf_counter()
        try:
            self._open(clients, address, self.first)
            before = memory()
            self._open(clients, address, self.more)
            after = memory()
            size = sum(_exchange(client, self.path) for client in clients[:: len(clients) // 20])
        finally:
            for client in clients:
                client.close()
        text = f"{self.first} sessions, then {self.more} more (bench/load.py, Idle)"
        raw = {"before_b": float(before), "after_b": float(after)}
        done = Done(text, time.perf_counter() - start, len(clients), size, raw=raw)
        done.memory_b = (after - before) / self.more
        return done

    def _open(self, clients: list[socket.socket], address: Address, count: int) -> None:
        for _ in range(count):
            clients.append(connected(address))
            _exchange(clients[-1], self.path)
        time.sleep(1)


@dataclass(frozen=True)
class Datagrams:
    """`clients`, each one datagram of `size` bytes at a time, the next when its answer is there."""

    clients: int
    size: int

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed: also when more than one in a thousand was lost."""
        numbers = [address[1], self.clients, self.size, f"{seconds:g}"]
        command = [str(compiled(DATAGRAMS)), "load", address[0], *map(str, numbers)]
        report = _read_report(output_of(command, seconds + 4 * TIMEOUT_S))
        answers = int(report["requests"])
        if report["lost"] > answers / 1000:
            raise LoadFailed(f"{report['lost']:g} datagrams of {answers} were lost")
        latency = {key: report[key] for key, _ in _SHARES if key in report}
        return Done(shown(command), report["duration_us"] / 1e6, answers, int(report["bytes"]), latency, raw=report)


@dataclass(frozen=True)
class Resumed:
    """A new TLS connection a request, each resumed by the ticket of the one before: `clients` threads, one after the other."""

    path: str
    clients: int

    def run(self, address: Address, seconds: float, memory: Memory) -> Done:
        """Raises LoadFailed: also when a connection was not resumed."""
        end = time.perf_counter() + seconds
        start = time.perf_counter_ns()
        with ThreadPoolExecutor(self.clients) as pool:
            counts = list(pool.map(lambda _: self._client(address, end), range(self.clients)))
        wall = (time.perf_counter_ns() - start) / 1e9
        text = f"{self.clients} threads, a resumed TLS connection a GET {self.path}, {seconds:g} s (bench/load.py, Resumed)"
        return Done(text, wall, sum(count for count, _ in counts), sum(size for _, size in counts))

    def _client(self, address: Address, end: float) -> tuple[int, int]:
        context = insecure_context()
        ticket: ssl.SSLSession | None = None
        count = size = 0
        while time.perf_counter() < end:
            with connected(address) as client, secured(client, context, ticket) as secure:
                size += _exchange(secure, self.path)
                if ticket is not None and not secure.session_reused:
                    raise LoadFailed("a ticket was not taken")
                ticket = secure.session
                count += 1
        return count, size


_SHARES = (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0))


def get(address: Address, path: str, *, tls: bool = False) -> int:
    """One request on a new connection: the answer's size in bytes. Raises LoadFailed."""
    with connected(address) as client:
        return _exchange(secured(client, insecure_context()) if tls else client, path)


def insecure_context() -> ssl.SSLContext:
    """For the run's own certificate, on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def secured(client: socket.socket, context: ssl.SSLContext, ticket: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """TLS over a connection. Raises LoadFailed."""
    try:
        return context.wrap_socket(client, server_hostname="bench", session=ticket)
    except OSError as error:
        raise LoadFailed(f"no TLS: {error}") from None


def compiled(source: Path) -> Path:
    """A program of this folder, made when it is missing or older than its source. Raises LoadFailed."""
    program = source.parent.parent / "build" / "bench" / source.stem
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_name(f"{source.stem}.{os.getpid()}")
    output_of([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-o", str(fresh), str(source)], 60)
    fresh.replace(program)
    return program


def url(address: Address, path: str, scheme: str) -> str:
    return f"{scheme}://{address[0]}:{address[1]}{path}"


def shown(command: list[str]) -> str:
    """Without the directories that differ from machine to machine."""
    return shlex.join([Path(command[0]).name, *command[1:]]).replace(f"{REPORT.parent.parent}/", "")


def output_of(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise LoadFailed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{command[0]} did not end within {timeout_s:g} s") from None
    if done.returncode:
        raise LoadFailed(f"{command[0]} ended with code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _read_report(output: str) -> dict[str, float]:
    """The REPORT line of wrk_report.lua. Raises LoadFailed for errors in it, or when nothing was answered."""
    line = next((line for line in output.splitlines() if line.startswith("REPORT ")), None)
    if line is None:
        raise LoadFailed("the load printed no report")
    report: dict[str, float] = json.loads(line.removeprefix("REPORT "))
    errors = {key: value for key, value in report.items() if key.endswith(("_errors", "timeouts")) and value}
    if errors:
        raise LoadFailed("the load counted " + ", ".join(f"{value:g} {key}" for key, value in errors.items()))
    if not report["requests"]:
        raise LoadFailed("no request was answered")
    return report


def connected(address: Address) -> socket.socket:
    try:
        client = socket.create_connection(address, timeout=TIMEOUT_S)
    except OSError as error:
        raise LoadFailed(f"connect to {address[0]}:{address[1]}: {error}") from None
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _exchange(client: socket.socket, path: str) -> int:
    """One request and its answer (with Content-Length): the answer's size in bytes. Raises LoadFailed."""
    try:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        answer = _receive(client, b"")
        while (head_end := answer.find(b"\r\n\r\n")) < 0:
            answer = _receive(client, answer)
        size = head_end + 4 + _content_length(answer[:head_end])
        while len(answer) < size:
            answer = _receive(client, answer)
    except OSError as error:
        raise LoadFailed(f"a request failed: {error}") from None
    return size


def _receive(client: socket.socket, answer: bytes) -> bytes:
    piece = client.recv(65536)
    if not piece:
        raise LoadFailed("a connection was closed before its answer was whole")
    return answer + piece


def _content_length(head: bytes) -> int:
    status, *fields = head.split(b"\r\n")
    if b" 200" not in status:
        raise LoadFailed(f"answered {status.decode(errors='replace')}")
    for line in fields:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            if not int(value):
                raise LoadFailed("an empty answer, which no origin gives: it came from before it")
            return int(value)
    raise LoadFailed("an answer without Content-Length")


def _quantile(ordered: list[int], share: float) -> float:
    """The nearest-rank quantile of an ordered list."""
    if not ordered:
        raise LoadFailed("no request was answered")
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
