"""A network of its own whose sockets hold little to send, so that writes are taken in part, as over a thin line."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SEND_BUFFERS = "4608 8192 30000"
"""tcp_wmem (tcp(7)). With what is usual, a socket that has room again takes all that the engine holds."""


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        asked = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack_from("16sh", asked)[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and those that it starts, live in a network of their own. Skips the test where that is not allowed (it takes
    CAP_SYS_ADMIN)."""
    with open("/proc/thread-self/ns/net") as home:
        try:
            _call("unshare", CLONE_NEWNET)
        except OSError as error:
            pytest.skip(f"no network of its own: {error}")
        try:
            _raise_loopback()
            yield
        finally:
            _call("setns", home.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def thin() -> Iterator[None]:
    """One whose sockets hold little to send."""
    with own_network():
        Path("/proc/sys/net/ipv4/tcp_wmem").write_text(SEND_BUFFERS)
        yield
