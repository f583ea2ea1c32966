"""Clients, a router and nodes, each in a network namespace of its own; all go with the end of a with block.

client 10.77.1.2 --- 10.77.1.1 router 10.77.0.1 (bridge br0) --- nodes a 10.77.0.11, b 10.77.0.12, c 10.77.0.13
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

SHARED = "10.77.0.100"
"""The address that the nodes share."""
PORT = 8080
ROUTER, CLIENT = "router", "client"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NoRight(Exception):
    """No network namespaces can be made here: it takes root and iproute2."""


class Network:
    """names: of the nodes, in the order of their addresses."""

    def __init__(self, names: str = "abc") -> None:
        self.names = names
        self._made: list[str] = []

    def space(self, name: str) -> str:
        """The namespace of a node, the router or the client, as ip-netns(8) calls it."""
        return f"lbcore-front-{os.getpid()}-{name}"

    def address(self, name: str) -> str:
        """Of a node."""
        return f"10.77.0.{11 + self.names.index(name)}"

    def inside(self, name: str) -> list[str]:
        """The beginning of a command line that runs there."""
        return ["ip", "netns", "exec", self.space(name)]

    def ip(self, name: str, words: str) -> str:
        """What ip(8) prints there. Raises CalledProcessError."""
        return run("ip", "-n", self.space(name), *words.split())

    def set(self, name: str, *settings: str) -> None:
        """Kernel settings, KEY=VALUE each, there."""
        run(*self.inside(name), "sysctl", "-qw", *settings)

    @contextlib.contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """This thread's new sockets belong there."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.space(name)}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def make(self) -> None:
        """Raises NoRight."""
        try:
            for name in (ROUTER, CLIENT, *self.names):
                run("ip", "netns", "add", self.space(name))
                self._made.append(name)
                self.ip(name, "link set dev lo up")
            self._connect()
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise NoRight(f"no network namespaces can be made here: {said}") from None

    def _connect(self) -> None:
        self.set(ROUTER, "net.ipv4.ip_forward=1")
        self.ip(ROUTER, "link add name br0 type bridge")
        self.ip(ROUTER, "addr add 10.77.0.1/24 dev br0")
        self.ip(ROUTER, "link set dev br0 up")
        self.ip(ROUTER, f"link add name client type veth peer name eth0 netns {self.space(CLIENT)}")
        self.ip(ROUTER, "addr add 10.77.1.1/24 dev client")
        self.ip(ROUTER, "link set dev client up")
        self.ip(CLIENT, "addr add 10.77.1.2/24 dev eth0")
        self.ip(CLIENT, "link set dev eth0 up")
        self.ip(CLIENT, "route add default via 10.77.1.1")
        for name in self.names:
            self.ip(ROUTER, f"link add name {name} type veth peer name eth0 netns {self.space(name)}")
            self.ip(ROUTER, f"link set dev {name} up master br0")
            self.ip(name, f"addr add {self.address(name)}/24 dev eth0")
            self.ip(name, "link set dev eth0 up")
            self.ip(name, "route add default via 10.77.0.1")

    def remove(self) -> None:
        """Whatever of it was made."""
        for name in self._made:
            subprocess.run(["ip", "netns", "del", self.space(name)], capture_output=True)
        self._made.clear()


@contextlib.contextmanager
def network(names: str = "abc") -> Iterator[Network]:
    """Made, and removed at the end. Raises NoRight."""
    made = Network(names)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def run(*words: str) -> str:
    """What a command prints. Raises CalledProcessError, with what it said."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "setns")
