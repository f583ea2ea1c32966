"""Balancers that end TLS or speak it to their backends, and what tests ask of them and of their clients."""

from __future__ import annotations

import base64
import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from harness import Peer, dial, wait_for
from http_balancers import figure
from http_peers import Reader, field
from tls_peers import (
    Authority,
    ByHand,
    TlsClient,
    balancing,
    shown,
)

from lbcore import Balancer

if TYPE_CHECKING:
    from collections.abc import Iterator


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TCP, TLS = "tcp://127.0.0.1:0", "tls://127.0.0.1:0"
HTTP, HTTPS = "http://127.0.0.1:0", "https://127.0.0.1:0"


@contextlib.contextmanager
def https(site: Path, *backends: Peer | str, listener: dict[str, Any] | None = None, **options: Any) -> Iterator[Balancer]:
    """A listener of mode https that shows this certificate."""
    with balancing(HTTPS, *backends, listener={"certificates": shown(site)} | (listener or {}), **options) as lb:
        yield lb


@contextlib.contextmanager
def tls(site: Path, *backends: Peer | str, listener: dict[str, Any] | None = None, **options: Any) -> Iterator[Balancer]:
    """A listener of mode tls that shows this certificate."""
    with balancing(TLS, *backends, listener={"certificates": shown(site)} | (listener or {}), **options) as lb:
        yield lb


def alert_of(address: tuple[str, int], context: ssl.SSLContext, name: str = "a.test") -> str:
    """OpenSSL's word for the alert that ends a handshake, or a first read where the client of TLS 1.3 is done before that."""
    with pytest.raises(ssl.SSLError) as found, TlsClient(address, context, name) as client:
        client.socket.recv(1)
    return str(found.value.reason or found.value)


def refused(lb: Balancer, count: int = 1) -> None:
    """So many handshakes were refused, and are over."""
    wait_for(lambda: figure(lb, "refused_handshake") == count, "it is counted")
    wait_for(lambda: figure(lb, "handshakes_active") == 0, "it is over")


def request(path: str = "/", extra: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + path.encode() + b" HTTP/1.1\r\nHost: a.test\r\n" + extra + b"\r\n"


def answers(client: ByHand, count: int) -> list[bytes]:
    """The bodies of the next answers."""
    reader = Reader(client)  # type: ignore[arg-type]
    found = []
    for _ in range(count):
        head = reader.head()
        assert head
        found.append(reader.body(head))
    return found


class Place(NamedTuple):
    """One listener of several."""

    address: tuple[str, int]


def ticket_of(lb: Balancer | Place, context: ssl.SSLContext, name: str = "a.test") -> ssl.SSLSession:
    """A session of https that can be resumed."""
    with TlsClient(lb.address, context, name) as client:
        assert client.get().status == 200  # tickets of TLS 1.3 come with the first read
        assert client.socket.session.has_ticket
        return client.socket.session


def resumes(lb: Balancer | Place, context: ssl.SSLContext, session: ssl.SSLSession, name: str = "a.test") -> bool:
    with TlsClient(lb.address, context, name, session) as client:
        assert client.get().status == 200
        return bool(client.socket.session_reused)


def asking(authority: Authority, how: str) -> dict[str, Any]:
    return {"client_cert": how, "client_ca": str(authority.cert)}


def shown_to(head: bytes) -> bytes | None:
    """DER of the field Client-Cert: a byte sequence of RFC 8941."""
    value = field(head, b"Client-Cert")
    if value is None:
        return None
    assert value.startswith(b":")
    assert value.endswith(b":")
    return base64.b64decode(value[1:-1], validate=True)


@contextlib.contextmanager
def over_tls(bind: str, authority: Authority | None, *backends: Peer | str, **options: Any) -> Iterator[Balancer]:
    """A balancer that speaks TLS to these, and believes this authority."""
    trust = {"tls_ca": str(authority.cert)} if authority else {}
    with balancing(bind, *backends, **({"tls": True} | trust | options)) as lb:
        yield lb


def states(lb: Balancer) -> list[tuple[str, str]]:
    """Each backend's state and the reason of it."""
    return [(entry["state"], entry["reason"]) for entry in lb.status()["pools"][0]["backends"]]


def is_reset(lb: Balancer) -> bool:
    """Does a client of tcp that says something read a reset?"""
    try:
        with dial(lb.address) as client:
            client.sendall(b"x")
            client.recv(1)
    except ConnectionError:
        return True
    return False
