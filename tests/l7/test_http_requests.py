"""Requests that are allowed and rarely sent: upgrades with a body, absolute targets, Expect in HTTP/1.0."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, dial, read_all, wait_for
from http_balancers import OK, figure, http
from http_peers import Backend, Client, Reader, field
from tls_peers import TlsClient, balancing, shown, trusting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tls_peers import Authority

HTTPS = "https://127.0.0.1:0"

# --- upgrades with a body --------------------------------------------------------------------------------------------

EXEC = (
    b"POST /v1.43/exec/5f1c/start HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Docker-Client/24.0.5 (linux)\r\n"
    b"Content-Length: 28\r\nConnection: Upgrade\r\nContent-Type: application/json\r\nUpgrade: tcp\r\n\r\n"
)
START = b'{"Detach":false,"Tty":false}'
"""What `docker exec` sends, byte for byte; 28 of them."""
UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


class Daemon(Peer):
    """dockerd: it reads a request, says 101, sends a banner, and repeats what it reads until the client's FIN."""

    def __init__(self, early: bool = False, answer: bytes = UPGRADED) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.early = early
        self.answer = answer
        super().__init__(self._talk)

    def _talk(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        head = reader.head()
        assert head
        self.heads.append(head)
        if self.early:
            connection.sendall(self.answer)
        self.bodies.append(reader.body(head))
        connection.sendall(b"banner\n" if self.early else self.answer + b"banner\n")
        connection.sendall(reader.buffer)
        while data := connection.recv(65536):
            connection.sendall(data)


def talk(client: socket.socket, more: bytes = b"") -> None:
    """From the 101 to the end, as docker does."""
    reader = Reader(client)
    head = reader.head()
    assert head is not None
    assert head.startswith(b"HTTP/1.1 101 ")
    assert field(head, b"Upgrade") == b"tcp"
    assert field(head, b"Connection") == b"Upgrade"
    client.sendall(b"ls -l\n")
    client.shutdown(socket.SHUT_WR)
    assert reader.buffer + read_all(client) == b"banner\n" + more + b"ls -l\n"


@pytest.mark.parametrize("early", [False, True], ids=["after the body", "before the body"])
@pytest.mark.parametrize(
    "cut", [lambda data: [data], lambda data: [data[:-28], data[-28:]], lambda data: [data[:-28], data[-28:-10], data[-10:]]]
)
def test_docker_exec_keeps_its_upgrade_and_its_body(cut: Callable[[bytes], list[bytes]], early: bool) -> None:
    with Daemon(early) as daemon, http(daemon) as lb:
        client = dial(lb.address)
        for piece in cut(EXEC + START):
            client.sendall(piece)
            wait_for(lambda: daemon.heads, "the head is forwarded")
        talk(client)
        client.close()
        assert daemon.bodies == [START]
        assert field(daemon.heads[0], b"Upgrade") == b"tcp"
        assert field(daemon.heads[0], b"Connection") == b"Upgrade"
        assert field(daemon.heads[0], b"Content-Length") == b"28"
        assert figure(lb, "upgrades") == 1


@pytest.mark.parametrize("early", [False, True], ids=["after the body", "before the body"])
def test_upgrade_with_a_chunked_body(early: bool) -> None:
    """It is framed anew as any other, and what follows it belongs to the new protocol."""
    with Daemon(early) as daemon, http(daemon) as lb:
        client = dial(lb.address)
        head = EXEC.replace(b"Content-Length: 28", b"Transfer-Encoding: chunked")
        client.sendall(head + b"0a ; a=b\r\n" + START[:10] + b"\r\n")
        wait_for(lambda: daemon.heads, "the head is forwarded")
        client.sendall(b"12\r\n" + START[10:] + b"\r\n0\r\n\r\nearly\n")
        talk(client, b"early\n")
        client.close()
        assert daemon.bodies == [b"a\r\n" + START[:10] + b"\r\n12\r\n" + START[10:] + b"\r\n0\r\n\r\n"]


def test_upgrade_with_a_long_body_that_the_backend_takes_slowly() -> None:
    """101 comes at once; it waits until the last byte of the request has gone out."""
    size = 20_000_000
    with Daemon(early=True) as daemon, http(daemon) as lb:
        client = dial(lb.address)
        client.sendall(EXEC.replace(b"Content-Length: 28", b"Content-Length: %d" % size))
        wait_for(lambda: daemon.heads, "the head is forwarded")
        sender = threading.Thread(target=client.sendall, args=(b"x" * size,))
        sender.start()
        sender.join()
        talk(client)
        client.close()
        assert [len(body) for body in daemon.bodies] == [size]


def test_upgrade_over_tls_with_a_body(authority: Authority, site: Path) -> None:
    with Daemon() as daemon, balancing(HTTPS, daemon, listener={"certificates": shown(site)}) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            client.send(EXEC + START)
            head = client.reader.head()
            assert head is not None
            assert head.startswith(b"HTTP/1.1 101 ")
            client.send(b"ls -l\n")
            assert client.reader.exactly(13) == b"banner\nls -l\n"
        assert daemon.bodies == [START]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", 426),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404),
    ],
)
def test_upgrade_with_a_body_that_is_declined_is_an_ordinary_exchange(answer: bytes, status: int) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(answer if b"Upgrade: tcp" in head else OK)

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(EXEC + START)
        declined = client.answer()
        assert declined.status == status
        assert field(declined.head, b"Upgrade") == (b"tcp" if status == 426 else None)
        assert client.get().body == b"ok"
        assert backend.bodies == [START, b""]
        assert figure(lb, "upgrades") == 0


def test_upgrade_whose_body_does_not_come() -> None:
    with Daemon(early=True) as daemon, http(daemon, listener={"body_timeout": "300ms"}) as lb, Client(lb.address) as client:
        client.send(EXEC + START[:5])
        assert client.answer().status == 408
        assert client.ends()
        assert figure(lb, "upgrades") == 0


def test_upgrade_whose_backend_ends_before_it_has_the_body() -> None:
    def script(connection: socket.socket) -> None:
        Reader(connection).head()
        connection.sendall(UPGRADED)

    with Peer(script) as daemon, http(daemon.address, max_failed_responses=0) as lb, Client(lb.address) as client:
        client.send(EXEC.replace(b"Content-Length: 28", b"Content-Length: 3000000"))
        threading.Thread(target=swallow, args=(client.send, b"x" * 3_000_000)).start()
        assert client.answer().status in (101, 502)


def swallow(call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except OSError:
        return


@pytest.mark.parametrize("body", [b"", b"x"])
def test_h2c_with_a_body_is_not_forwarded_either(body: bytes) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Upgrade") is None
        assert backend.bodies == [body]


# --- absolute targets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [b"https", b"HTTPS", b"http"])
def test_absolute_target_on_an_https_listener(scheme: bytes, authority: Authority, site: Path) -> None:
    """RFC 9112 3.2.2. What asks for http by TLS is more than it asks for."""
    with Backend() as backend, balancing(HTTPS, backend, listener={"certificates": shown(site)}) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            client.send(b"GET " + scheme + b"://b.example:8443/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer().status == 200
        assert backend.heads[0].startswith(b"GET /x?y HTTP/1.1\r\n")
        assert field(backend.heads[0], b"Host") == b"b.example:8443"
        assert field(backend.heads[0], b"X-Forwarded-Proto") == b"https"


def test_https_target_that_did_not_come_by_tls() -> None:
    """RFC 9110 7.4."""
    with Backend() as backend, http(backend) as lb:
        for extra in (b"", b"X-Forwarded-Proto: https\r\n"):
            with Client(lb.address) as client:
                client.send(b"GET https://a/ HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n")
                assert client.answer().status == 400
        assert backend.connections == 0


def test_https_target_that_a_trusted_proxy_vouches_for() -> None:
    with Backend() as backend, http(backend, listener={"trusted_proxies": ["127.0.0.0/8"]}) as lb, Client(lb.address) as client:
        client.send(b"GET https://a/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
        assert client.answer().status == 200
        assert backend.heads[0].startswith(b"GET /x HTTP/1.1\r\n")
    with Backend() as backend, http(backend, listener={"trusted_proxies": ["127.0.0.0/8"]}) as lb, Client(lb.address) as client:
        client.send(b"GET https://a/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\n\r\n")
        assert client.answer().status == 400


# --- HTTP/1.0 and Expect ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"100-continue", b"200-ok", b"100-continue, 200-ok"])
def test_http_1_0_with_expect_is_served_as_without(value: bytes) -> None:
    """RFC 9110 10.1.1: it is ignored, and not passed on to a backend of HTTP/1.1, which would heed it."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: " + value + b"\r\n\r\nhi")
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Expect") is None
        assert backend.bodies == [b"hi"]


def test_http_1_1_with_an_unknown_expectation_is_told_so() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 200-ok\r\n\r\nhi")
        assert client.answer().status == 417
        assert backend.connections == 0


# --- transfer codings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ([b"chunked, gzip"], 400),
        ([b"chunked", b"identity"], 400),
        ([b"gzip"], 400),
        ([b"gzip, chunked"], 501),
        ([b"identity", b"chunked"], 501),
    ],
)
def test_codings_that_leave_the_end_open_are_400_and_unknown_ones_501(codings: list[bytes], status: int) -> None:
    """RFC 9112 6.1, 6.3."""
    lines = b"".join(b"Transfer-Encoding: %s\r\n" % coding for coding in codings)
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n0\r\n\r\n")
        assert client.answer().status == status
        assert client.ends()
        assert backend.connections == 0
