"""What systemd gives to a service, and what it wants to hear: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

Plain environment variables, descriptors and datagrams: no library. Whoever else speaks these protocols is served as well.
"""

from __future__ import annotations

import os
import socket
import time

from lbcore.config.settings import is_unix, join_host_port
from lbcore.control.socket_files import host_of
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lbcore.config.settings import ListenerSettings

FIRST_DESCRIPTOR = 3


class Inherited:
    """Sockets that whoever started this process bound for it. They stay open until `close`: reloads may want them again."""

    def __init__(self, sockets: list[tuple[str, socket.socket]]) -> None:
        """sockets: each with the name that it was given, or ""."""
        for _, held in sockets:
            held.setblocking(False)
        self._sockets = sockets
        self._wanted: set[int] = set()

    @classmethod
    def receive(cls, environment: MutableMapping[str, str] = os.environ) -> Inherited:
        """Take LISTEN_FDS and its kin out of the environment: what they say is for this process alone."""
        pid, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
        if pid != str(os.getpid()) or not count.isdigit():
            return cls([])
        given = names.split(":") + [""] * int(count)
        found = []
        for number in range(int(count)):
            os.set_inheritable(FIRST_DESCRIPTOR + number, False)
            found.append((given[number], socket.socket(fileno=FIRST_DESCRIPTOR + number)))
        return cls(found)

    def find(self, listener: ListenerSettings) -> socket.socket | None:
        """A copy of the socket that is meant for this listener, by its name or by its address. Raises ConfigError."""
        for at, (name, held) in enumerate(self._sockets):
            if name == listener.name or _serves(held, listener):
                _check(held, listener)
                self._wanted.add(at)
                return socket.socket(fileno=os.dup(held.fileno()))  # not held.dup(), which sets what all holders share
        return None

    def restore(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Leave all as it was received, for the program that this process is about to become."""
        if not self._sockets:
            return
        for _, held in self._sockets:
            os.set_inheritable(held.fileno(), True)
        names = ":".join(name for name, _ in self._sockets)
        environment.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(self._sockets)), LISTEN_FDNAMES=names)

    def unused(self) -> list[str]:
        """Those that no listener wanted, in words."""
        left = (entry for at, entry in enumerate(self._sockets) if at not in self._wanted)
        return [f"{_address(held)}{f' ({name})' if name else ''}" for name, held in left]

    def close(self) -> None:
        """Close our copies; whoever gave them has its own."""
        for _, held in self._sockets:
            held.close()
        self._sockets.clear()

    def __len__(self) -> int:
        return len(self._sockets)


def _kind(listener: ListenerSettings) -> socket.SocketKind:
    return socket.SOCK_DGRAM if listener.mode == "udp" else socket.SOCK_STREAM


def _families(listener: ListenerSettings) -> tuple[int, ...]:
    return (socket.AF_UNIX,) if is_unix(listener.host) else (socket.AF_INET, socket.AF_INET6)


def _address(held: socket.socket) -> str:
    name = held.getsockname()
    return join_host_port(name[0], name[1]) if isinstance(name, tuple) else host_of(held)


def _serves(held: socket.socket, listener: ListenerSettings) -> bool:
    """Is it bound to the very address that the listener names?"""
    if held.type != _kind(listener) or held.family not in _families(listener):
        return False
    if is_unix(listener.host):
        return host_of(held) == listener.host
    if not listener.port:
        return False
    try:
        found = socket.getaddrinfo(listener.host, listener.port, held.family, held.type, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return any(address[:2] == held.getsockname()[:2] for *_, address in found)


def _check(held: socket.socket, listener: ListenerSettings) -> None:
    where = f"listener {listener.name}: the socket that was passed for it, {_address(held)},"
    if held.type != _kind(listener) or held.family not in _families(listener):
        raise ConfigError(f"{where} is none for mode {listener.mode}")
    if held.type == socket.SOCK_STREAM and not held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError(f"{where} does not listen (socket units: Accept=no)")


class Notifier:
    """Tells the service manager how we are. Without one that asks, all of it does nothing. Never waits, never raises."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment: workers and their kin have nothing to tell."""
        self._asked = {name: environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
        path, usec, pid = self._asked.values()
        self._path = f"\0{path[1:]}" if path.startswith("@") else path
        self.watchdog_s: float = 0.0
        """Seconds within which a ping must come; 0: nobody waits for any."""
        if self._path and usec.isdigit() and pid in ("", str(os.getpid())):
            self.watchdog_s = int(usec) / 1_000_000

    def restore(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Leave the environment as it was, for the program that this process is about to become."""
        for name, value in self._asked.items():
            if value:
                environment[name] = value

    @property
    def wanted(self) -> bool:
        """Does anybody listen?"""
        return bool(self._path)

    def send(self, *lines: str) -> None:
        """Send assignments such as "READY=1"."""
        if not self._path:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
                made.setblocking(False)
                made.sendto("\n".join(lines).encode(), self._path)
        except OSError:
            return

    def ready(self, status: str) -> None:
        """We serve, at first or again."""
        self.send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self.send("STOPPING=1", f"STATUS={status}")
