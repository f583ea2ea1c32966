"""Heads that are larger than most: requests with Kerberos tickets, responses with many or long header fields."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, read_all, wait_for
from http_balancers import GET, OFF, OK, figure, http
from http_peers import Backend, Client, Reader, answering, field, fields, narrow
from pace import send_apart
from tls_peers import TlsClient, balancing, shown, trusting

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tls_peers import Authority

LARGE: dict[str, Any] = {"max_header_bytes": "64k"}
TICKET = b"Negotiate " + bytes(65 + at % 26 for at in range(60_000))
"""What a member of many groups sends (MS-KILE: 48,000 bytes and more, in base64)."""


def request(more: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\nHost: a\r\nAuthorization: " + TICKET + b"\r\n" + more + b"\r\n"


def test_kerberos_ticket_passes_where_the_listener_allows_it() -> None:
    with Backend() as backend, http(backend, listener=LARGE) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(request())
            assert client.answer().status == 200
            assert client.get().status == 200
        assert [field(head, b"Authorization") for head in backend.heads] == [TICKET, None] * 3
        assert backend.connections == 1


def test_kerberos_ticket_is_431_by_default_and_above_the_limit() -> None:
    with Backend() as backend:
        for limits in ({}, {"max_header_bytes": "32k"}, {"max_header_bytes": "58k"}):
            with http(backend, listener=limits) as lb, Client(lb.address) as client:
                client.send(request())
                assert client.answer().status == 431
        assert backend.connections == 0


@pytest.mark.parametrize("size", [1, 997, 40_000])
def test_large_head_in_pieces(size: int) -> None:
    with Backend() as backend, http(backend, listener=LARGE) as lb, Client(lb.address) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = request(b"X-Last: 1\r\n")
        from_ = 32_700 if size == 1 else 0  # byte by byte over the bound where the head moves to a larger place
        client.send(data[:from_])
        for at in range(from_, 32_900 if size == 1 else len(data), size):
            client.send(data[at : at + size])
        if size == 1:
            client.send(data[32_900:])
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Authorization") == TICKET
        assert field(backend.heads[0], b"X-Last") == b"1"


def test_large_heads_with_bodies_one_behind_another() -> None:
    post = request(b"Content-Length: 100000\r\n", b"POST / HTTP/1.1") + b"x" * 100_000
    chunked = request(b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.1") + b"5;a\r\nhello\r\n0\r\n\r\n"
    with Backend() as backend, http(backend, listener=LARGE) as lb, Client(lb.address) as client:
        sender = threading.Thread(target=client.send, args=((post + chunked) * 2 + GET,))
        sender.start()
        assert [client.answer().status for _ in range(5)] == [200] * 5
        sender.join()
        assert backend.bodies == [b"x" * 100_000, b"5\r\nhello\r\n0\r\n\r\n"] * 2 + [b""]


def test_many_large_heads_at_once() -> None:
    with Backend() as backend, http(backend, listener=LARGE) as lb:
        clients = [Client(lb.address) for _ in range(40)]
        data = request()
        for client in clients:
            client.send(data[:50_000])
        for client in clients:
            client.send(data[50_000:])
        assert [client.answer().status for client in clients] == [200] * 40
        for client in clients:
            client.close()
        assert {field(head, b"Authorization") for head in backend.heads} == {TICKET}


def test_large_request_is_sent_again_on_a_fresh_connection() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if len(backend.heads) == 2:
            return True  # the kept connection ends as the request comes
        connection.sendall(OK)
        return False

    with Backend(script) as backend, http(backend, listener=LARGE) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(request())
            assert client.answer().body == b"ok"
        assert figure(lb, "replays") == 1
        assert [field(head, b"Authorization") for head in backend.heads] == [TICKET] * 3


def test_large_head_waits_in_the_queue() -> None:
    release = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        release.wait(5)
        connection.sendall(OK)

    with Backend(script) as backend, http(backend, listener=LARGE, max_active=1) as lb:
        with Client(lb.address) as first, Client(lb.address) as second:
            first.send(request())
            wait_for(lambda: backend.heads, "the first is under way")
            second.send(request())
            wait_for(lambda: figure(lb, "queued") == 1, "the second waits")
            release.set()
            assert [first.answer().status, second.answer().status] == [200, 200]


def test_large_head_over_tls(authority: Authority, site: Path) -> None:
    listener = LARGE | {"certificates": shown(site)}
    with Backend() as backend, balancing("https://127.0.0.1:0", backend, listener=listener) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            client.send(request())
            assert client.answer().status == 200
        assert field(backend.heads[0], b"Authorization") == TICKET


def test_upgrade_with_a_large_head() -> None:
    def script(connection: socket.socket) -> None:
        reader = Reader(connection)
        reader.head()
        connection.sendall(
            b"HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-A: " + b"a" * 50_000 + b"\r\n\r\n"
        )
        connection.sendall(reader.buffer)
        while data := connection.recv(65536):
            connection.sendall(data)

    with Peer(script) as backend, http(backend.address, listener=LARGE) as lb, Client(lb.address) as client:
        client.send(request(b"Connection: Upgrade\r\nUpgrade: echo\r\n") + b"early")
        head = client.reader.head()
        assert head is not None
        assert field(head, b"X-A") == b"a" * 50_000
        assert client.reader.exactly(5) == b"early"


def test_a_reload_raises_the_limit_of_clients_that_are_connected() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        assert client.get().status == 200
        lb.reload(
            BalancerSettings(
                workers=1,
                drain_timeout="2s",
                listeners=[ListenerSettings(bind="http://127.0.0.1:0", **LARGE)],
                pools=[PoolSettings(probe=OFF, backends=[backend.address], policy="round_robin")],
            )
        )
        client.send(request())
        assert client.answer().status == 200


# --- responses -------------------------------------------------------------------------------------------------------


def response(length: int, count: int = 1, body: bytes = b"ok") -> bytes:
    lines = b"".join(b"X-%d: %s\r\n" % (at, b"v" * (length // count)) for at in range(count))
    return b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("length", "count", "limits", "status"),
    [
        (60_000, 1, {}, 200),
        (60_000, 400, {}, 200),
        (70_000, 1, {}, 502),
        (5_000, 501, {}, 502),
        (120_000, 1, {"max_response_header_bytes": "128k"}, 200),
        (120_000, 990, {"max_response_header_bytes": "128k", "max_response_headers": 1000}, 200),
        (140_000, 1, {"max_response_header_bytes": "128k"}, 502),
        (1_000, 20, {"max_response_headers": 20}, 502),
        (1_000, 19, {"max_response_headers": 20}, 200),
        (2_000, 1, {"max_response_header_bytes": "1k"}, 502),
    ],
)
def test_limits_of_response_heads(length: int, count: int, limits: dict[str, Any], status: int) -> None:
    with Backend(answering(response(length, count))) as backend, http(backend, max_failed_responses=0, **limits) as lb:
        with Client(lb.address) as client:
            for _ in range(2):
                answer = client.get()
                assert answer.status == status
                if status == 200:
                    assert answer.body == b"ok"
                    assert field(answer.head, b"X-%d" % (count - 1)) == b"v" * (length // count)
            if status == 502:
                assert b"too large" in answer.body
        assert figure(lb, "responses_bad") == (0 if status == 200 else 2)


def test_large_response_head_and_body_for_a_client_that_takes_slowly() -> None:
    """What it does not take is held, however large."""
    body = b"x" * 200_000
    with Backend(answering(response(120_000, body=body))) as backend, http(backend, max_response_header_bytes="128k") as lb:
        client = narrow(lb.address)
        client.sendall(GET[:-2] + b"Connection: close\r\n\r\n")
        wait_for(lambda: figure(lb, "buffers") == 1, "what the client does not take is held")
        raw = read_all(client)
        client.close()
        head, _, rest = raw.partition(b"\r\n\r\n")
        assert field(head + b"\r\n\r\n", b"X-0") == b"v" * 120_000
        assert rest == body


def test_large_response_head_in_pieces_behind_interim_ones() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        data = b"HTTP/1.1 100 Continue\r\n\r\n" + response(60_000, 3)
        send_apart(connection, *(data[at : at + 9000] for at in range(0, len(data), 9000)))

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi")
            assert client.answer().status == 100
            answer = client.answer()
            assert [len(value) for value in fields(answer.head, b"X-2")] == [20_000]
            assert answer.body == b"ok"


def test_head_of_a_response_without_end_does_not_grow_without_end() -> None:
    raw = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000
    with Backend(answering(raw)) as backend, http(backend, max_response_header_bytes="128k", max_failed_responses=0) as lb:
        with Client(lb.address) as client:
            assert client.get().status == 502
            assert client.get().status == 502
