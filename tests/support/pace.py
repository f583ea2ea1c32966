"""Peers that take their time on purpose. A test that waits for something uses `wait_for`, for nothing `stays` (harness)."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

from harness import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def paced(count: int, every_s: float) -> Iterator[int]:
    """So many turns of a loop, each followed by a pause."""
    for turn in range(count):
        yield turn
        time.sleep(every_s)


def paced_for(seconds: float, every_s: float) -> Iterator[None]:
    """Turns of a loop for so long, each followed by a pause."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(every_s)


def sips(connection: socket.socket, size: int = 8192, every_s: float = 0.01) -> Iterator[bytes]:
    """What comes up to the end, a little at a time."""
    while part := connection.recv(size):
        yield part
        time.sleep(every_s)


def take_slowly(connection: socket.socket, count: int, size: int = 8192, every_s: float = 0.01) -> None:
    """Read so many bytes, a little at a time."""
    got = 0
    for part in sips(connection, size, every_s):
        got += len(part)
        if got >= count:
            return
    raise AssertionError(f"it ended after {got} bytes")


def send_paced(connection: socket.socket, every_s: float, *parts: bytes) -> None:
    """Each part is followed by a pause."""
    for turn in paced(len(parts), every_s):
        connection.sendall(parts[turn])


def send_late(connection: socket.socket, after_s: float, *parts: bytes) -> None:
    """Each part comes after a pause."""
    for part in parts:
        time.sleep(after_s)
        connection.sendall(part)


def late(after_s: float, *parts: bytes) -> Callable[[socket.socket, bytes, bytes], None]:
    """A script of a Backend that takes its time before each of these parts."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        send_late(connection, after_s, *parts)

    return script


def send_apart(connection: socket.socket, *pieces: bytes) -> None:
    """Send these so that the other end, on this host, reads each by itself."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        connection.sendall(piece)
        wait_for(lambda: not _unread(connection), "it is read", PATIENCE_S)


SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR = 20, 1, 2  # linux/netlink.h, linux/sock_diag.h
ANY_STATE, NO_COOKIE = 0xFFFFFFFF, b"\xff" * 8
RQUEUE_AT = 16 + 56
"""Of a reply: behind the header of netlink and what stands before in struct inet_diag_msg."""


def _unread(connection: socket.socket) -> int:
    """Bytes that lie in the socket of the other end, as sock_diag(7) says; none where that one is gone."""
    here, there = connection.getsockname(), connection.getpeername()
    ends = [socket.inet_pton(connection.family, end[0]).ljust(16, b"\0") for end in (there, here)]
    question = struct.pack("=BBBxI", connection.family, socket.IPPROTO_TCP, 0, ANY_STATE)
    question += struct.pack(">HH", there[1], here[1]) + b"".join(ends) + struct.pack("=I", 0) + NO_COOKIE
    header = struct.pack("=IHHII", 16 + len(question), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as kernel:  # NETLINK_SOCK_DIAG
        kernel.send(header + question)
        reply = kernel.recv(4096)
    if struct.unpack_from("=H", reply, 4)[0] == NLMSG_ERROR:
        return 0
    return int(struct.unpack_from("=I", reply, RQUEUE_AT)[0])
