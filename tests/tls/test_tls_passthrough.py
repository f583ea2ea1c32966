"""Mode tls: whom a client wants is read in its hello, and the very bytes go there."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import SLOWER, Peer, balanced, dial, free_port, read_exactly, settled, totals, wait_for
from hellos import client_hello

from lbcore import Balancer, ConfigError
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings

PLAIN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
"""For other programs: a sanitizer's library is not for them."""


def is_listening(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate, for any name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    subprocess.run([*words, "-keyout", f"{made}.key", "-out", f"{made}.crt"], check=True, capture_output=True)
    made.write_text(Path(f"{made}.crt").read_text() + Path(f"{made}.key").read_text())
    return made


class TlsServer:
    """Serves its name over TLS. hellos: the names that clients asked for; protocols: its ALPN."""

    def __init__(self, certificate: Path, name: bytes, protocols: list[str] | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda connection, asked, _: self.hellos.append(asked)
        if protocols:
            context.set_alpn_protocols(protocols)
        self.hellos: list[str | None] = []

        def serve(connection: socket.socket) -> None:
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(name + b" " + (secured.selected_alpn_protocol() or "-").encode())
                with suppress(OSError):
                    while data := secured.recv(65536):
                        secured.sendall(data)

        self.peer = Peer(serve)
        self.address = self.peer.address


@contextmanager
def pools(certificate: Path, *names: str) -> Iterator[list[PoolSettings]]:
    """A pool of one server a name."""
    servers = [TlsServer(certificate, name.encode(), ["h2", "http/1.1"]) for name in names]
    found = [
        PoolSettings(name=name, backends=[server.address], probe=ProbeSettings(kind="off"))
        for name, server in zip(names, servers, strict=True)
    ]
    try:
        yield found
    finally:
        for server in servers:
            server.peer.close()


def rules(pools: list[PoolSettings], routes: list[RouteSettings], **listener: object) -> BalancerSettings:
    made = ListenerSettings(**({"bind": "tls://127.0.0.1:0", "name": "tls"} | listener))
    return BalancerSettings(workers=1, drain_timeout="1s", listeners=[made], pools=pools, routes=routes)


def said(lb: Balancer, name: str | None, protocols: list[str] | None = None) -> bytes:
    """What the server behind it says first; b"" when the connection is closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    try:
        with dial(lb.address) as connection, context.wrap_socket(connection, server_hostname=name) as secured:
            found = secured.recv(100)
            for size in (1, 1000, 100_000):
                secured.sendall(b"x" * size)
                assert len(read_exactly(secured, size)) == size
            return found
    except (ssl.SSLError, ConnectionError):
        return b""


def test_by_server_name_exact_wildcard_and_the_rest(certificate: Path) -> None:
    with pools(certificate, "one", "wild", "rest") as three:
        routes = [RouteSettings(host="a.test", pool="one"), RouteSettings(host="*.b.test", pool="wild")]
        with balanced(settings=rules(three, routes, pool="rest")) as lb:
            assert said(lb, "a.test") == b"one -"
            assert said(lb, "A.TEST") == b"one -"
            assert said(lb, "x.b.test") == b"wild -"
            assert said(lb, "y.x.b.test") == b"wild -"
            assert said(lb, "b.test") == b"rest -"
            assert said(lb, "other") == b"rest -"
            assert said(lb, None) == b"rest -"
            assert totals(settled(lb))["refused"] == 0


def test_by_protocol(certificate: Path) -> None:
    with pools(certificate, "h2", "rest") as two:
        routes = [RouteSettings(host="a.test", alpn="h2", pool="h2"), RouteSettings(host="a.test", pool="rest")]
        with balanced(settings=rules(two, routes)) as lb:
            assert said(lb, "a.test", ["http/1.1", "h2"]) == b"h2 h2"
            assert said(lb, "a.test", ["http/1.1"]) == b"rest http/1.1"
            assert said(lb, "a.test") == b"rest -"


def test_whom_no_route_takes_is_closed_and_counted(certificate: Path) -> None:
    with pools(certificate, "one") as one, balanced(settings=rules(one, [RouteSettings(host="a.test", pool="one")])) as lb:
        assert said(lb, "b.test") == b""
        assert said(lb, None) == b""
        assert totals(settled(lb))["refused_no_backend"] == 2
        assert said(lb, "a.test") == b"one -"


def test_a_hello_in_any_two_pieces(certificate: Path) -> None:
    """And the backend gets the very bytes."""
    whole = client_hello("a.test")
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(read_exactly(connection, len(whole)))
        connection.sendall(b"!")

    with Peer(serve) as peer:
        pool = PoolSettings(backends=[peer.address], probe=ProbeSettings(kind="off"))
        with balanced(settings=rules([pool], [])) as lb:
            cuts = [*range(1, 12), *range(40, len(whole), 29)]
            for cut in cuts:
                with dial(lb.address) as client:
                    client.sendall(whole[:cut])
                    settled(lb)  # a preread peeks: that it has seen a piece shows by its turn only
                    client.sendall(whole[cut:])
                    assert read_exactly(client, 1) == b"!"
            assert got == [whole] * len(cuts)


def test_a_hello_over_many_records_and_byte_by_byte(certificate: Path) -> None:
    whole = client_hello("a.test")
    body = whole[5:]
    records = b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in (body[at : at + 7] for at in range(0, len(body), 7))
    )
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(read_exactly(connection, len(records)))
        connection.sendall(b"!")

    with Peer(serve) as named, Peer(lambda connection: None) as rest:
        both = [
            PoolSettings(name=name, backends=[peer.address], probe=ProbeSettings(kind="off"))
            for name, peer in (("a", named), ("rest", rest))
        ]
        with (
            balanced(settings=rules(both, [RouteSettings(host="a.test", pool="a")], pool="rest")) as lb,
            dial(lb.address) as client,
        ):
            for at in range(len(records)):
                client.sendall(records[at : at + 1])
            assert read_exactly(client, 1) == b"!"
            assert got == [records]


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\0\0\0",
        b"SSH-2.0-x\r\n",
    ],
)
def test_junk_is_closed_at_once_and_counted(certificate: Path, junk: bytes) -> None:
    with Peer(lambda connection: None) as peer:
        pool = PoolSettings(backends=[peer.address], probe=ProbeSettings(kind="off"))
        with balanced(settings=rules([pool], [])) as lb, dial(lb.address) as client:
            client.sendall(junk)
            began = time.monotonic()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
            assert time.monotonic() - began < 2 * SLOWER
            assert totals(settled(lb))["refused_preread"] == 1
            assert peer.connections == 0


def test_a_client_that_says_nothing_is_closed_in_time() -> None:
    pool = PoolSettings(probe=ProbeSettings(kind="off"))
    with balanced(settings=rules([pool], [], header_timeout="200ms")) as lb:
        with dial(lb.address) as silent, dial(lb.address) as halting:
            halting.sendall(client_hello("a.test")[:30])
            assert silent.recv(1) == b""
            with suppress(ConnectionResetError):
                assert halting.recv(1) == b""
        assert totals(settled(lb))["refused_preread"] == 2


def test_a_client_that_leaves_before_its_hello_is_whole() -> None:
    pool = PoolSettings(probe=ProbeSettings(kind="off"))
    with balanced(settings=rules([pool], [])) as lb:
        with dial(lb.address) as client:
            client.sendall(client_hello("a.test")[:30])
            settled(lb)
        wait_for(lambda: totals(settled(lb))["refused_client_aborts"] == 1, "it is counted")


def test_draining_waits_for_a_hello_that_is_under_way(certificate: Path) -> None:
    whole = client_hello("a.test")
    with pools(certificate, "one") as one:
        lb = Balancer(settings=rules(one, [], pool="one"))
        lb.start()
        with dial(lb.address) as client:
            client.sendall(whole[:50])
            settled(lb)
            stopping = threading.Thread(target=lb.stop)
            stopping.start()
            wait_for(lambda: lb.status()["workers"][0]["state"] == "draining", "it drains")
            client.sendall(whole[50:])
            assert client.recv(1) == b"\x16"
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"host": "a", "path": "/x"}, "connections of mode tls have none"),
        ({"host": "a", "method": "GET"}, "connections of mode tls have none"),
    ],
)
def test_routes_that_ask_for_requests_are_refused(route: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rules([PoolSettings(name="p")], [RouteSettings(pool="p", listener="tls", **route)])


@pytest.mark.skipif(shutil.which("openssl") is None or shutil.which("curl") is None, reason="openssl or curl is not installed")
def test_curl_and_s_server_through_it(certificate: Path, tmp_path: Path) -> None:
    port = free_port()
    words = [
        "openssl",
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        str(certificate),
        "-key",
        str(certificate),
        "-www",
        "-quiet",
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=PLAIN)
    try:
        pool = PoolSettings(
            name="web", backends=[f"127.0.0.1:{port}"], probe=ProbeSettings(kind="off")
        )  # it serves one at a time
        with balanced(settings=rules([pool], [RouteSettings(host="app.test", pool="web")])) as lb:
            wait_for(lambda: is_listening(port), "s_server listens")
            where = ["--resolve", f"app.test:{lb.address[1]}:127.0.0.1", f"https://app.test:{lb.address[1]}/"]
            for version in ("--tlsv1.2", "--tlsv1.3"):
                done = subprocess.run(["curl", "-sk", version, *where], capture_output=True, timeout=60, env=PLAIN)
                assert done.returncode == 0, done.stderr
                assert b"Ciphers supported" in done.stdout
    finally:
        server.kill()
        server.wait()
