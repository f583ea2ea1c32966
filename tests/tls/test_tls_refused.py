"""Clients whose handshake is refused: one line in the log says who and why, and plain HTTP on an https port is told so."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from certificates import openssl
from harness import Peer, dial, echo, read_all, settled, wait_for
from http_balancers import GET, figure
from http_peers import Backend, Client, field
from tls_peers import EC, OFF, Authority, ByHand, TlsClient, shown, trusting

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Logged:
    """A balancer with one listener, and what it logs."""

    def __init__(self, bind: str, backend: Peer, certificate: Path | None, **listener: Any) -> None:
        self.lines: list[str] = []
        shows = {"certificates": shown(certificate)} if certificate else {}
        settings = BalancerSettings(
            workers=1,
            drain_timeout="2s",
            listeners=[ListenerSettings(bind=bind, name="web", **shows, **listener)],
            pools=[PoolSettings(probe=OFF, backends=[backend.address])],
        )
        self.lb = Balancer(settings=settings, log=self.lines.append)

    def refused(self) -> list[str]:
        """What is said of refused clients, without when and where."""
        return [line for line in self.lines if "is refused" in line]

    def line(self) -> str:
        """The first line that says so."""
        return str(wait_for(self.refused, "it is logged")[0])


@contextlib.contextmanager
def logged(bind: str, backend: Peer, certificate: Path | None, **listener: Any) -> Iterator[Logged]:
    it = Logged(bind, backend, certificate, **listener)
    it.lb.start()
    try:
        yield it
    finally:
        it.lb.stop(0)


HTTPS, TLS = "https://127.0.0.1:0", "tls://127.0.0.1:0"


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of an authority that nobody here trusts."""
    return Authority(tmp_path_factory.mktemp("strangers"), "strangers").issue("stranger")


@pytest.fixture(scope="module")
def expired(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client's certificate that was good once."""
    home = tmp_path_factory.mktemp("expired")
    (home / "index").write_text("")
    (home / "serial").write_text("01\n")
    (home / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = me\n[me]\ndatabase = {home}/index\nserial = {home}/serial\nnew_certs_dir = {home}\n"
        "default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
    )
    openssl("req", *EC, "-nodes", "-subj", "/CN=me", "-keyout", home / "me.key", "-out", home / "me.csr")
    openssl(
        "ca", "-batch", "-config", home / "ca.cnf", "-cert", authority.cert, "-keyfile", authority.key, "-notext",
        "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-in", home / "me.csr", "-out", home / "me.crt",
    )  # fmt: skip
    made = home / "me.pem"
    made.write_bytes((home / "me.crt").read_bytes() + (home / "me.key").read_bytes())
    return made


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("bind", [HTTPS, TLS])
@pytest.mark.parametrize(
    ("shows", "says"),
    [
        (None, "it shows no certificate"),
        ("expired", "its certificate is not accepted: certificate has expired"),
        ("strangers", "its certificate is not accepted: unable to get local issuer certificate"),
    ],
)
def test_refused_client_certificate_is_one_line_with_address_and_cause(
    request: pytest.FixtureRequest,
    authority: Authority,
    site: Path,
    shows: str | None,
    says: str,
    bind: str,
    version: ssl.TLSVersion,
) -> None:
    certificate = request.getfixturevalue(shows) if shows else None
    context = trusting(authority, version=version, certificate=certificate)
    asks = {"client_cert": "required", "client_ca": str(authority.cert)}
    with Backend() as backend, logged(bind, backend, site, **asks) as it:
        address = it.lb.address
        with contextlib.suppress(OSError), TlsClient(address, context) as client:
            port = client.socket.getsockname()[1]
            client.socket.recv(1)
        line = it.line()
        assert line.startswith("listener web: client 127.0.0.1:")
        assert line.endswith(f" is refused: {says}")
        if version == V13:
            assert f":{port} " in line
        assert backend.connections == 0
        assert figure(it.lb, "refused_handshake") == 1
        assert len(it.refused()) == 1


def test_a_served_client_leaves_no_line(authority: Authority, site: Path) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it:
        with TlsClient(it.lb.address, trusting(authority)) as client:
            assert client.get().status == 200
        with dial(it.lb.address):
            pass  # a health check of somebody else's
        with dial(it.lb.address) as client:
            client.sendall(b"\x16\x03\x01")
        wait_for(lambda: figure(it.lb, "refused_client_aborts") == 2, "those who left are counted")
        assert it.refused() == []


@pytest.mark.parametrize(
    ("client", "says"),
    [
        ({"maximum_version": ssl.TLSVersion.TLSv1_2}, "its handshake failed: unsupported protocol"),
        ({"ciphers": "AES128-SHA"}, "its handshake failed: no shared cipher"),
    ],
)
def test_clients_that_share_no_version_or_cipher(authority: Authority, site: Path, client: dict[str, Any], says: str) -> None:
    context = trusting(authority)
    listener = {}
    if "ciphers" in client:
        context.maximum_version = V12
        context.set_ciphers(client["ciphers"])
    else:
        context.maximum_version = client["maximum_version"]
        listener = {"tls_min": "1.3"}
    with Backend() as backend, logged(HTTPS, backend, site, **listener) as it:
        with contextlib.suppress(OSError), TlsClient(it.lb.address, context):
            pass
        assert it.line().endswith(f" is refused: {says}")


def test_a_client_that_does_not_trust_us_says_so(site: Path) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it:
        context = ssl.create_default_context()
        context.maximum_version = V12
        with pytest.raises(ssl.SSLError), TlsClient(it.lb.address, context):
            pass
        assert "it ended the handshake: tlsv1 alert unknown ca" in it.line()


# --- no TLS at all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"PROPFIND"])
def test_plain_http_on_an_https_port_is_400_that_says_so(site: Path, method: bytes) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it:
        with Client(it.lb.address) as client:
            client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.answer()
            assert answer.status == 400
            assert field(answer.head, b"Connection") == b"close"
            assert b"HTTPS port" in answer.body
            assert client.ends()
        assert it.line().endswith(" is refused: it speaks plain HTTP where TLS is spoken")
        wait_for(lambda: figure(it.lb, "refused_handshake") == 1, "it is counted")
        assert backend.connections == 0


def test_plain_head_has_no_body(site: Path) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it, dial(it.lb.address) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        raw = read_all(client)
        assert raw.startswith(b"HTTP/1.1 400 ")
        assert raw.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("size", [1, 3])
def test_plain_http_in_pieces(site: Path, size: int) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it, Client(it.lb.address) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            for at in range(0, len(GET), size):
                client.send(GET[at : at + size])
                settled(it.lb)
        assert client.answer().status == 400


def test_a_plain_upload_reads_its_400(site: Path) -> None:
    """What it still sends is read and thrown away, so that no reset takes the answer with it."""
    with Backend() as backend, logged(HTTPS, backend, site) as it, Client(it.lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        assert client.answer().status == 400
        assert client.ends()


def test_plain_http_that_stays_is_closed_in_time(site: Path) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it, dial(it.lb.address) as client:
        client.sendall(GET)
        read_all(client)
        wait_for(lambda: figure(it.lb, "refused_handshake") == 1, "it is over")


def test_plain_http_behind_a_proxy_header(site: Path) -> None:
    """The line names the client, not its proxy."""
    listener = {"accept_proxy": True, "trusted_proxies": ["127.0.0.1"]}
    with Backend() as backend, logged(HTTPS, backend, site, **listener) as it, Client(it.lb.address) as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n" + GET)
        assert client.answer().status == 400
        assert "client 192.0.2.1:4711 is refused" in it.line()


@pytest.mark.parametrize(
    ("bind", "certificate", "sends", "says"),
    [
        (HTTPS, True, b"SSH-2.0-x\r\n", "it does not speak TLS"),
        (HTTPS, True, b"\0" * 100, "it does not speak TLS"),
        (TLS, True, GET, "it speaks plain HTTP where TLS is spoken"),
        (HTTPS, True, b"EHLO a\r\n", "it does not speak TLS"),
        (HTTPS, True, b"HELO helo\r\n", "it does not speak TLS"),
        (TLS, True, b"EHLO a\r\n", "it does not speak TLS"),
        (TLS, False, GET, "it speaks plain HTTP where TLS is spoken"),
        (TLS, False, b"SSH-2.0-x\r\n", "it does not speak TLS"),
    ],
)
def test_what_is_no_tls_at_all(site: Path, bind: str, certificate: bool, sends: bytes, says: str) -> None:
    with Peer(echo) as peer, logged(bind, peer, site if certificate else None) as it:
        with dial(it.lb.address) as client, contextlib.suppress(OSError):
            client.sendall(sends)
            read_all(client)
        assert it.line().endswith(f" is refused: {says}")
        assert peer.connections == 0


def test_a_flood_of_refused_clients_leaves_few_lines(authority: Authority, site: Path) -> None:
    """And says how many there were."""
    with Backend() as backend, logged(HTTPS, backend, site) as it:
        for _ in range(60):
            with dial(it.lb.address) as client, contextlib.suppress(OSError):
                client.sendall(GET)
                read_all(client)
        wait_for(lambda: figure(it.lb, "refused_handshake") == 60, "all are counted")
        assert 1 <= len(it.refused()) < 40
        first = len(it.refused())

        def one_more() -> bool:
            with dial(it.lb.address) as client, contextlib.suppress(OSError):
                client.sendall(GET)
                read_all(client)
            return len(it.refused()) > first

        wait_for(one_more, "after a while one is told again")
        assert "others before it)" in it.refused()[-1]
        with TlsClient(it.lb.address, trusting(authority)) as client:
            assert client.get().status == 200


def test_a_handshake_by_hand_that_breaks_off_is_told(authority: Authority, site: Path) -> None:
    with Backend() as backend, logged(HTTPS, backend, site) as it, ByHand(it.lb.address, trusting(authority)) as client:
        client.socket.sendall(client.hello())
        assert client.socket.recv(1)
        client.socket.sendall(b"\x16\x03\x03\x00\x20" + b"x" * 32)
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(1 << 16):
                pass
        assert "its handshake failed: " in it.line()
