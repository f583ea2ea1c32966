"""What the tests share: a balancer whose books are checked, real peers, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import selectors
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbcore.api.balancer import Balancer
from lbcore.client.registration import AdminClient
from lbcore.discovery.reaching import local_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_S = 10.0
PORTS = 12_000
SLOWER = 4 if "LBCORE_SANITIZED" in os.environ else int(os.environ.get("LBCORE_PATIENCE", "1"))
"""How much slower a sanitized engine may be, or a machine that is busy with something else (LBCORE_PATIENCE=3)."""


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = PATIENCE_S) -> Any:
    """The condition's first true value. Fails the test when there is none in time."""
    deadline = time.monotonic() + limit_s * SLOWER
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen within {limit_s} s: {what}"
        time.sleep(0.005)


def stays(condition: Callable[[], Any], what: str, for_s: float) -> None:
    """True now and for so long, for what must not happen: nothing tells that it has not. Fails the test once it is false."""
    until = time.monotonic() + for_s
    while True:
        assert condition(), f"was so for less than {for_s} s: {what}"
        if time.monotonic() > until:
            return
        time.sleep(0.005)


# --- books -----------------------------------------------------------------------------------------------------------


def totals(status: dict[str, Any]) -> dict[str, int]:
    """The workers' figures, summed."""
    others = ("id", "pid", "state", "loop", "forwards", "hangs", "http2_resets")
    names = [name for name in status["workers"][0] if name not in others]
    return {name: sum(worker[name] for worker in status["workers"]) for name in names}


def settled(lb: Balancer | Command) -> dict[str, Any]:
    """The status once every worker has ended the turn in which it did what we saw: it counts after it has sent."""
    if isinstance(lb, Balancer):
        time.sleep(0.002)  # heartbeats are in ms
        lb._running().supervisor.held_up(PATIENCE_S)
    else:
        time.sleep(0.05)
    return lb.status()


def check_ledger(status: dict[str, Any]) -> None:
    """The equations beside the counters in csrc/layout/figures.h, for every worker."""
    for worker in status["workers"]:
        assert worker["accepted"] == worker["active"] + worker["closed"] + worker["refused"], worker
        endings = ("active", "done", "refused", "client_aborts", "failed", "stopped", "lost")
        assert worker["requests"] == sum(worker[f"requests_{ending}"] for ending in endings), worker
        for kind in ("refused", "closed"):
            parts = sum(value for name, value in worker.items() if name.startswith(f"{kind}_"))
            assert worker[kind] == parts, (kind, worker)


def check_idle(status: dict[str, Any]) -> None:
    """Nothing is under way, so nothing is held."""
    figures = totals(status)
    for name in ("active", "buffers", "pipes", "requests_active", "queued", "handshakes_active", "clients_counted"):
        assert figures[name] == 0, (name, figures)
    for pool in status["pools"]:
        for backend in pool["backends"]:
            assert backend["active"] == 0, backend


def is_quiet(status: dict[str, Any]) -> bool:
    """Is no session and no handshake under way? A backend connection that stays may say a last word of one."""
    figures = totals(status)
    return not figures["active"] and not figures["handshakes_active"] and not figures["buffers"]


def descriptors() -> set[str]:
    """What this process has open."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
    return found


@contextlib.contextmanager
def connections() -> Iterator[list[socket.socket]]:
    """A copy of each TCP connection of this process: the peers' ends, and an embedded balancer's."""
    copies: list[socket.socket] = []
    try:
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(f"/proc/self/fd/{entry}").st_mode):
                    copies.append(socket.socket(fileno=os.dup(int(entry))))
        yield [copy for copy in copies if _is_connected(copy)]
    finally:
        for copy in copies:
            copy.close()


def _is_connected(candidate: socket.socket) -> bool:
    try:
        return candidate.family != socket.AF_UNIX and candidate.type == socket.SOCK_STREAM and bool(candidate.getpeername())
    except OSError:
        return False


# --- balancers -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def balanced(**options: Any) -> Iterator[Balancer]:
    """An embedded balancer on a port of its own; its books are checked at the end."""
    options = {"listen": "tcp://127.0.0.1:0", "health": "off", "workers": 1, "drain_timeout": "2s"} | options
    if "settings" in options:
        options = {"settings": options["settings"]}
    balancer = Balancer(**options)
    balancer.start()
    try:
        yield balancer
        wait_for(lambda: is_quiet(balancer.status()), "all sessions end")
        check_ledger(balancer.status())
        check_idle(balancer.status())
    finally:
        balancer.stop(0)


PASS_ON = """
import os, sys
numbers, line = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
copies = [os.dup(int(number)) for number in numbers]
copies = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)] and [os.dup(copy) for copy in copies]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
os.closerange(3 + len(copies), 100)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies))}
os.execv(line[0], line)
"""
"""Puts descriptors where sd_listen_fds(3) wants them, then becomes what follows."""


class Command:
    """`lbcore run` as a process. address, admin, name, pid: from its ready line."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        nofile: int = 0,
        sockets: Sequence[socket.socket] = (),
        python: str = sys.executable,
        through: Sequence[str] = (),
    ) -> None:
        """sockets: passed as systemd would (LISTEN_FDS). through: a command that becomes it."""
        self.directory = directory
        self.stderr = directory / f"stderr-{time.monotonic_ns()}"
        self.env = {**os.environ, "LBCORE_RUNTIME_DIR": str(directory), **(env or {})}
        prefix = ["prlimit", f"--nofile={nofile}:{nofile}"] if nofile else []
        if sockets:
            prefix = [sys.executable, "-c", PASS_ON, *(str(passed.fileno()) for passed in sockets), "--"]
        with self.stderr.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, *through, python, "-m", "lbcore", "run", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.env,
                text=True,
                pass_fds=[passed.fileno() for passed in sockets],
            )
        self.ready_line = self._first_line()
        pairs = [word.partition("=") for word in self.ready_line.split()[2:]]
        self.listens = [value for key, _, value in pairs if key == "listen"]
        words = {key: value for key, _, value in pairs}
        self.name, self.admin, self.pid = words["name"], words["admin"], int(words["pid"])
        self.control = AdminClient(f"unix:{directory}/{self.name}.sock")

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        if "--access-log stdout" in " ".join(self.process.args):  # type: ignore[arg-type]
            return self._line_on_stderr()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE_S * SLOWER * 2), f"no ready line; stderr: {self.stderr.read_text()}"
        line = self.process.stdout.readline()
        assert line.startswith("lbcore ready "), f"{line!r}; stderr: {self.stderr.read_text()}"
        return line.strip()

    def _line_on_stderr(self) -> str:
        def found() -> str:
            lines = self.stderr.read_text().splitlines(keepends=True)
            return next((line for line in lines if line.startswith("lbcore ready ") and line.endswith("\n")), "")

        return str(wait_for(found, "a ready line on stderr", PATIENCE_S * 2)).strip()

    @property
    def address(self) -> tuple[str, int]:
        """Where the first listener listens."""
        return self.addresses[0]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where each listener listens."""
        found = (url.partition("://")[2].rpartition(":") for url in self.listens)
        return [(host.strip("[]"), int(port)) for host, _, port in found]

    def status(self) -> dict[str, Any]:
        """The status document, over the control socket."""
        code, document = self.control.call("GET", "/status")
        assert code == 200, document
        return document

    def call(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """An operator's call."""
        return self.control.call("POST", path, body)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another lbcore command, in this one's runtime directory."""
        return subprocess.run(
            [sys.executable, "-m", "lbcore", *arguments], env=self.env, capture_output=True, text=True, timeout=60
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait: its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S * SLOWER * 3)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def command(directory: Path, *arguments: str, **options: Any) -> Iterator[Command]:
    """A running `lbcore run` whose books are checked at the end. --workers 1 --admin off unless said otherwise."""
    defaults = {"--workers": "1", "--admin": "off"}
    extra = [word for flag, value in defaults.items() if flag not in arguments for word in (flag, value)]
    running = Command(directory, *arguments, *extra, **options)
    try:
        yield running
        if running.process.poll() is None:
            wait_for(lambda: is_quiet(running.status()), "all sessions end")
            check_ledger(running.status())
            check_idle(running.status())
        assert running.stop() == 0, running.stderr.read_text()
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


# --- peers -----------------------------------------------------------------------------------------------------------


class Peer:
    """A server in a thread a connection. `serve(connection)` is the whole of a connection's life."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = serve
        local = host.startswith("unix:")
        family = socket.AF_UNIX if local else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(local_target(host) if local else (host, port))
        self.socket.listen(4096)
        self.host, self.port = (host, 0) if local else self.socket.getsockname()[:2]
        self.connections = 0
        self.open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self) -> str:
        """HOST:PORT, or unix:PATH as it was given."""
        if self.host.startswith("unix:"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.add(connection)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._serve(connection)
        connection.close()
        self.open.discard(connection)

    def close(self) -> None:
        """Stop listening and cut what is open."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._acceptor.join()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo(connection: socket.socket) -> None:
    """Send back what comes, until it ends."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def named(name: bytes) -> Callable[[socket.socket], None]:
    """Say the name at once, then wait for the end."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(name)
        while connection.recv(1 << 16):
            pass

    return serve


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def dial(address: tuple[str, int], limit_s: float = PATIENCE_S) -> socket.socket:
    """A client's connection."""
    connection = socket.create_connection(address, limit_s * SLOWER)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def deafen(connection: socket.socket) -> None:
    """Its host is gone: nothing that comes to it is acknowledged any more, or answered (a filter that drops all, socket(7))."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    connection.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop_all)))  # SO_ATTACH_FILTER


def is_refused(address: tuple[str, int]) -> bool:
    """Does a client that comes read a reset?"""
    try:
        with dial(address) as client:
            client.recv(1)
    except (ConnectionResetError, ConnectionRefusedError):
        return True
    return False


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or what came before the end."""
    parts = []
    while count and (part := connection.recv(min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end."""
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def _below_ephemeral_ports() -> Iterator[int]:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        bound = int(file.read().split()[0])
    count = min(PORTS, bound - 1025)
    start = random.randrange(count)  # another run has another place
    while True:
        start = (start + 1) % count
        yield bound - count + start


_PORTS = _below_ephemeral_ports()
_PORTS_LOCK = threading.Lock()


def free_port() -> int:
    """A port that nobody listens on. The kernel gives it to nobody who asks for any, so it is still free when it is used."""
    while True:
        with _PORTS_LOCK:
            port = next(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address whose connects neither succeed nor fail: a listener whose queue is full (tcp(7), somaxconn)."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        time.sleep(0.05)  # the queue fills by itself; nothing tells when
        yield f"127.0.0.1:{address[1]}"
