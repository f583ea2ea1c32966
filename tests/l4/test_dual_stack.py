"""A listener at [::] takes IPv4, too, as other servers do where the system does not say otherwise (net.ipv6.bindv6only)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from harness import Peer, balanced, dial, echo, free_port, read_exactly
from http_peers import Backend, Client, field

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings

pytestmark = pytest.mark.skipif(
    not socket.has_ipv6 or Path("/proc/sys/net/ipv6/bindv6only").read_text().strip() != "0", reason="the system says otherwise"
)


def settings(backend: str, *binds: str, **listener: object) -> BalancerSettings:
    return BalancerSettings(
        workers=2,
        listeners=[ListenerSettings(bind=bind, **listener) for bind in binds],
        pools=[PoolSettings(backends=[backend], probe=ProbeSettings(kind="off"))],
    )


def test_tcp_over_both_families() -> None:
    with Peer(echo) as peer, balanced(settings=settings(peer.address, "tcp://[::]:0")) as lb:
        for host in ("127.0.0.1", "::1"):
            with dial((host, lb.address[1])) as client:
                client.sendall(b"hello")
                assert read_exactly(client, 5) == b"hello"


def test_an_ipv4_client_is_told_as_one() -> None:
    with Backend() as backend, balanced(settings=settings(backend.address, "http://[::]:0")) as lb:
        for host in ("127.0.0.1", "::1"):
            with Client((host, lb.address[1])) as client:
                assert client.get().status == 200
        assert [field(head, b"X-Forwarded-For") for head in backend.heads] == [b"127.0.0.1", b"::1"]


def test_udp_answers_from_the_address_that_was_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        with balanced(settings=settings(f"127.0.0.1:{server.getsockname()[1]}", "udp://[::]:0", responses=1)) as lb:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", lb.address[1]))  # takes answers from there alone
                client.send(b"question")
                data, peer = server.recvfrom(100)
                assert data == b"question"
                server.sendto(b"answer", peer)
                assert client.recv(100) == b"answer"


@pytest.mark.parametrize("turned", [False, True])
def test_two_listeners_share_a_port_by_family(turned: bool) -> None:
    port = free_port()
    binds = [f"tcp://0.0.0.0:{port}", f"tcp://[::]:{port}"]
    with Peer(echo) as peer, balanced(settings=settings(peer.address, *(reversed(binds) if turned else binds))) as lb:
        for host in ("127.0.0.1", "::1"):
            with dial((host, port)) as client:
                client.sendall(b"hello")
                assert read_exactly(client, 5) == b"hello"
        assert {entry["tally"]["accepted"] for entry in lb.status()["listeners"]} == {1}
