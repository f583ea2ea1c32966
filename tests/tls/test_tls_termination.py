"""TLS ends here: what clients of every kind meet on listeners of mode https, and of mode tls with a certificate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from certificates import openssl
from harness import PATIENCE_S, SLOWER, Peer, balanced, command, dial, echo, named, read_all, read_exactly, reset, wait_for
from http_balancers import GET, OK, figure
from http_peers import Backend, Reader, answering, field, fields
from tls_peers import (
    OFF,
    PLAIN,
    RSA,
    Authority,
    ByHand,
    TlsClient,
    TlsPeer,
    balancing,
    der_of,
    s_client,
    serving,
    settings_of,
    shown,
    trusting,
)

from lbcore import Balancer, ConfigError
from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.config.settings.tls import INTERMEDIATE

if TYPE_CHECKING:
    from collections.abc import Iterator

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TLS, HTTPS = "tls://127.0.0.1:0", "https://127.0.0.1:0"


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


# --- versions, ciphers, certificates, protocols ----------------------------------------------------------------------


def test_tls_1_2_and_1_3(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        for version, word in ((V12, "TLSv1.2"), (V13, "TLSv1.3")):
            with TlsClient(lb.address, trusting(authority, version=version)) as client:
                assert client.socket.version() == word
                assert client.get().body == b"backend"
        assert (figure(lb, "handshakes"), figure(lb, "handshakes_resumed"), figure(lb, "refused")) == (2, 0, 0)


@pytest.mark.filterwarnings("ignore:.*TLSVersion:DeprecationWarning")
def test_older_versions_are_refused_by_an_alert(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        for count, version in enumerate((ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1), 1):
            old = trusting(authority, version=version, ciphers="ALL:@SECLEVEL=0")
            assert alert_of(lb.address, old) == "TLSV1_ALERT_PROTOCOL_VERSION"
            refused(lb, count)


def test_tls_min_1_3_refuses_1_2(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"tls_min": "1.3"}) as lb:
        assert alert_of(lb.address, trusting(authority, version=V12)) == "TLSV1_ALERT_PROTOCOL_VERSION"
        refused(lb)
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.get().status == 200


def test_ciphers_are_those_of_mozilla_and_no_others(authority: Authority, site: Path) -> None:
    both = shown(site, authority.issue("a.test", key=RSA))
    old = ("AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM")
    with Backend() as backend, https(site, backend, listener={"certificates": both}) as lb:
        for name in INTERMEDIATE.split(":"):
            with TlsClient(lb.address, trusting(authority, version=V12, ciphers=name)) as client:
                assert (client.socket.cipher() or ())[0] == name
        for count, name in enumerate(old, 1):
            weak = trusting(authority, version=V12, ciphers=f"{name}:@SECLEVEL=0")
            assert alert_of(lb.address, weak) == "SSLV3_ALERT_HANDSHAKE_FAILURE", name
            refused(lb, count)
        assert "Cipher is (NONE)" in s_client(lb.address, "-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0")


def test_tls_ciphers_says_otherwise(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"tls_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"}) as lb:
        assert alert_of(lb.address, trusting(authority, version=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")) == (
            "SSLV3_ALERT_HANDSHAKE_FAILURE"
        )
        for version in (V12, V13):
            with TlsClient(lb.address, trusting(authority, version=version)) as client:
                assert client.get().status == 200


def seen(lb: Balancer, authority: Authority, name: str | None, **knows: Any) -> bytes:
    """The certificate that a client of this name is shown, DER."""
    context = trusting(authority, **knows)
    context.check_hostname = False
    with TlsClient(lb.address, context, name) as client:
        return client.socket.getpeercert(binary_form=True) or b""


def test_certificates_by_server_name(authority: Authority, site: Path) -> None:
    many = authority.issue("many", "DNS:b.test", "DNS:C.TEST", "IP:127.0.0.1")
    wild = authority.issue("*.wild.test")
    exact = authority.issue("x.wild.test")
    expected = {
        "a.test": site, "A.Test": site, "b.test": many, "c.test": many, "y.wild.test": wild, "x.wild.test": exact,
        "wild.test": site, "z.y.wild.test": site, "unknown.test": site, "b.test.": many, None: site,
    }  # fmt: skip
    with Backend() as backend, https(site, backend, listener={"certificates": shown(site, many, wild, exact)}) as lb:
        for version in (V12, V13):
            for name, certificate in expected.items():
                assert seen(lb, authority, name, version=version) == der_of(certificate), name


def test_rsa_and_ecdsa_of_one_name_by_what_the_client_can_read(authority: Authority, site: Path) -> None:
    other = authority.issue("b.test")
    rsa = authority.issue("a.test", key=RSA)
    with Backend() as backend, https(site, backend, listener={"certificates": shown(other, site, rsa)}) as lb:
        assert seen(lb, authority, "a.test", version=V12, ciphers="aRSA+AESGCM") == der_of(rsa)
        assert seen(lb, authority, "a.test", version=V12, ciphers="aECDSA+AESGCM") == der_of(site)
        for algorithm, kind in (("RSA-PSS+SHA256", "RSA-PSS"), ("ECDSA+SHA256", "ECDSA")):
            said = s_client(lb.address, "-servername", "a.test", "-tls1_3", "-sigalgs", algorithm)
            assert f"Peer signature type: {kind}" in said
        said = s_client(lb.address, "-servername", "b.test", "-tls1_3", "-sigalgs", "RSA-PSS+SHA256")
        assert "Peer signature type" not in said, "there is no such certificate"
        refused(lb)


def test_the_chain_comes_along(authority: Authority, tmp_path: Path) -> None:
    """A client that knows the root only."""
    middle = Authority(tmp_path, "middle")
    words = ["-CA", authority.cert, "-CAkey", authority.key, "-key", middle.key, "-subj", "/CN=middle", "-days", "2"]
    openssl("req", "-x509", *words, "-addext", "keyUsage=critical,keyCertSign", "-out", middle.cert)
    leaf = middle.issue("a.test")
    leaf.write_bytes(leaf.read_bytes() + middle.cert.read_bytes())
    with Backend() as backend, https(leaf, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        assert client.get().status == 200


def test_https_agrees_on_http_1_or_nothing(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        for offered, agreed in ((("h2", "http/1.1"), "http/1.1"), (("http/1.0",), "http/1.0"), ((), None)):
            for version in (V12, V13):
                with TlsClient(lb.address, trusting(authority, version=version, protocols=offered)) as client:
                    assert client.socket.selected_alpn_protocol() == agreed
                    assert client.get().status == 200
        for count, version in enumerate((V12, V13), 1):
            only = trusting(authority, version=version, protocols=("h2",))
            assert "no application protocol" in alert_of(lb.address, only)
            refused(lb, count)


def test_alpn_of_a_tls_listener(authority: Authority, site: Path) -> None:
    with Peer(echo) as peer, tls(site, peer, listener={"alpn": ["imap", "h2"]}) as lb:
        for offered, agreed in ((("h2", "imap"), "imap"), (("x", "h2"), "h2"), ((), None)):
            with TlsClient(lb.address, trusting(authority, protocols=offered)) as client:
                assert client.socket.selected_alpn_protocol() == agreed
        assert "no application protocol" in alert_of(lb.address, trusting(authority, protocols=("x",)))
        refused(lb)
    with Peer(echo) as peer, tls(site, peer) as lb, TlsClient(lb.address, trusting(authority, protocols=("x",))) as client:
        assert client.socket.selected_alpn_protocol() is None, "it speaks of none"


def test_a_stapled_response_is_delivered(authority: Authority, site: Path, tmp_path: Path) -> None:
    stapled, other = tmp_path / "ocsp.der", authority.issue("b.test")
    stapled.write_bytes(b"\x30\x03\x0a\x01\x03")  # tryLater (RFC 6960 4.2.1): as short as one can be
    certificates = shown(site, ocsp=stapled) + shown(other)
    with Backend() as backend, https(site, backend, listener={"certificates": certificates}) as lb:
        for version in ("-tls1_2", "-tls1_3"):
            assert "OCSP Response Status: trylater (0x3)" in s_client(lb.address, version, "-status", "-servername", "a.test")
            assert "OCSP response: no response sent" in s_client(lb.address, version, "-status", "-servername", "b.test")
        assert figure(lb, "refused_handshake") == 0


def test_renegotiation_is_refused(authority: Authority, site: Path) -> None:
    """s_client begins one at a line of R. The old session goes on, or ends; no second handshake is made."""
    with Peer(echo) as peer, tls(site, peer) as lb:
        line = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.address[1]}", "-tls1_2"]
        with subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=PLAIN
        ) as client:
            assert client.stdin
            assert client.stdout
            wait_for(lambda: figure(lb, "active") == 1, "it is served")
            client.stdin.write(b"R\n")
            client.stdin.close()
            assert b"no renegotiation" in client.stdout.read()
        assert figure(lb, "handshakes") == 1


@pytest.mark.parametrize("order", [b"k\n", b"K\n"])
def test_new_keys_by_the_client(authority: Authority, site: Path, order: bytes) -> None:
    """With K it wants new ones of ours, too (RFC 8446 4.6.3)."""
    with Peer(echo) as peer, tls(site, peer) as lb:
        line = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.address[1]}", "-tls1_3"]
        with subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=PLAIN
        ) as client:
            assert client.stdin
            assert client.stdout
            wait_for(lambda: figure(lb, "active") == 1, "it is served")
            for at in range(5):
                for words in (order, b"line %d\n" % at):
                    client.stdin.write(words)
                    client.stdin.flush()
                    if words == order:
                        while b"KEYUPDATE\n" not in client.stdout.readline():
                            pass
                while client.stdout.readline() != b"line %d\n" % at:
                    pass
            client.stdin.close()
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")


# --- mode tls with a certificate: bytes ------------------------------------------------------------------------------


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


# --- https -----------------------------------------------------------------------------------------------------------


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


def test_requests_on_one_connection(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        for _ in range(50):
            assert client.get().body == b"backend"
        assert field(client.get(method=b"HEAD").head, b"Content-Length") == b"7"
        assert client.get().body == b"backend"
        wait_for(lambda: figure(lb, "requests_done") == 52, "the last is over")
        assert (figure(lb, "handshakes"), figure(lb, "accepted")) == (1, 1)


def test_backends_are_told_https(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.get(extra=b"X-Forwarded-Proto: http\r\nForwarded: proto=http\r\n")
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-Proto") == b"https"
        assert field(head, b"X-Forwarded-For") == b"127.0.0.1"
        assert field(head, b"Forwarded") == b'for=127.0.0.1;host="a.example";proto=https'


def test_requests_in_one_record_and_one_over_many(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        client.socket.sendall(client.sealed(b"".join(request(f"/{number}") for number in range(20))))
        assert answers(client, 20) == [b"backend"] * 20
        assert [head.split()[1] for head in backend.heads] == [b"/%d" % number for number in range(20)]
        post = request("/post", b"Content-Length: 5\r\n", b"POST") + b"hello"
        client.socket.sendall(client.sealed(*(post[at : at + 1] for at in range(len(post)))))
        assert answers(client, 1) == [b"backend"]
        chunks = request("/chunks", b"Transfer-Encoding: chunked\r\n", b"POST") + b"3\r\nabc\r\n0\r\n\r\n"
        client.socket.sendall(client.sealed(post + chunks + post + request("/last")))
        assert answers(client, 4) == [b"backend"] * 4
        assert backend.bodies[20:] == [b"hello", b"hello", b"3\r\nabc\r\n0\r\n\r\n", b"hello", b""]


@pytest.mark.parametrize("version", [V12, V13])
def test_records_over_many_segments(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    """The handshake and two requests, byte by byte."""
    with (
        Backend() as backend,
        https(site, backend) as lb,
        ByHand(lb.address, trusting(authority, version=version)) as client,
    ):

        def one_by_one(data: bytes) -> None:
            for at in range(len(data)):
                client.socket.sendall(data[at : at + 1])

        client.shake(one_by_one)
        one_by_one(client.sealed(request("/1") + request("/2", b"Content-Length: 5\r\n", b"POST"), b"he", b"llo"))
        assert answers(client, 2) == [b"backend"] * 2
        assert backend.bodies == [b"", b"hello"]


def test_a_request_with_the_handshakes_last_words(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.socket.sendall(client.hello())
        while True:
            client.take()
            try:
                client.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
        client.socket.sendall(client.sealed(request()))
        assert answers(client, 1) == [b"backend"]


def test_large_bodies_both_ways(authority: Authority, site: Path) -> None:
    big = os.urandom(8 << 20)
    parts = [big[at : at + 99_999] for at in range(0, len(big), 99_999)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    framed = {
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(big) + big,
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
    }

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(framed[head.split()[1].decode()])

    with Backend(script) as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(request("/length", b"Content-Length: %d\r\n" % len(big), b"POST"))
        client.send(big)
        assert client.answer().body == big
        client.send(request("/chunked", b"Transfer-Encoding: chunked\r\n", b"POST"))
        client.send(chunked)
        assert client.answer().body == chunked
        assert backend.bodies == [big, chunked]
        assert figure(lb, "accepted") == 1


def test_answers_to_a_slow_reader(authority: Authority, site: Path) -> None:
    """Pipelined, some of them large, and taken two thousand bytes at a time."""
    sizes = [10, 8_000_000, 3, 70_000, 16_384, 1]

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        size = int(head.split()[1][1:])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes([size % 251]) * size)

    with (
        Backend(script) as backend,
        https(site, backend) as lb,
        ByHand(lb.address, trusting(authority), receive_buffer=2048) as client,
    ):
        client.shake()
        client.socket.sendall(client.sealed(b"".join(request(f"/{size}") for size in sizes)))
        wait_for(lambda: figure(lb, "buffers") == 1, "the balancer waits for its client")
        assert answers(client, len(sizes)) == [bytes([size % 251]) * size for size in sizes]


def test_continue_and_head(authority: Authority, site: Path) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(OK if body != b"" else OK[:-2])

    with Backend(script) as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        assert client.get(method=b"HEAD").status == 200
        client.send(request("/", b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"PUT"))
        client.send(b"hi")
        status = [client.answer().status]
        while status[-1] == 100:
            status.append(client.answer().status)
        assert status[-1] == 200
        assert backend.bodies == [b"", b"hi"]


def test_close_ends_with_close_notify(authority: Authority, site: Path) -> None:
    """Python's ssl takes no other end for one here."""
    with Backend() as backend, https(site, backend) as lb:
        for version in (V12, V13):
            for line in (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
                with TlsClient(lb.address, trusting(authority, version=version)) as client:
                    client.send(line)
                    assert client.answer().body == b"backend"
                    assert client.socket.recv(1) == b""
                    client.socket.unwrap()
    to_end = Backend(answering(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000, end=True))
    with to_end as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(GET)
        assert client.answer().body == b"x" * 300_000


def test_the_balancers_own_answers_end_with_close_notify(authority: Authority, site: Path) -> None:
    with https(site) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400
        assert client.socket.recv(1) == b""


def test_kept_connection_that_rests_ends_with_close_notify(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"keepalive_timeout": "200ms"}) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.get().status == 200
            assert client.socket.recv(1) == b""
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.socket.recv(1) == b"", "nor was anything asked"


def test_a_cut_answer_does_not_end_with_close_notify(authority: Authority, site: Path) -> None:
    cut = Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", end=True))
    with cut as backend, https(site, backend) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(request()))
            with pytest.raises(ConnectionResetError):
                read_all(client)  # type: ignore[arg-type]
        assert figure(lb, "requests_failed") == 1


def test_client_that_closes_without_close_notify_is_done(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.get().status == 200
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")
        assert (figure(lb, "requests_done"), figure(lb, "closed")) == (1, 1)


def test_client_resets_mid_answer(authority: Authority, site: Path) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)
        return True

    with Backend(script) as backend, https(site, backend) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(request()))
            assert client.recv(1000)
            reset(client.socket)
        wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "the exchange is over")
        assert backend.ended.wait(10), "the backend is free"


def test_upgraded_connection_is_a_relay_of_tls(authority: Authority, site: Path) -> None:
    """The client's first bytes come in one record with its request."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        return False

    with Backend(script) as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        client.socket.sendall(client.sealed(request("/", b"Connection: Upgrade\r\nUpgrade: echo\r\n")))
        reader = Reader(client)  # type: ignore[arg-type]
        assert (reader.head() or b"").startswith(b"HTTP/1.1 101 ")
        assert reader.exactly(5) == b"early"
        client.socket.sendall(client.sealed(b"GET /again HTTP/1.1\r\n\r\n"))
        assert (reader.head() or b"").startswith(b"HTTP/1.1 101 ")
        assert backend.heads[1] == b"GET /again HTTP/1.1\r\n\r\n"
        assert figure(lb, "upgrades") == 1


def test_websockets(authority: Authority, site: Path) -> None:
    from websockets.sync.client import connect
    from websockets.sync.server import ServerConnection, serve

    def talk(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        with https(site, address) as lb:
            url = f"wss://a.test:{lb.address[1]}/"
            with connect(url, sock=dial(lb.address), ssl=trusting(authority), max_size=None) as client:
                for message in ("hello", "x" * 200_000, os.urandom(1_000_000)):
                    client.send(message)
                    assert client.recv() == message
            wait_for(lambda: figure(lb, "closed_done") >= 1, "it is over")
        server.shutdown()
        thread.join()
    gc.collect()  # its selector is part of a cycle


def test_curl(authority: Authority, site: Path) -> None:
    big = b"x" * 3_000_000
    with Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + big)) as backend, https(site, backend) as lb:
        url = f"https://a.test:{lb.address[1]}/"
        resolve = ["--resolve", f"a.test:{lb.address[1]}:127.0.0.1", "--cacert", str(authority.cert)]
        for extra in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"], ["--http1.0"], ["-H", "Connection: close"]):
            done = subprocess.run(["curl", "-sS", *extra, *resolve, url, url], capture_output=True, env=PLAIN, timeout=60)
            assert (done.returncode, done.stdout == big * 2) == (0, True), done.stderr


class Place(NamedTuple):
    """One listener of several."""

    address: tuple[str, int]


# --- tickets ---------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("version", [V12, V13])
def test_sessions_are_resumed_with_any_worker(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend, top={"workers": 2}) as lb:
        session = ticket_of(lb, context)
        for _ in range(20):
            assert resumes(lb, context, session)
        by_worker = [worker["handshakes_resumed"] for worker in lb.status()["workers"]]
        assert sum(by_worker) == 20
        assert min(by_worker) > 0, by_worker


@pytest.mark.parametrize("version", [V12, V13])
def test_tickets_outlive_two_rotations_of_their_key(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend) as lb:

        def rotate() -> None:
            supervisor = lb._running().supervisor
            assert supervisor
            with supervisor._lock:
                publisher = supervisor._tls
                publisher._turn_keys(publisher._keys[0].born + publisher._rotation_s)

        session = ticket_of(lb, context)
        assert resumes(lb, context, session)
        for expected in (True, True, False):
            rotate()
            # a note to the worker is taken in before the connections that come after it
            wait_for(lambda expected=expected: resumes(lb, context, session) is expected, f"resumed: {expected}", 3)
        renewed = ticket_of(lb, context)
        assert resumes(lb, context, renewed)


@pytest.mark.parametrize("version", [V12, V13])
def test_tickets_are_good_under_the_same_rules_only(
    authority: Authority, site: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Not with another listener, and not with other rules on client certificates."""
    other = Authority(tmp_path)
    rules: list[dict[str, Any]] = [
        {},
        {},
        {"client_cert": "optional", "client_ca": str(authority.cert)},
        {"client_cert": "optional", "client_ca": str(other.cert)},
    ]
    listeners = [ListenerSettings(bind=HTTPS, name=f"l{at}", certificates=shown(site), **rule) for at, rule in enumerate(rules)]
    context = trusting(authority, version=version)
    with Backend() as backend:
        pool = PoolSettings(name="default", backends=[backend.address], probe=OFF)
        with balanced(settings=BalancerSettings(workers=1, listeners=listeners, pools=[pool], drain_timeout="2s")) as lb:
            places = [Place(entry) for entry in lb.addresses.values()]
            for at, place in enumerate(places):
                session = ticket_of(place, context)
                assert [resumes(to, context, session) for to in places] == [at == to for to in range(len(places))]


# --- certificates of clients -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def me(authority: Authority) -> Path:
    """A client's certificate."""
    return authority.issue("me")


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


@pytest.mark.parametrize("version", [V12, V13])
def test_client_certificate_reaches_the_backend(authority: Authority, site: Path, me: Path, version: ssl.TLSVersion) -> None:
    """Also when the session is resumed, where no certificate is shown again."""
    for how in ("required", "optional"):
        with Backend() as backend, https(site, backend, listener=asking(authority, how)) as lb:
            context = trusting(authority, version=version, certificate=me)
            session = ticket_of(lb, context)
            assert resumes(lb, context, session)
            assert [shown_to(head) for head in backend.heads] == [der_of(me)] * 2


@pytest.mark.parametrize("version", [V12, V13])
def test_client_without_a_certificate(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend, listener=asking(authority, "optional")) as lb:
        with TlsClient(lb.address, context) as client:
            assert client.get(extra=b"Client-Cert: :AAAA:\r\n").status == 200
        assert fields(backend.heads[0], b"Client-Cert") == []
    with Backend() as backend, https(site, backend, listener=asking(authority, "required")) as lb:
        expected = {V12: "SSLV3_ALERT_HANDSHAKE_FAILURE", V13: "TLSV13_ALERT_CERTIFICATE_REQUIRED"}
        assert alert_of(lb.address, context) == expected[version]
        refused(lb)
        assert backend.connections == 0


@pytest.mark.parametrize("how", ["required", "optional"])
@pytest.mark.parametrize("version", [V12, V13])
def test_client_with_a_strangers_certificate(
    authority: Authority, site: Path, tmp_path: Path, how: str, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path).issue("me")
    with Backend() as backend, https(site, backend, listener=asking(authority, how)) as lb:
        context = trusting(authority, version=version, certificate=stranger)
        assert alert_of(lb.address, context) in ("TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_DECRYPT_ERROR")
        refused(lb)
        assert backend.connections == 0


@pytest.mark.parametrize("plain", [True, False])
def test_client_cert_fields_of_clients_are_never_passed_on(authority: Authority, site: Path, me: Path, plain: bool) -> None:
    """Nor under names that CGI takes for the same."""
    evil = b"Client-Cert: :AAAA:\r\nCLIENT-CERT: :BBBB:\r\nclient-cert-chain: :CCCC:\r\nClient-Cert:\r\n"
    evil += b"".join(name + b": :AAAA:\r\n" for name in (b"Client_Cert", b"Client_Cert_Chain", b"Client-Cert_chain"))
    listener = {} if plain else asking(authority, "optional") | {"certificates": shown(site)}
    bind = "http://127.0.0.1:0" if plain else HTTPS
    for certificate in (None,) if plain else (None, me):
        with Backend() as backend, balancing(bind, backend, listener=listener) as lb:
            with (
                dial(lb.address)
                if plain
                else TlsClient(lb.address, trusting(authority, certificate=certificate)).socket as client
            ):
                client.sendall(request("/", evil))
                assert client.recv(12) == b"HTTP/1.1 200"
                client.sendall(request("/", b"Connection: Client-Cert\r\n" + evil))
                wait_for(lambda backend=backend: len(backend.heads) == 2, "it is asked again")
            own = [b":" + base64.b64encode(der_of(me)) + b":"] if certificate else []
            for head in backend.heads:
                assert fields(head, b"Client-Cert") == own
                assert head.lower().replace(b"_", b"-").count(b"\r\nclient-cert") == len(own)


def test_client_cert_fields_of_trusted_proxies_are_kept(authority: Authority, site: Path, me: Path) -> None:
    theirs = b"Client-Cert: :AAAA:\r\nClient-Cert-Chain: :CCCC:\r\n"
    trust = {"trusted_proxies": ["127.0.0.0/8"]}
    with Backend() as backend, https(site, backend, listener=trust) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            client.get(extra=theirs)
        assert fields(backend.heads[0], b"Client-Cert") == [b":AAAA:"]
        assert fields(backend.heads[0], b"Client-Cert-Chain") == [b":CCCC:"]
    with Backend() as backend, https(site, backend, listener=asking(authority, "optional") | trust) as lb:
        with TlsClient(lb.address, trusting(authority, certificate=me)) as client:
            client.get(extra=theirs)
        assert shown_to(backend.heads[0]) == der_of(me), "whoever shows one is that one"


def test_a_clients_certificate_that_no_field_has_room_for(authority: Authority, site: Path) -> None:
    large = authority.issue("large", *(f"DNS:{'x' * 50}{at}.test" for at in range(200)))
    with Backend() as backend, https(site, backend, listener=asking(authority, "optional")) as lb:
        with ByHand(lb.address, trusting(authority, certificate=large)) as client:
            client.shake()
            with contextlib.suppress(ConnectionResetError), pytest.raises(ssl.SSLEOFError):
                client.recv(1)
        refused(lb)


# --- a PROXY header before the handshake -----------------------------------------------------------------------------

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack("!HH", 1234, 443)


@pytest.mark.parametrize("header", [V1, V2])
def test_proxy_header_before_the_handshake(authority: Authority, site: Path, header: bytes) -> None:
    """In one segment with the hello, apart from it, and byte by byte."""
    trust = {"trusted_proxies": ["127.0.0.0/8"], "accept_proxy": True}
    with Backend() as backend, https(site, backend, listener=trust) as lb:
        for size in (1000, len(header), 1):
            with ByHand(lb.address, trusting(authority)) as client:
                words = header + client.hello()
                for at in range(0, len(words), size):
                    client.socket.sendall(words[at : at + size])
                client.take()
                client.shake()
                client.socket.sendall(client.sealed(request()))
                assert answers(client, 1) == [b"backend"]
            assert field(backend.heads[-1], b"X-Forwarded-For") == b"192.0.2.7"


def test_proxy_header_of_a_stranger_is_junk(authority: Authority, site: Path) -> None:
    trust = {"trusted_proxies": ["192.0.2.0/24"], "accept_proxy": True}
    with Backend() as backend, https(site, backend, listener=trust) as lb:
        with dial(lb.address) as client:
            client.sendall(V1)
            with contextlib.suppress(ConnectionResetError):
                read_all(client)
        refused(lb)


def test_no_header_of_a_trusted_proxy(authority: Authority, site: Path) -> None:
    trust = {"trusted_proxies": ["127.0.0.0/8"], "accept_proxy": True}
    with Backend() as backend, https(site, backend, listener=trust) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.socket.sendall(client.hello())
            with contextlib.suppress(ConnectionResetError):
                assert client.socket.recv(1) == b""
        wait_for(lambda: figure(lb, "refused_preread") == 1, "it is counted")


# --- junk and silence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", [HTTPS, TLS])
@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0" * 100,
        b"\x80\x2e\x01\x03\x01" + b"\0" * 50,
        b"\x16\x03\x01\x00\x00" * 40,
        b"\x16\x03\x01\x00\x04\x02\0\0\0",
        b"\x17\x03\x03\x00\x10" + b"x" * 16,
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x40\x01" + b"\x01" * 16385,
    ],
)
def test_junk_is_closed_and_counted(site: Path, bind: str, junk: bytes) -> None:
    with Peer(echo) as peer, balancing(bind, peer, listener={"certificates": shown(site)}) as lb:
        with dial(lb.address) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(junk)
            read_all(client)
        wait_for(lambda: figure(lb, "refused") == 1, "it is counted")
        assert figure(lb, "refused_handshake") + figure(lb, "refused_preread") == 1
        assert peer.connections == 0


@pytest.mark.parametrize("bind", [HTTPS, TLS])
@pytest.mark.parametrize("version", [V12, V13])
def test_a_hello_cut_anywhere(authority: Authority, site: Path, bind: str, version: ssl.TLSVersion) -> None:
    """Then the client closes, or resets, or says no more."""
    listener = {"certificates": shown(site), "header_timeout": "300ms"}
    with Peer(echo) as peer, balancing(bind, peer, listener=listener) as lb, contextlib.ExitStack() as stack:
        context = trusting(authority, version=version)
        with ByHand(lb.address, context) as client:
            hello = client.hello()
        wait_for(lambda: figure(lb, "refused") == 1, "a client that says nothing at all")
        cuts = [1, 2, 5, 6, 9, 11, 43, 44, 76, *range(80, len(hello), 41), len(hello) - 1]
        for cut in cuts:
            with dial(lb.address) as client:
                client.sendall(hello[:cut])
            with dial(lb.address) as client:
                client.sendall(hello[:cut])
                reset(client)
            silent = stack.enter_context(dial(lb.address))
            silent.sendall(hello[:cut])
        wait_for(lambda: figure(lb, "refused") == 1 + 3 * len(cuts), "all are counted")
        assert figure(lb, "refused_client_aborts") >= len(cuts)
        assert figure(lb, "refused_handshake") + figure(lb, "refused_preread") >= len(cuts)
        assert peer.connections == 0


@pytest.mark.parametrize("version", [V12, V13])
def test_clients_that_stop_after_our_answer(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend, listener={"header_timeout": "300ms"}) as lb:
        with ByHand(lb.address, context) as silent:
            silent.socket.sendall(silent.hello())
            while silent.socket.recv(1 << 16):
                pass
            refused(lb)
        with ByHand(lb.address, context) as client:
            client.socket.sendall(client.hello())
            assert client.socket.recv(1)
        wait_for(lambda: figure(lb, "refused_client_aborts") == 1, "who leaves in the middle")
        with ByHand(lb.address, context) as garbled:
            garbled.socket.sendall(garbled.hello())
            assert garbled.socket.recv(1)
            garbled.socket.sendall(b"\x16\x03\x03\x00\x20" + b"x" * 32)
            with contextlib.suppress(ConnectionResetError):
                while garbled.socket.recv(1 << 16):
                    pass
        refused(lb, 2)


def test_a_handshake_and_nothing_more(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"header_timeout": "1s"}) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            wait_for(lambda: figure(lb, "active") == 1, "it is served")
        wait_for(lambda: figure(lb, "closed_done") == 1, "who leaves is done")
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(b"GET / HT"))
            with contextlib.suppress(ConnectionResetError):
                read_all(client)  # type: ignore[arg-type]
        assert figure(lb, "requests") == 0


def test_stalled_handshakes_do_not_keep_others_out(authority: Authority, site: Path) -> None:
    """Fifty stop after their hello, fifty in the middle of it, and as many say nothing at all. Only the first get a place, and
    lose it again soon."""
    context = trusting(authority)
    with Backend() as backend, https(site, backend, top={"max_handshakes": 4}) as lb, contextlib.ExitStack() as stack:
        for _ in range(50):
            halting = stack.enter_context(ByHand(lb.address, context))
            halting.socket.sendall(halting.hello())
            halved = stack.enter_context(ByHand(lb.address, context))
            halved.socket.sendall(halved.hello()[:100])
            stack.enter_context(ByHand(lb.address, context))
        wait_for(lambda: figure(lb, "handshakes_active") == 4, "all places are taken")
        for _ in range(3):
            began = time.monotonic()
            with TlsClient(lb.address, context) as client:
                assert client.get().status == 200
            assert time.monotonic() - began < 2 * SLOWER
        assert figure(lb, "handshakes_active") <= 4
        stack.close()
        wait_for(lambda: figure(lb, "refused") == 150, "all are counted")


def test_two_hundred_at_once(authority: Authority, site: Path) -> None:
    async def ask(address: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(
            *address, ssl=trusting(authority), server_hostname="a.test", ssl_handshake_timeout=30 * SLOWER
        )
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.close()
        return head[:12]

    async def all_of_them(address: tuple[str, int]) -> list[bytes]:
        asked = asyncio.gather(*(ask(address) for _ in range(200)))
        while figure(lb, "handshakes") < 200 and not asked.done():
            await asyncio.sleep(0.01)
        together.set()
        return await asked

    together = asyncio.Event()
    # two hundred clients in one slow process may leave each handshake hanging, for which the engine would let them go
    bounds = {"top": {"max_handshakes": 8}} if SLOWER == 1 else {"listener": {"header_timeout": "60s"}}
    with Backend() as backend, https(site, backend, **bounds) as lb:
        assert asyncio.run(all_of_them(lb.address)) == [b"HTTP/1.1 200"] * 200
        assert (figure(lb, "handshakes"), figure(lb, "accepted"), figure(lb, "refused")) == (200, 200, 0)


# --- workers, files, reload ------------------------------------------------------------------------------------------


def test_a_killed_worker_takes_tickets_of_before(authority: Authority, site: Path, tmp_path: Path) -> None:
    context = trusting(authority)
    with Backend() as backend:
        flags = ["--listen", HTTPS, "--cert", str(site), "--backend", backend.address, "--health", "off"]
        with command(tmp_path, *flags) as lb:
            place = Place(lb.address)
            session = ticket_of(place, context)
            victim = lb.status()["workers"][0]["pid"]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: lb.status()["workers"][0]["pid"] not in (victim, 0, None), "a new worker", 20)
            assert resumes(place, context, session)


@contextlib.contextmanager
def renewed(authority: Authority, tmp_path: Path) -> Iterator[tuple[Balancer, Path, list[bytes], list[str]]]:
    """A balancer under load of short and of kept connections: where its certificate lies, which ones were seen, its log."""
    place = tmp_path / "site.pem"
    place.write_bytes(authority.issue("a.test").read_bytes())
    stop = threading.Event()
    faults: list[Exception] = []
    certificates: list[bytes] = []
    log: list[str] = []
    context = trusting(authority)

    def short(lb: Balancer) -> None:
        while not stop.is_set():
            with TlsClient(lb.address, context) as client:
                certificates.append(client.socket.getpeercert(binary_form=True) or b"")
                assert client.get().body == b"backend"

    def kept(lb: Balancer) -> None:
        with TlsClient(lb.address, context) as client:
            while not stop.is_set():
                assert client.get().body == b"backend"

    def guarded(load: Any, lb: Balancer) -> None:
        try:
            load(lb)
        except Exception as fault:
            faults.append(fault)

    with Backend() as backend:
        settings = settings_of(HTTPS, backend, listener={"certificates": shown(place)}, top={"workers": 2})
        lb = Balancer(settings=settings, log=log.append)
        with lb:
            threads = [threading.Thread(target=guarded, args=(load, lb)) for load in (short, short, kept)]
            for thread in threads:
                thread.start()
            try:
                wait_for(lambda: len(certificates) > 20, "load flows")
                yield lb, place, certificates, log
                seen = len(certificates)
                wait_for(lambda: faults or len(certificates) > seen + 20, "load flows on")
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert not faults
            wait_for(lambda: figure(lb, "active") == 0, "all are over")
            assert figure(lb, "refused") == 0


def comes_into_force(certificates: list[bytes], fresh: Path) -> None:
    """New connections are shown this one, soon and from then on."""
    wait_for(lambda: certificates[-1] == der_of(fresh), "new connections see it")
    seen = len(certificates)
    wait_for(lambda: len(certificates) > seen + 30, "load flows")
    assert set(certificates[seen + 5 :]) == {der_of(fresh)}


def test_certificate_renewed_by_reload(authority: Authority, tmp_path: Path) -> None:
    with renewed(authority, tmp_path) as (lb, place, certificates, _):
        for _ in range(4):
            fresh = authority.issue("a.test")
            place.write_bytes(fresh.read_bytes())
            lb.reload(lb.settings)
            comes_into_force(certificates, fresh)


def test_certificate_renewed_on_disk(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken is refused with one line, whatever the order in which files are written."""
    monkeypatch.setattr("lbcore.tls.publisher.LOOK_EVERY_S", 0.05)
    with renewed(authority, tmp_path) as (_, place, certificates, log):
        fresh = authority.issue("a.test")
        for text in (fresh.read_bytes()[:300], b"", Path(f"{fresh}.crt").read_bytes() + Path(f"{place}").read_bytes()[-200:]):
            before = len(log)
            place.write_bytes(text)
            wait_for(lambda before=before: len(log) > before, "it is told")
            assert str(place) in log[-1]
            assert log[-1].endswith("what was read before stays in force")
        assert der_of(fresh) not in certificates
        (tmp_path / "new.pem").write_bytes(fresh.read_bytes())
        (tmp_path / "new.pem").replace(place)
        comes_into_force(certificates, fresh)
        assert "are in force" in log[-1]


def test_broken_files_refuse_a_reload(authority: Authority, tmp_path: Path) -> None:
    with renewed(authority, tmp_path) as (lb, place, certificates, _):
        good = place.read_bytes()
        for text in (
            b"",
            good[:200],
            authority.issue("a.test").read_bytes()[:-100],
            good.replace(b"-----BEGIN P", b"-----BEGIN Q"),
        ):
            place.write_bytes(text)
            with pytest.raises(ConfigError, match=r"site\.pem"):
                lb.reload(lb.settings)
        place.unlink()
        with pytest.raises(ConfigError, match=r"site\.pem"):
            lb.reload(lb.settings)
        place.write_bytes(good)
        assert len(set(certificates)) == 1
        lb.reload(lb.settings)


def test_listeners_that_come_and_go(authority: Authority, site: Path) -> None:
    other = authority.issue("b.test")
    with Backend() as backend, https(site, backend) as lb:
        first = lb.settings.listeners[0]
        pools = list(lb.settings.pools)

        def now(*listeners: ListenerSettings) -> list[tuple[str, int]]:
            lb.reload(BalancerSettings(workers=1, drain_timeout="2s", listeners=list(listeners), pools=pools))
            return list(lb.addresses.values())

        with TlsClient(lb.address, trusting(authority)) as kept:
            assert kept.get().status == 200
            for turn in range(3):
                bind = ("https://127.0.0.2:0", "tls://127.0.0.2:0")[turn % 2]
                second = ListenerSettings(bind=bind, name=f"second-{turn}", certificates=shown(other))
                addresses = now(first, second)
                with TlsClient(addresses[1], trusting(authority), "b.test") as client:
                    assert client.get().status == 200
                    assert client.socket.getpeercert(binary_form=True) == der_of(other)
                with TlsClient(addresses[0], trusting(authority)) as client:
                    assert client.get().status == 200
                now(first)
                with pytest.raises(OSError, match=r"refused|reset|EOF"), TlsClient(addresses[1], trusting(authority), "b.test"):
                    pass
            assert kept.get().status == 200
        assert figure(lb, "tls_refused") == 0


def test_other_rules_by_reload(authority: Authority, site: Path, me: Path) -> None:
    """Connections that began under the old ones go on; their tickets are good no more."""
    context = trusting(authority)
    with Backend() as backend, https(site, backend) as lb:
        session = ticket_of(lb, context)
        with TlsClient(lb.address, context) as kept:
            assert kept.get().status == 200
            lb.reload(settings_of(HTTPS, backend, listener=asking(authority, "required") | {"certificates": shown(site)}))
            assert kept.get().status == 200
        with pytest.raises(ssl.SSLError), TlsClient(lb.address, context, "a.test", session) as client:
            client.socket.recv(1)
        with TlsClient(lb.address, trusting(authority, certificate=me)) as client:
            assert client.get().status == 200
        assert shown_to(backend.heads[-1]) == der_of(me)


def test_a_listener_that_begins_and_ceases_to_end_tls(authority: Authority, site: Path) -> None:
    """The same address leads to the backend's own TLS, and back."""
    other = authority.issue("a.test")
    with TlsPeer(serving(other), lambda connection: connection.sendall(b"theirs")) as peer:

        def settings(certificates: list[CertificateSettings], over: bool) -> BalancerSettings:
            return settings_of(TLS, peer, listener={"certificates": certificates}, tls=over, tls_verify=not over)

        with balanced(settings=settings([], False)) as lb:
            for turn in range(4):
                ends = turn % 2 == 1
                lb.reload(settings(shown(site) if ends else [], ends))
                with TlsClient(lb.address, trusting(authority)) as client:
                    assert client.socket.recv(6) == b"theirs"
                    assert client.socket.getpeercert(binary_form=True) == der_of(site if ends else other)
