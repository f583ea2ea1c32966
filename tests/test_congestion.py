"""Where BBR is the host's choice, sockets whose peer is a loopback address do not pace; all others are left as they are."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
from harness import Peer, balanced, dial, read_exactly

NAME_BYTES = 16


def control(connection: socket.socket) -> str:
    """Its congestion control."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_BYTES).rstrip(b"\0").decode()


def host_default() -> str:
    with socket.socket() as fresh:
        return control(fresh)


def by_ends() -> dict[tuple[object, object], str]:
    """The congestion control of every TCP connection of this process, by its two addresses."""
    found: dict[tuple[object, object], str] = {}
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            descriptor = os.dup(int(entry))
            try:
                copy = socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)
                raise
            with copy:
                found[copy.getsockname(), copy.getpeername()] = control(copy)
    return found


def answer(connection: socket.socket) -> None:
    """Of http, whatever came; as good as any for tcp."""
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]"])
def test_loopback_is_not_paced(host: str, mode: str) -> None:
    default = host_default()
    expected = {"cubic", "reno"} if default.startswith("bbr") else {default}
    at = host.strip("[]").replace("0.0.0.0", "127.0.0.1")
    with Peer(answer) as peer, balanced(listen=f"{mode}://{host}:0", backends=[peer.address]) as lb:
        with dial((at, lb.address[1])) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_exactly(client, 5)
            server_side = {name for ends, name in by_ends().items() if ends[0] == client.getpeername()}
            backend_side = {name for ends, name in by_ends().items() if str(ends[1][1]) == peer.address.rpartition(":")[2]}
            for found in (server_side, backend_side):
                assert found
                assert found <= expected
