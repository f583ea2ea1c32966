"""Backends that cannot be reached over TLS, and a reload that begins or ends TLS."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, balanced, dial, free_port, read_all, reset, wait_for
from http_balancers import OK, figure
from http_peers import Backend, Client, answering
from tls_balancers import HTTP, TCP, is_reset, over_tls, states
from tls_peers import (
    Authority,
    TlsBackend,
    serving,
    settings_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore import Balancer


def test_a_backend_that_speaks_in_the_clear(authority: Authority) -> None:
    for words in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 hello\r\n", b"\0" * 10):
        with Peer(lambda connection, words=words: connection.sendall(words + connection.recv(1000)[:0])) as peer:  # type: ignore[misc]
            with over_tls(HTTP, authority, peer) as lb, Client(lb.address) as client:
                assert client.get().status == 502
                assert figure(lb, "backend_handshakes_failed") == 1
                for _ in range(2):
                    client.get()
                wait_for(lambda lb=lb: "its TLS handshake failed" in states(lb)[0][1], "the reason")
            with over_tls(TCP, authority, peer) as lb:
                assert is_reset(lb)


def leaves_at_once(connection: socket.socket) -> None:
    connection.recv(1000)


def resets_at_once(connection: socket.socket) -> None:
    connection.recv(1000)
    reset(connection)


def says_nothing(connection: socket.socket) -> None:
    read_all(connection)


@pytest.mark.parametrize("bind", [HTTP, TCP])
@pytest.mark.parametrize("fault", [leaves_at_once, resets_at_once, says_nothing])
def test_another_backend_serves_when_one_fails_in_the_handshake(
    authority: Authority, here: Path, bind: str, fault: Any
) -> None:
    """One that stalls has connect_timeout for all of it."""
    with Peer(fault) as bad, TlsBackend(serving(here), answering(OK, end=True)) as good:
        with over_tls(bind, authority, bad, good, connect_timeout="200ms", retries=2) as lb:
            for _ in range(4):
                with Client(lb.address) as client:
                    assert client.get().body == b"ok"
            assert bad.connections > 0
            assert figure(lb, "connect_failures") == bad.connections
            assert figure(lb, "connect_timeouts") == (bad.connections if fault is says_nothing else 0)


def test_a_backend_that_stalls_alone_is_504(authority: Authority) -> None:
    with Peer(says_nothing) as bad, over_tls(HTTP, authority, bad, connect_timeout="200ms") as lb, Client(lb.address) as client:
        assert client.get().status == 504


@pytest.mark.parametrize("bind", [HTTP, TCP])
def test_another_backend_serves_when_ones_certificate_is_bad(
    authority: Authority, here: Path, strange: Path, bind: str
) -> None:
    """And the bad one is taken out, with its reason."""
    once = answering(OK, end=True)
    with TlsBackend(serving(strange), once) as bad, TlsBackend(serving(here), once) as good:
        with over_tls(bind, authority, bad, good) as lb:
            for _ in range(12):
                with Client(lb.address) as client:
                    assert client.get().body == b"ok"
            wait_for(lambda: states(lb)[0][0] == "down", f"it is out: {states(lb)}")
            assert "its certificate is not accepted" in states(lb)[0][1]
            assert states(lb)[1][0] == "up"
            assert not bad.heads


def test_a_client_that_leaves_while_the_backend_shakes_hands(authority: Authority) -> None:
    for bind in (HTTP, TCP):
        with Peer(says_nothing) as bad, over_tls(bind, authority, bad, connect_timeout="5s") as lb:
            with dial(lb.address) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda bad=bad: bad.connections == 1, "it is tried")
                reset(client)
            wait_for(lambda lb=lb: figure(lb, "active") == 0, "it is over", 2)


def test_tls_begins_and_ceases_by_reload(authority: Authority, here: Path) -> None:
    """What is kept from before is of no use: in the clear to a port of TLS, or the other way round."""
    port = free_port()

    def settings(over: bool) -> Any:
        trust = {"tls": True, "tls_ca": str(authority.cert)} if over else {}
        return settings_of(HTTP, f"127.0.0.1:{port}", connect_timeout="300ms", **trust)

    def post(lb: Balancer) -> int:
        with Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            return client.answer().status

    with balanced(settings=settings(False)) as lb:
        for over in (False, True, False, True):
            lb.reload(settings(over))
            with TlsBackend(serving(here), port=port) if over else Backend(port=port) as backend:
                assert [post(lb), post(lb)] == [200, 200]
                assert backend.connections == 1
                lb.reload(settings(not over))
                assert post(lb) in (502, 504)
                lb.reload(settings(over))
                assert post(lb) == 200
                assert backend.connections > 1, "a kept connection is used as it was"
