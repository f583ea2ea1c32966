"""Mode tls with a certificate: the bytes of a session, both ways, and how it ends."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE_S, SLOWER, Peer, balanced, echo, named, read_all, read_exactly, reset, wait_for
from http_balancers import figure
from tls_balancers import TLS, V12, V13, tls
from tls_peers import (
    OFF,
    Authority,
    ByHand,
    TlsClient,
    shown,
    trusting,
)

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings


def test_bytes_both_ways_and_counted(authority: Authority, site: Path) -> None:
    with Peer(echo) as peer, tls(site, peer) as lb:
        for version in (V12, V13):
            with TlsClient(lb.address, trusting(authority, version=version)) as client:
                for size in (1, 100, 16384, 16385, 300_000):
                    client.send(b"x" * size)
                    assert read_exactly(client.socket, size) == b"x" * size
        wait_for(lambda: figure(lb, "closed_done") == 2, "clients that just close are done")
        assert figure(lb, "bytes_in") == figure(lb, "bytes_out") == 2 * (1 + 100 + 16384 + 16385 + 300_000)


def test_routes_by_server_name_and_protocol(authority: Authority, site: Path) -> None:
    with Peer(named(b"one")) as one, Peer(named(b"two")) as two, Peer(named(b"all")) as rest:
        pools = [
            PoolSettings(name=name, backends=[peer.address], probe=OFF)
            for name, peer in (("one", one), ("two", two), ("rest", rest))
        ]
        routes = [
            RouteSettings(host="a.test", alpn="imap", pool="one"),
            RouteSettings(host="*.test", pool="two"),
        ]
        listener = ListenerSettings(bind=TLS, name="tls", pool="rest", certificates=shown(site), alpn=["imap"])
        settings = BalancerSettings(workers=1, drain_timeout="2s", listeners=[listener], pools=pools, routes=routes)
        with balanced(settings=settings) as lb:

            def said(name: str | None, *protocols: str) -> bytes:
                context = trusting(authority, protocols=protocols)
                context.check_hostname = False
                with TlsClient(lb.address, context, name) as client:
                    return read_exactly(client.socket, 3)

            assert said("a.test", "imap") == b"one"
            for name, expected in (("a.test", b"two"), ("b.test", b"two"), ("c", b"all"), (None, b"all")):
                assert said(name) == expected, name


@pytest.mark.parametrize("version", [V12, V13])
def test_close_notify_is_half_a_goodbye(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    """The backend reads FIN, and the rest of its answer still comes, and ends with close_notify."""

    def serve(connection: socket.socket) -> None:
        asked = read_all(connection)
        connection.sendall(asked[::-1] * 20_000)

    with Peer(serve) as peer, tls(site, peer) as lb, ByHand(lb.address, trusting(authority, version=version)) as client:
        client.shake()
        client.socket.sendall(client.sealed(b"hello") + client.farewell())
        got = bytearray()
        while part := client.recv(1 << 16):
            got += part
        assert bytes(got) == b"olleh" * 20_000
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")


def test_fin_without_close_notify_is_an_end_too(authority: Authority, site: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"%d" % len(read_all(connection)))

    with Peer(serve) as peer, tls(site, peer) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        client.socket.sendall(client.sealed(b"x" * 1000))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b"1000"
        assert client.recv(10) == b""
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")


def test_a_flood_of_tiny_records_is_read_in_turns_and_whole(authority: Authority, site: Path) -> None:
    """Each costs as much as one that carries something: the others are served meanwhile, and not a byte is lost."""
    records, seen = 150_000, 0
    whole = threading.Event()

    def serve(connection: socket.socket) -> None:
        nonlocal seen
        while data := connection.recv(1 << 16):
            assert data.strip(b"x") == b""
            seen += len(data)
        whole.set()

    with Peer(serve) as peer, tls(site, peer) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        flood = client.sealed(*[b"x"] * records) + client.farewell()
        sender = threading.Thread(target=client.socket.sendall, args=(flood,))
        sender.start()
        while sender.is_alive():  # others come and go meanwhile
            with TlsClient(lb.address, trusting(authority)) as other:
                other.socket.sendall(b"x")
        sender.join()
        assert whole.wait(PATIENCE_S * SLOWER)
        wait_for(lambda: seen >= records, "all of it came")


def test_resets_pass_through(authority: Authority, site: Path) -> None:
    ended = threading.Event()

    def notices(connection: socket.socket) -> None:
        try:
            read_all(connection)
        except ConnectionResetError:
            ended.set()

    with Peer(notices) as peer, tls(site, peer) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(b"x"))
            wait_for(lambda: figure(lb, "bytes_in") == 1, "it flows")
            reset(client.socket)
        wait_for(ended.is_set, "the backend reads a reset")
        wait_for(lambda: figure(lb, "closed_client_reset") == 1, "it is counted")
    with Peer(lambda connection: reset(connection) if connection.recv(1) else None) as peer, tls(site, peer) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(b"x"))
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        wait_for(lambda: figure(lb, "closed_backend_reset") == 1, "it is counted")


def flood(size: int, sums: list[str]) -> Any:
    """A backend that sends so much and takes as much, at once."""
    data = os.urandom(1 << 20)

    def serve(connection: socket.socket) -> None:
        def send() -> None:
            for _ in range(size >> 20):
                connection.sendall(data)

        sender = threading.Thread(target=send)
        sender.start()
        found, left = hashlib.sha256(), size
        while left and (part := connection.recv(min(left, 1 << 20))):
            found.update(part)
            left -= len(part)
        sums.append(found.hexdigest())
        sender.join()
        connection.recv(1)

    return serve, hashlib.sha256(data * (size >> 20)).hexdigest()


@pytest.mark.parametrize(("size", "receive_buffer"), [(64 << 20, 0), (4 << 20, 2048)])
def test_much_both_ways_at_once(authority: Authority, site: Path, size: int, receive_buffer: int) -> None:
    """And with a client that hardly takes anything in."""
    if SLOWER > 1:
        size = max(size // 8, 1 << 20)
    sums: list[str] = []
    serve, expected = flood(size, sums)
    data = os.urandom(size)
    with Peer(serve) as peer, tls(site, peer) as lb:
        with ByHand(lb.address, trusting(authority), receive_buffer=receive_buffer) as client:
            client.shake()
            got = client.both(data, size)
            assert hashlib.sha256(got).hexdigest() == expected
            wait_for(lambda: sums, "the backend has all")
        assert sums == [hashlib.sha256(data).hexdigest()]
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")
        assert figure(lb, "bytes_spliced") == 0


def test_idle_connection_ends_with_close_notify(authority: Authority, site: Path) -> None:
    with Peer(echo) as peer, tls(site, peer, listener={"idle_timeout": "200ms"}) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.socket.recv(1) == b""
        assert figure(lb, "closed_idle") == 1
