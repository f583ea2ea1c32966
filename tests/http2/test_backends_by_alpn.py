"""Pools with protocol = "auto" over TLS: what is no call goes by what the backend agrees on (RFC 7301)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from h2_backends import Call, H2Backend, Talk
from h2_frames import DATA, RST_STREAM, H2Client, frame
from harness import free_port, wait_for
from http_balancers import GET, POST, figure
from http_peers import Client, Reader
from real_peers import running
from tls_balancers import HTTP, over_tls
from tls_peers import Authority, TlsBackend, serving

if TYPE_CHECKING:
    import socket
    import ssl
    from pathlib import Path

HTTP_1_1_REQUIRED = b"\0\0\0\x0d"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nby 1.1"


def offering(certificate: Path, *protocols: str) -> ssl.SSLContext:
    context = serving(certificate)
    context.set_alpn_protocols(list(protocols))
    return context


class Either(H2Backend):
    """A backend that speaks both, as has been agreed on."""

    def _talk(self, connection: socket.socket) -> None:
        assert self.tls
        secured = self.tls.wrap_socket(connection, server_side=True)
        if secured.selected_alpn_protocol() == "h2":
            self.talks.append(Talk(self, secured))
            self.talks[-1].run()
            return
        reader = Reader(secured)
        while (head := reader.head()) is not None:
            self.old.append(head)
            reader.body(head)
            secured.sendall(OK)

    @property
    def old(self) -> list[bytes]:
        """Heads of requests that came by HTTP/1.1."""
        return self.__dict__.setdefault("_old", [])  # type: ignore[no-any-return]


def test_a_backend_that_prefers_http2_gets_it(authority: Authority, here: Path) -> None:
    with (
        Either(tls=offering(here, "h2", "http/1.1")) as backend,
        over_tls(HTTP, authority, backend) as lb,
        Client(lb.address) as client,
    ):
        assert [client.get().body for _ in range(3)] == [b"ok"] * 3
        client.send(POST)
        assert client.answer().body == b"ok"
        assert (len(backend.calls), backend.old) == (4, [])
        assert figure(lb, "connects") == 1, "they share a connection"


def test_clients_that_come_at_once_share_what_was_agreed_on(authority: Authority, here: Path) -> None:
    with (
        Either(tls=offering(here, "h2", "http/1.1")) as backend,
        over_tls(HTTP, authority, backend) as lb,
        H2Client(lb.address) as client,
    ):
        for stream in range(1, 21, 2):
            client.ask(stream)
        client.until(lambda _: len(client.all_of(DATA)) == 10)
        assert {(got.stream, got.payload) for got in client.all_of(DATA)} == {(stream, b"ok") for stream in range(1, 21, 2)}
        assert (len(backend.calls), backend.old) == (10, [])


@pytest.mark.parametrize("protocols", [("http/1.1",), ()])
def test_a_backend_that_does_not_know_http2_is_asked_as_before(
    authority: Authority, here: Path, protocols: tuple[str, ...]
) -> None:
    with (
        TlsBackend(offering(here, *protocols) if protocols else serving(here)) as backend,
        over_tls(HTTP, authority, backend) as lb,
        Client(lb.address) as client,
    ):
        assert [client.get().body for _ in range(3)] == [b"backend"] * 3
        assert figure(lb, "connects") == 1


def test_upgrades_go_by_http_1_1(authority: Authority, here: Path) -> None:
    with (
        Either(tls=offering(here, "h2", "http/1.1")) as backend,
        over_tls(HTTP, authority, backend) as lb,
        Client(lb.address) as client,
    ):
        client.send(GET)
        assert client.answer().body == b"ok"
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"))
        assert client.answer().body == b"by 1.1"
        client.send(GET)
        assert client.answer().body == b"ok"


def test_a_backend_that_wants_http_1_1_gets_the_request_again(authority: Authority, here: Path) -> None:
    def script(call: Call) -> None:
        call.talk.send(frame(RST_STREAM, 0, call.stream, HTTP_1_1_REQUIRED))

    with (
        Either(script, tls=offering(here, "h2", "http/1.1")) as backend,
        over_tls(HTTP, authority, backend) as lb,
        Client(lb.address) as client,
    ):
        for request in (GET, POST):
            client.send(request)
            assert client.answer().body == b"by 1.1"
        assert len(backend.old) == 2


def test_a_backend_that_gives_up_http2_loses_no_request(authority: Authority, here: Path) -> None:
    first = Either(tls=offering(here, "h2", "http/1.1"))
    with first, over_tls(HTTP, authority, first) as lb, H2Client(lb.address) as client:
        client.ask(1)
        assert client.response(1).body == b"ok"
        first.tls = offering(here, "http/1.1")
        first.talks[0].sock.close()
        wait_for(lambda: figure(lb, "bytes_in"), "the balancer lives")
        for stream in range(3, 13, 2):
            client.ask(stream)
        client.until(lambda _: len(client.all_of(DATA)) == 6)
        assert {got.payload for got in client.all_of(DATA)[1:]} == {b"by 1.1"}
        assert figure(lb, "connect_failures") == 0


APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-version", scope["http_version"].encode())]})
        await send({"type": "http.response.body", "body": b"asgi"})
"""


def test_hypercorn_agrees_on_http2(authority: Authority, here: Path, tmp_path: Path) -> None:
    pytest.importorskip("hypercorn")
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    pair = ["--certfile", str(here), "--keyfile", str(here)]
    line = [sys.executable, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", *pair, "app:app"]
    with (
        running(line, port, tmp_path),
        over_tls(HTTP, authority, f"127.0.0.1:{port}") as lb,
        Client(lb.address) as client,
    ):
        assert [b"x-version: 2\r\n" in client.get().head for _ in range(3)] == [True] * 3
