"""lbcore demo: backends that register themselves, a balancer, load, a failure, a recovery, a drain, on one screen.

Nothing is faked: the backends are processes of their own, the load is real HTTP over loopback, and the figures at the end are
counted from it. Exits 0 when what it promises has happened, 1 when not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from lbcore.api.balancer import Balancer
from lbcore.config.settings import (
    AdminSettings,
    BalancerSettings,
    LeaseSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS = 4
REQUESTS_A_CONNECTION = 20
LIMIT_S = 8.0
"""How long any one promise may take to come true."""

BACKEND = """
import sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from lbcore.client.registration import Registration

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = NAME.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
    def setup(self):
        super().setup()
        self.request.setsockopt(6, 1, 1)

NAME = sys.argv[2]
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with Registration(sys.argv[1], server.server_address[1], interval=0.3):
    server.serve_forever()
"""


class _Backend:
    """A sample server in a process of its own, which registers itself."""

    def __init__(self, name: str, admin: str) -> None:
        self.name = name
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.insert(0, {root!r})\n{BACKEND}"
        self._process = subprocess.Popen([sys.executable, "-c", code, admin, name], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it without a word to anybody."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class _Load:
    """Clients that ask all the time, over connections that they keep for a while."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._stopping = False
        self.latencies_s: list[float] = []
        self.failed = 0
        self.responses: Counter[str] = Counter()
        self.first_answer: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the clients."""
        self._stopping = True
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping:
            with contextlib.suppress(OSError):
                self._one_connection()

    def _one_connection(self) -> None:
        try:
            with socket.create_connection(self._address, timeout=3) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(REQUESTS_A_CONNECTION):
                    if self._stopping:
                        return
                    self._one_request(client)
                    time.sleep(0.002)
        except OSError:
            with self._lock:
                self.failed += 1
            time.sleep(0.02)
            raise

    def _one_request(self, client: socket.socket) -> None:
        began = time.perf_counter()
        client.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
            piece = client.recv(4096)
            if not piece:
                raise ConnectionResetError("the response was cut")
            answer += piece
        name = answer.partition(b"\r\n\r\n")[2].decode()
        with self._lock:
            self.latencies_s.append(time.perf_counter() - began)
            self.responses[name] += 1
            self.first_answer.setdefault(name, time.monotonic())

    def percentile(self, share: float) -> float:
        """Latency below which that share of requests stayed, milliseconds."""
        with self._lock:
            ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Screen:
    """Shows the pool as it changes: a live table on a terminal, one line a change elsewhere."""

    def __init__(self, balancer: Balancer, load: Callable[[], _Load | None]) -> None:
        self._balancer, self._load = balancer, load
        self._began = time.monotonic()
        self._events: list[str] = []
        self._live: Any = None
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(get_renderable=self._draw, refresh_per_second=8, transient=False)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """The screen is up."""
        with self._live or contextlib.nullcontext():
            yield

    def say(self, line: str) -> None:
        """Something happened."""
        text = f"{time.monotonic() - self._began:5.1f}s  {line}"
        self._events.append(text)
        if self._live is None:
            print(text, flush=True)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        colours = {"up": "green", "down": "red", "starting": "cyan", "draining": "magenta", "busy": "yellow"}
        table = Table("backend", "state", "sessions", "active", "reason", title="lbcore demo", expand=False)
        if self._balancer.running:
            for backend in self._balancer.status()["pools"][0]["backends"]:
                state = Text(backend["state"], style=colours[backend["state"]])
                table.add_row(
                    backend["address"],
                    state,
                    str(backend["sessions"]),
                    str(backend["active"]),
                    backend["reason"],
                )
        load = self._load()
        counts = f"{len(load.latencies_s)} requests, {load.failed} failed" if load else ""
        return Group(table, Text(counts), *(Text(event) for event in self._events[-10:]))


class _Promises:
    """What the demo says will happen, and whether it did."""

    def __init__(self, screen: _Screen) -> None:
        self._screen = screen
        self.broken: list[str] = []

    def wait(self, what: str, condition: Callable[[], bool]) -> float:
        """Wait for something promised: how long it took, seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > LIMIT_S:
                self.broken.append(what)
                self._screen.say(f"did not happen within {LIMIT_S:.0f} s: {what}")
                break
            time.sleep(0.01)
        return time.monotonic() - began


def _settings() -> BalancerSettings:
    return BalancerSettings(
        name="demo",
        workers=1,
        drain_timeout="2s",
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[
            PoolSettings(
                policy="p2c",
                probe=ProbeSettings(interval="300ms", timeout="200ms", rise=2, fall=2),
                lease=LeaseSettings(heartbeat="300ms", missed=3),
            )
        ],
        admin=AdminSettings(listen="127.0.0.1:0"),
    )


def main(seconds: float) -> int:
    """Run the demo for about so many seconds of show: the exit code."""
    backends: list[_Backend] = []
    load: _Load | None = None
    balancer = Balancer(settings=_settings(), log=lambda line: None)
    screen = _Screen(balancer, lambda: load)
    promises = _Promises(screen)
    figures: dict[str, float] = {}
    try:
        with screen.shown(), balancer:
            host, port = balancer.address
            screen.say(f"balancer on tcp://{host}:{port}, admin on {balancer.admin_address}; no backend yet")
            _enter(balancer, backends, ("one", "two", "three"), screen, promises)
            load = _Load(balancer.address)
            screen.say(f"load: {CLIENTS} clients, {REQUESTS_A_CONNECTION} requests a connection")
            time.sleep(seconds / 4)
            figures["kill"] = _kill_one(balancer, backends[0], load, screen, promises)
            time.sleep(seconds / 6)
            figures["join"] = _join_one(balancer, backends, load, screen, promises)
            time.sleep(seconds / 6)
            _drain_one(balancer, screen, promises)
            time.sleep(seconds / 4)
            load.stop()
            ledger = balancer.status()["workers"]
    finally:
        if load:
            load.stop()
        for backend in backends:
            backend.kill()
    return _report(load, figures, ledger, promises)


def _states(balancer: Balancer) -> Counter[str]:
    return Counter(backend.state for backend in balancer.pool().backends())


def _enter(balancer: Balancer, backends: list[_Backend], names: tuple[str, ...], screen: _Screen, promises: _Promises) -> None:
    assert balancer.admin_address is not None
    backends += [_Backend(name, balancer.admin_address) for name in names]
    wanted = len(backends)
    took_s = promises.wait("the backends register", lambda: _states(balancer)["up"] >= wanted)
    screen.say(f"{len(names)} backends registered themselves and were probed: all up after {took_s:.2f} s")


def _kill_one(balancer: Balancer, victim: _Backend, load: _Load, screen: _Screen, promises: _Promises) -> float:
    screen.say(f"kill -9 of backend {victim.name!r}")
    up = _states(balancer)["up"]
    victim.kill()
    took_s = promises.wait("the dead backend leaves", lambda: _states(balancer)["up"] < up)
    screen.say(f"backend {victim.name!r} is out after {took_s * 1000:.0f} ms; new sessions go to the others")
    return took_s


def _join_one(balancer: Balancer, backends: list[_Backend], load: _Load, screen: _Screen, promises: _Promises) -> float:
    assert balancer.admin_address is not None
    known = {backend.id for backend in balancer.pool().backends()}
    backends.append(_Backend("four", balancer.admin_address))
    promises.wait(
        "the new backend registers",
        lambda: any(entry.id not in known for entry in balancer.pool().backends()),
    )
    took_s = promises.wait("the new backend serves", lambda: "four" in load.first_answer)
    screen.say(f"backend 'four' joined: its first request {took_s * 1000:.0f} ms after it registered")
    return took_s


def _drain_one(balancer: Balancer, screen: _Screen, promises: _Promises) -> None:
    leaving = next(backend for backend in balancer.pool().backends() if backend.state == "up")
    screen.say(f"drain {leaving.address}: its sessions finish, no new ones come")
    leaving.drain()

    def empty() -> bool:
        entries = balancer.status()["pools"][0]["backends"]
        return all(entry["active"] == 0 for entry in entries if entry["id"] == leaving.id)

    took_s = promises.wait("the draining backend is empty", empty)
    screen.say(f"{leaving.address} is empty after {took_s * 1000:.0f} ms")


def _report(load: _Load, figures: dict[str, float], ledger: list[dict[str, Any]], promises: _Promises) -> int:
    total = len(load.latencies_s)
    spread = ", ".join(f"{name} {count}" for name, count in sorted(load.responses.items()))
    print()
    print(f"requests            {total}, {load.failed} failed (sessions that were open on the killed backend)")
    print(f"responses from      {spread}")
    print(f"latency             p50 {load.percentile(0.5):.2f} ms, p99 {load.percentile(0.99):.2f} ms")
    print(f"kill to out         {figures['kill'] * 1000:.0f} ms")
    print(f"register to request {figures['join'] * 1000:.0f} ms")
    for worker in ledger:
        print(
            f"worker {worker['id']}            accepted {worker['accepted']} = active {worker['active']} "
            f"+ closed {worker['closed']} + refused {worker['refused']}"
        )
    if load.failed > CLIENTS:
        promises.broken.append(f"at most {CLIENTS} requests fail, one for each session that the kill may cut")
    for promise in promises.broken:
        print(f"broken promise: {promise}", file=sys.stderr)
    return 1 if promises.broken or not total else 0
