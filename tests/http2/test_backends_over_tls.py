"""Backends that speak HTTP/2 over TLS: both must agree on it (RFC 9113 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2_backends import CALL, MESSAGE, H2Backend, answer_call
from h2_frames import H2Client
from http_balancers import figure
from http_peers import Client
from tls_balancers import HTTP, over_tls
from tls_peers import Authority, TlsBackend, serving

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


def offering(certificate: Path, *protocols: str) -> ssl.SSLContext:
    context = serving(certificate)
    context.set_alpn_protocols(list(protocols))
    return context


def test_calls_go_by_http2_that_alpn_agrees_on(authority: Authority, here: Path) -> None:
    with (
        H2Backend(answer_call, tls=offering(here, "h2", "http/1.1")) as backend,
        over_tls(HTTP, authority, backend.address) as lb,
        H2Client(lb.address) as client,
    ):
        for stream in (1, 3, 5):
            client.ask(stream, "/a.B/C", *CALL, method="POST", body=MESSAGE)
            assert client.response(stream).body == MESSAGE
        assert [call.head[":scheme"] for call in backend.calls] == ["https"] * 3
        assert figure(lb, "backend_handshakes") == 1


def test_everything_goes_by_http2_where_the_pool_says_so(authority: Authority, here: Path) -> None:
    with (
        H2Backend(tls=offering(here, "h2")) as backend,
        over_tls(HTTP, authority, backend.address, protocol="h2") as lb,
        Client(lb.address) as client,
    ):
        assert [client.get().body for _ in range(3)] == [b"ok"] * 3


@pytest.mark.parametrize("protocols", [("http/1.1",), ()])
def test_a_backend_that_does_not_agree_gets_nothing(authority: Authority, here: Path, protocols: tuple[str, ...]) -> None:
    with (
        TlsBackend(offering(here, *protocols) if protocols else serving(here)) as backend,
        over_tls(HTTP, authority, backend) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        assert client.response(1).heads[0]["grpc-status"] == "14"
        client.ask(3, "/")
        assert client.response(3).body == b"backend", "what is no call goes by HTTP/1.1"
        assert not any(head.startswith(b"PRI") for head in backend.heads)
