"""Where BBR is the host's choice, sockets whose peer is a loopback address do not pace; all others are left as they are."""

from __future__ import annotations

import socket

import pytest
from harness import Peer, balanced, connections, dial, read_exactly

NAME_BYTES = 16


def control(connection: socket.socket) -> str:
    """Its congestion control."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_BYTES).rstrip(b"\0").decode()


def host_default() -> str:
    with socket.socket() as fresh:
        return control(fresh)


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
        peer_port = int(peer.address.rpartition(":")[2])
        with dial((at, lb.address[1])) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_exactly(client, 5)
            with connections() as found:
                client_side = {control(one) for one in found if one.getsockname() == client.getpeername()}
                backend_side = {control(one) for one in found if one.getpeername()[1] == peer_port}
        for side in (client_side, backend_side):
            assert side
            assert side <= expected
