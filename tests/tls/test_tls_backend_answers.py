"""Answers and bytes of backends over TLS, before fronts of every mode: whole, cut, slow, upgraded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from harness import SLOWER, Peer, dial, echo, read_all, read_exactly, wait_for
from http_balancers import OK, figure
from http_peers import Client, answering, field
from tls_balancers import HTTP, HTTPS, TCP, V12, V13, over_tls
from tls_peers import (
    Authority,
    ByHand,
    TlsBackend,
    TlsClient,
    TlsPeer,
    serving,
    shown,
    trusting,
)

if TYPE_CHECKING:
    from pathlib import Path


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_to_the_end_is_whole_with_close_notify_only(authority: Authority, here: Path) -> None:
    raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000
    with TlsBackend(serving(here), answering(raw, end=True)) as backend, over_tls(HTTP, authority, backend) as lb:
        with Client(lb.address) as client:
            assert client.get().body == b"x" * 100_000
        assert figure(lb, "requests_done") == 1
    with TlsBackend(serving(here), answering(raw, end=True), rude=True) as backend, over_tls(HTTP, authority, backend) as lb:
        with Client(lb.address) as client, pytest.raises(ConnectionResetError):
            client.get()
        assert figure(lb, "requests_failed") == 1
        assert lb.status()["pools"][0]["backends"][0]["failures"] == 1


def test_a_cut_answer_breaks(authority: Authority, here: Path) -> None:
    for raw in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
    ):
        for rude in (True, False):
            with (
                TlsBackend(serving(here), answering(raw, end=True), rude=rude) as backend,
                over_tls(HTTP, authority, backend) as lb,
            ):
                with Client(lb.address) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    with pytest.raises(ConnectionResetError):
                        read_all(client.socket)
                assert figure(lb, "requests_failed") == 1


def test_no_answer_at_all(authority: Authority, here: Path) -> None:
    for rude in (True, False):
        with TlsBackend(serving(here), lambda *_: True, rude=rude) as backend, over_tls(HTTP, authority, backend) as lb:
            with Client(lb.address) as client:
                assert client.get().status == 502
            assert len(backend.heads) == 1


def test_large_bodies_both_ways(authority: Authority, here: Path) -> None:
    big = os.urandom(8 << 20)

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with TlsBackend(serving(here), script) as backend, over_tls(HTTP, authority, backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(big) + big)
            assert client.answer().body == big
        assert backend.connections == 1 or SLOWER > 1


def test_a_backend_that_reads_slowly(authority: Authority, here: Path) -> None:
    big, slow = os.urandom(8 << 20), threading.Event()

    def script(connection: ssl.SSLSocket) -> None:
        slow.wait(10)
        sum_of = hashlib.sha256()
        head = connection.recv(1000)
        sum_of.update(head.partition(b"\r\n\r\n")[2])
        left = len(big) - len(head.partition(b"\r\n\r\n")[2])
        while left and (part := connection.recv(min(left, 5000))):
            sum_of.update(part)
            left -= len(part)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + sum_of.hexdigest().encode())
        read_all(connection)

    with TlsPeer(serving(here), script) as peer, over_tls(HTTP, authority, peer) as lb, Client(lb.address) as client:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender = threading.Thread(
            target=client.send, args=(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(big) + big,)
        )
        sender.start()
        wait_for(lambda: figure(lb, "buffers") == 1, "the balancer waits for the backend")
        slow.set()
        sender.join()
        assert client.answer().body.decode() == hashlib.sha256(big).hexdigest()


def test_upgraded_to_a_relay(authority: Authority, here: Path) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        with contextlib.suppress(OSError):
            echo(connection)
        return True

    with TlsBackend(serving(here), script) as backend, over_tls(HTTP, authority, backend) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            assert client.answer().status == 101
            assert client.reader.exactly(5) == b"early"
            client.send(b"x" * 200_000)
            assert client.reader.exactly(200_000) == b"x" * 200_000
        wait_for(lambda: figure(lb, "closed_done") >= 1, "it is over")


# --- tcp and https in front ------------------------------------------------------------------------------------------


def test_tcp_bytes_both_ways_and_half_a_close(authority: Authority, here: Path) -> None:
    """The client's FIN is close_notify to the backend, whose close_notify is FIN to the client."""

    def serve(connection: ssl.SSLSocket) -> None:
        size = len(read_all(connection))
        connection.sendall(b"%d" % size)
        connection.unwrap()

    for version in (V12, V13):
        with TlsPeer(serving(here, version=version), echo) as peer, over_tls(TCP, authority, peer) as lb:
            with dial(lb.address) as client:
                for size in (1, 16384, 16385, 300_000):
                    client.sendall(b"x" * size)
                    assert read_exactly(client, size) == b"x" * size
            assert figure(lb, "bytes_spliced") == 0
    with TlsPeer(serving(here, version=V13), serve) as peer, over_tls(TCP, authority, peer) as lb:
        with dial(lb.address) as client:
            client.sendall(b"x" * 1000)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"1000"
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")


def test_an_end_without_close_notify_is_passed_on_as_that(authority: Authority, here: Path, site: Path) -> None:
    """A client that speaks TLS sees that nobody vouches for the end; one that does not could not be told by a FIN anyway."""
    with TlsPeer(serving(here), lambda connection: connection.sendall(b"half")) as peer:
        with over_tls(TCP, authority, peer) as lb:
            with dial(lb.address) as client:
                assert read_all(client) == b"half"
            wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")
        with over_tls("tls://127.0.0.1:0", authority, peer, listener={"certificates": shown(site)}) as lb:
            with TlsClient(lb.address, trusting(authority)) as client:
                assert read_exactly(client.socket, 4) == b"half"
                with pytest.raises(ssl.SSLEOFError):
                    client.socket.recv(1)


def test_a_clients_cut_upload_is_no_clean_end_for_the_backend(authority: Authority, here: Path, site: Path) -> None:
    ends: list[BaseException | None] = []

    def serve(connection: ssl.SSLSocket) -> None:
        connection.suppress_ragged_eofs = False
        try:
            while connection.recv(100):
                pass
            ends.append(None)
        except ssl.SSLError as error:
            ends.append(error)

    with TlsPeer(serving(here), serve) as peer:
        with over_tls("tls://127.0.0.1:0", authority, peer, listener={"certificates": shown(site)}) as lb:
            with ByHand(lb.address, trusting(authority)) as client:
                client.shake()
                client.socket.sendall(client.sealed(b"half"))
                client.socket.shutdown(socket.SHUT_WR)
                wait_for(lambda: len(ends) == 1, "the backend reads an end")
            assert isinstance(ends[0], ssl.SSLEOFError)


def test_last_words_of_a_backend_that_reads_no_more(authority: Authority, here: Path) -> None:
    """It answers, and closes with the upload unread: its reset must not take the answer with it."""

    def early(connection: ssl.SSLSocket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else it may not have been sent at all
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    with TlsPeer(serving(here), early) as backend, over_tls(HTTP, authority, backend, retries=0, max_failed_responses=0) as lb:
        for _ in range(20):
            with Client(lb.address) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
                with contextlib.suppress(OSError):
                    client.send(bytes(4_000_000))
                assert client.answer().status == 413


def test_a_backend_that_speaks_first(authority: Authority, here: Path) -> None:
    """Its first bytes may come with the handshake's last."""

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"220 hello")
        read_all(connection)

    for version in (V12, V13):
        with TlsPeer(serving(here, version=version), serve) as peer, over_tls(TCP, authority, peer) as lb:
            for _ in range(10):
                with dial(lb.address) as client:
                    assert read_exactly(client, 9) == b"220 hello"


def test_tls_on_both_ends(authority: Authority, site: Path, here: Path) -> None:
    size = (64 if SLOWER == 1 else 8) << 20
    data = os.urandom(size)
    certificates = {"certificates": shown(site)}
    with TlsPeer(serving(here), echo) as peer, over_tls("tls://127.0.0.1:0", authority, peer, listener=certificates) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            got = client.both(data, size)
            assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    with TlsBackend(serving(here)) as backend, over_tls(HTTPS, authority, backend, listener=certificates) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            for _ in range(10):
                assert client.get().body == b"backend"
        assert field(backend.heads[0], b"X-Forwarded-Proto") == b"https"
        assert backend.connections == 1


def test_a_slow_client_before_a_backend_over_tls(authority: Authority, here: Path) -> None:
    big = os.urandom(16 << 20)

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(big)
        connection.unwrap()

    with TlsPeer(serving(here), serve) as peer, over_tls(TCP, authority, peer) as lb, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(10 * SLOWER)
        client.connect(lb.address)
        wait_for(lambda: figure(lb, "buffers") == 1, "the balancer waits for its client")
        assert hashlib.sha256(read_all(client)).digest() == hashlib.sha256(big).digest()


@pytest.mark.parametrize("bind", [TCP, HTTP])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxy_header_before_the_handshake(authority: Authority, here: Path, bind: str, version: str) -> None:
    headers: list[bytes] = []
    context = serving(here)

    def serve(connection: socket.socket) -> None:
        if version == "v1":
            header = b""
            while not header.endswith(b"\r\n"):
                header += connection.recv(1)
        else:
            header = read_exactly(connection, 16)
            header += read_exactly(connection, struct.unpack("!H", header[14:])[0])
        headers.append(header)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1000)
            secured.sendall(OK)
            read_all(secured)

    with Peer(serve) as peer, over_tls(bind, authority, peer, send_proxy=version) as lb, Client(lb.address) as client:
        assert client.get().body == b"ok"
        own = client.socket.getsockname()[1]
        if version == "v1":
            assert headers == [b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (own, lb.address[1])]
        else:
            assert headers[0][:14] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
            assert headers[0][16:28] == bytes([127, 0, 0, 1] * 2) + struct.pack("!HH", own, lb.address[1])
