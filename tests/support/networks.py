"""A network of a test's own, in which ports are as few as the test wants."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from integrity.network import own_network

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = 8
IP_BIND_ADDRESS_NO_PORT = 24
LOW = 40_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

ALONE = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "alone")
"""A network of its own, so that all its ports are free."""


def may_be_alone() -> bool:
    """Has this user the right to make a network, and the tools?"""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


@contextlib.contextmanager
def few_ports() -> Iterator[None]:
    """This thread, and those that it starts, have PORTS source ports towards each destination, and as many for udp."""
    with own_network():
        RANGE.write_text(f"{LOW} {LOW + PORTS - 1}")
        yield


def fill_towards(stack: contextlib.ExitStack, address: tuple[str, int]) -> None:
    """Take every source port that is left towards this destination."""
    with contextlib.suppress(OSError):
        while True:
            stack.enter_context(socket.create_connection(address, 5))


def fill_udp(stack: contextlib.ExitStack) -> None:
    """Take every udp port that the kernel may choose."""
    for port in range(LOW, LOW + PORTS):
        taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with contextlib.suppress(OSError):
            taken.bind(("0.0.0.0", port))


def from_elsewhere(serial: int, address: tuple[str, int]) -> socket.socket:
    """A client of an address of its own, whose ports are not the balancer's."""
    client = socket.socket()
    client.settimeout(10)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((f"127.0.1.{serial + 1}", 0))
    client.connect(address)
    return client
