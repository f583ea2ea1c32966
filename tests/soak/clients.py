"""The load: polite clients, whose every byte is checked, and rude ones, which leave, dawdle and talk junk."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import ssl
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from soak.backend import PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 4.0
"""How long a polite client waits for anything: more than the balancer's own limits in soak.settings."""
UDP_TRIES = 3


class Wrong(Exception):
    """An answer whose bytes are not what was asked for: no fault of a backend excuses it."""


class Tally:
    """What clients met, by kind. good, failed: counts. wrong, last: in words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.good: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.last: dict[str, str] = {}

    def add(self, kind: str, error: Exception | None = None) -> None:
        """One more."""
        with self._lock:
            if error is None:
                self.good[kind] += 1
                return
            self.failed[kind] += 1
            self.last[kind] = repr(error)
            if isinstance(error, Wrong):
                self.wrong.append(f"{kind}: {error}")

    def totals(self) -> tuple[Counter[str], Counter[str]]:
        """(good, failed) so far."""
        with self._lock:
            return Counter(self.good), Counter(self.failed)


def _same(got: bytes, wanted: bytes, what: str) -> None:
    if got != wanted:
        at = next(
            (at for at, (one, two) in enumerate(zip(got, wanted, strict=False)) if one != two), min(len(got), len(wanted))
        )
        if len(got) < len(wanted) and at == len(got):
            raise ConnectionError(f"{what}: ended after {at} of {len(wanted)} bytes")
        raise Wrong(f"{what}: {len(got)} bytes, not {len(wanted)}, the first wrong one at {at}")


class Clients:
    """addresses: by listener. start() and stop(); rate: how long each client pauses between two calls, seconds."""

    def __init__(self, addresses: dict[str, tuple[str, int]], tally: Tally, seed: int, pause_s: float = 0.01) -> None:
        self._at, self._tally, self._pause_s = addresses, tally, pause_s
        self._stop = threading.Event()
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        kinds = {"tcp": self._tcp, "http": self._http, "https": self._https, "udp": self._udp}
        crew = [(kind, call) for kind, call in kinds.items() if kind in addresses for _ in range(2)]
        crew += [("upgrade", self._upgrade), ("rude", self._rude), ("rude", self._rude)]
        self._threads = [
            threading.Thread(target=self._run, args=(kind, call, random.Random(seed + number)), daemon=True)
            for number, (kind, call) in enumerate(crew)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once each has done what it is at."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: str, call: Callable[[random.Random], None], dice: random.Random) -> None:
        while not self._stop.is_set():
            try:
                call(dice)
            except (OSError, http.client.HTTPException, Wrong) as error:
                if kind == "rude":
                    self._tally.add(kind)
                else:
                    self._tally.add(kind, error)
            time.sleep(self._pause_s * dice.uniform(0.2, 1.8))

    def _dial(self, listener: str) -> socket.socket:
        made = socket.create_connection(self._at[listener], LIMIT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    # --- polite ones ---------------------------------------------------------------------------------------------

    def _tcp(self, dice: random.Random) -> None:
        with self._dial("tcp") as client:
            for _ in range(dice.choice((1, 1, 3, 30))):
                self._echo(client, dice, "tcp")

    def _echo(self, client: socket.socket, dice: random.Random, kind: str) -> None:
        data = PATTERN[dice.randrange(250) :][: dice.choice((1, 100, 5_000, 150_000))]
        sender = threading.Thread(target=_send_quietly, args=(client, data)) if len(data) > 60_000 else None
        if sender:
            sender.start()
        else:
            client.sendall(data)
        try:
            got = _read(client, len(data))
        finally:
            if sender:
                sender.join()
        _same(got, data, "echo")
        self._tally.add(kind)

    def _http(self, dice: random.Random) -> None:
        self._ask(http.client.HTTPConnection(*self._at["http"], timeout=LIMIT_S), dice, "http")

    def _https(self, dice: random.Random) -> None:
        self._ask(http.client.HTTPSConnection(*self._at["https"], timeout=LIMIT_S, context=self._tls), dice, "https")

    def _ask(self, connection: http.client.HTTPConnection, dice: random.Random, kind: str) -> None:
        with contextlib.closing(connection):
            for _ in range(dice.choice((1, 5, 50))):
                size = dice.choice((0, 2, 900, 20_000, 300_000))
                if dice.random() < 0.2:
                    wanted = PATTERN[: min(size, 100_000)]
                    connection.request("POST", "/echo", body=wanted)
                else:
                    wanted = PATTERN[:size]
                    connection.request("GET", f"/{dice.choice(('bytes', 'bytes', 'chunks', 'close'))}/{size}")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise ConnectionError(f"status {answer.status}: {body[:60]!r}")
                _same(body, wanted, "answer")
                self._tally.add(kind)
                if self._stop.is_set():
                    return
                time.sleep(self._pause_s * dice.random())

    def _udp(self, dice: random.Random) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.connect(self._at["udp"])
            for _ in range(dice.choice((1, 20))):
                self._datagram(client, os.urandom(8) + PATTERN[: dice.choice((1, 500, 1_300))])
                time.sleep(self._pause_s * dice.random())

    def _datagram(self, client: socket.socket, data: bytes) -> None:
        for _ in range(UDP_TRIES):
            client.send(data)
            with contextlib.suppress(TimeoutError):
                while (got := client.recv(65536))[:8] != data[:8]:  # the answer to an earlier one, late
                    pass
                _same(got, data, "datagram")
                self._tally.add("udp")
                return
        raise TimeoutError(f"no answer to {UDP_TRIES} datagrams")

    def _upgrade(self, dice: random.Random) -> None:
        with self._dial("http") as client:
            client.sendall(b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (byte := client.recv(1)):
                    raise ConnectionError("no answer to an upgrade")
                head += byte
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(f"no upgrade: {head[:40]!r}")
            for _ in range(dice.choice((1, 10))):
                self._echo(client, dice, "upgrade")

    # --- rude ones -----------------------------------------------------------------------------------------------

    def _rude(self, dice: random.Random) -> None:
        listener = dice.choice([name for name in self._at if name != "udp"])
        act = dice.choice((self._leave, self._reset, self._dawdle, self._junk, self._half_head, self._crowd, self._stray))
        act(listener, dice)
        self._tally.add("rude")

    def _begin(self, listener: str, dice: random.Random) -> socket.socket:
        """A connection that has asked for much."""
        client = self._dial(listener)
        if listener == "https":
            client = self._tls.wrap_socket(client, server_hostname="soak.example")
        client.sendall(b"x" * 50_000 if listener == "tcp" else b"GET /bytes/2000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        return client

    def _leave(self, listener: str, dice: random.Random) -> None:
        with self._begin(listener, dice) as client:
            client.recv(dice.choice((1, 4_000)))

    def _reset(self, listener: str, dice: random.Random) -> None:
        with self._begin(listener, dice) as client:
            client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def _dawdle(self, listener: str, dice: random.Random) -> None:
        with self._begin(listener, dice) as client:
            for _ in range(dice.choice((5, 40))):
                if self._stop.is_set() or not client.recv(1_000):
                    return
                time.sleep(0.05)

    def _junk(self, listener: str, dice: random.Random) -> None:
        with self._dial(listener) as client:
            junk = (
                dice.randbytes(3_000),
                b"\r\n" * 2_000,
                b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01" * 9,
            )
            client.sendall(dice.choice(junk))
            client.settimeout(0.3)
            client.recv(1_000)

    def _half_head(self, listener: str, dice: random.Random) -> None:
        """Slowloris: its head never ends."""
        with self._dial(listener) as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n" + b"\r\n" * dice.randrange(2))
            for _ in range(10):
                if self._stop.is_set():
                    return
                client.sendall(b"a: b\r\n")
                time.sleep(0.1)

    def _crowd(self, listener: str, dice: random.Random) -> None:
        """Many at once, that say nothing and go."""
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(self._dial(listener))
            time.sleep(0.05)

    def _stray(self, listener: str, dice: random.Random) -> None:
        """Datagrams from many ports, whose answers nobody awaits."""
        for _ in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(dice.randbytes(dice.randrange(1_400)), self._at["udp"])


def _read(client: socket.socket, count: int) -> bytes:
    """So many bytes, or what came before the end."""
    parts = []
    while count and (part := client.recv(min(count, 1 << 16))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _send_quietly(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the reader says what went wrong
        client.sendall(data)
