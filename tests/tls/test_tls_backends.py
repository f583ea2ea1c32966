"""TLS towards backends: whom the balancer believes, and what backends of every kind do to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Peer, balanced, dial, echo, free_port, read_all, read_exactly, reset, settled, totals, wait_for
from http_balancers import OK, figure
from http_peers import Backend, Client, answering, field
from real_peers import needs, running
from tls_peers import (
    PLAIN,
    Authority,
    ByHand,
    TlsBackend,
    TlsClient,
    TlsPeer,
    balancing,
    der_of,
    serving,
    settings_of,
    shown,
    trusting,
)
from wsgi_servers import APP

from lbcore.config.settings import ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TCP, HTTP, HTTPS = "tcp://127.0.0.1:0", "http://127.0.0.1:0", "https://127.0.0.1:0"


@pytest.fixture(scope="module")
def here(authority: Authority) -> Path:
    """A certificate for where the tests' backends live."""
    return authority.issue("here", "IP:127.0.0.1", "DNS:localhost")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, signed by somebody else."""
    return Authority(tmp_path_factory.mktemp("strange")).issue("here", "IP:127.0.0.1", "DNS:localhost")


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


# --- whom we believe -------------------------------------------------------------------------------------------------


def test_http_to_a_backend_that_is_who_it_says(authority: Authority, here: Path) -> None:
    for version in (V12, V13):
        with TlsBackend(serving(here, version=version)) as backend, over_tls(HTTP, authority, backend) as lb:
            with Client(lb.address) as client:
                for _ in range(20):
                    assert client.get().body == b"backend"
            assert backend.tls.asked == [None], "an address is no server name"
            assert (figure(lb, "backend_handshakes"), figure(lb, "backend_handshakes_failed")) == (1, 0)
            assert figure(lb, "connections_reused") == 19


def test_the_name_of_the_address_is_asked_for_and_looked_for(authority: Authority, here: Path) -> None:
    with TlsBackend(serving(here)) as backend:
        with over_tls(HTTP, authority, f"localhost:{backend.port}") as lb, Client(lb.address) as client:
            assert client.get().status == 200
        assert backend.tls.asked == ["localhost"]


def test_tls_name(authority: Authority) -> None:
    app = authority.issue("app.internal")
    with TlsBackend(serving(app)) as backend:
        with over_tls(HTTP, authority, backend, tls_name="app.internal") as lb, Client(lb.address) as client:
            assert client.get().status == 200
        assert backend.tls.asked == ["app.internal"]
    with TlsBackend(serving(authority.issue("*.app.internal"))) as backend:
        with over_tls(HTTP, authority, backend, tls_name="x.app.internal") as lb, Client(lb.address) as client:
            assert client.get().status == 200
    with TlsBackend(serving(authority.issue("x", "IP:192.0.2.1"))) as backend:
        with over_tls(HTTP, authority, backend, tls_name="192.0.2.1") as lb, Client(lb.address) as client:
            assert client.get().status == 200
        assert backend.tls.asked == [None]


def unbelievable(authority: Authority, strange: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    return {
        "another authority": (strange, {}),
        "another address": (authority.issue("x", "IP:127.0.0.9"), {}),
        "a name where an address is meant": (authority.issue("127.0.0.1", "DNS:127.0.0.1"), {}),
        "another name": (authority.issue("here", "IP:127.0.0.1"), {"tls_name": "app.internal"}),
        "part of a label": (authority.issue("x", "DNS:ap*.internal"), {"tls_name": "app.internal"}),
        "more than a label": (authority.issue("*.app.internal"), {"tls_name": "y.x.app.internal"}),
    }


@pytest.mark.parametrize("version", [V12, V13])
def test_certificates_that_are_not_believed(authority: Authority, strange: Path, version: ssl.TLSVersion) -> None:
    """Nothing of the request is sent, and the status says why."""
    for what, (certificate, pool) in unbelievable(authority, strange).items():
        with TlsBackend(serving(certificate, version=version)) as backend:
            with over_tls(HTTP, authority, backend, **pool) as lb:
                with Client(lb.address) as client:
                    for _ in range(3):
                        assert client.get().status == 502, what
                assert not backend.heads
                assert figure(lb, "backend_handshakes_failed") == 3
                assert figure(lb, "backend_handshakes") == 0
                wait_for(lambda lb=lb: "its certificate is not accepted" in states(lb)[0][1], "the reason")
            with over_tls(TCP, authority, backend, **pool) as lb:
                assert is_reset(lb), what
                assert (figure(lb, "refused_connect"), figure(lb, "backend_handshakes_failed")) == (1, 1)


def test_tls_verify_false_believes_anybody(authority: Authority, strange: Path) -> None:
    for certificate, pool in unbelievable(authority, strange).values():
        with TlsBackend(serving(certificate)) as backend:
            with over_tls(HTTP, None, backend, tls_verify=False, **pool) as lb, Client(lb.address) as client:
                assert client.get().status == 200


def test_the_systems_authorities_are_the_default(here: Path) -> None:
    with TlsBackend(serving(here)) as backend, over_tls(HTTP, None, backend) as lb, Client(lb.address) as client:
        assert client.get().status == 502


@pytest.mark.parametrize("version", [V12, V13])
def test_our_own_certificate(authority: Authority, here: Path, version: ssl.TLSVersion) -> None:
    ours = authority.issue("lbcore")
    with TlsBackend(serving(here, version=version, clients=authority)) as backend:
        with over_tls(HTTP, authority, backend, tls_cert=str(ours)) as lb, Client(lb.address) as client:
            assert client.get().status == 200
            assert backend.tls.shown == [der_of(ours)]
        with (
            over_tls(HTTP, authority, backend, tls_cert=f"{ours}.crt", tls_key=f"{ours}.key") as lb,
            Client(lb.address) as client,
        ):
            assert client.get().status == 200
        with over_tls(HTTP, authority, backend) as lb, Client(lb.address) as client:
            assert client.get().status == 502
            assert len(backend.heads) == 2


@pytest.mark.filterwarnings("ignore:.*TLSVersion:DeprecationWarning")
def test_older_versions_are_not_spoken(authority: Authority, here: Path) -> None:
    old = serving(here, version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with TlsBackend(old) as backend, over_tls(HTTP, authority, backend) as lb, Client(lb.address) as client:
        assert client.get().status == 502
        assert figure(lb, "backend_handshakes_failed") == 1


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("bind", [HTTP, TCP])
def test_sessions_with_backends_are_resumed(authority: Authority, here: Path, version: ssl.TLSVersion, bind: str) -> None:
    once = answering(OK, end=True)
    with TlsBackend(serving(here, version=version), once) as backend, over_tls(bind, authority, backend) as lb:
        for _ in range(5):
            with Client(lb.address) as client:
                assert client.get().body == b"ok"
        assert backend.tls.resumed == [False, True, True, True, True]
        assert (figure(lb, "backend_handshakes"), figure(lb, "backend_handshakes_resumed")) == (5, 4)


def test_other_trust_ends_resumption_and_what_was_kept(authority: Authority, here: Path, strange: Path) -> None:
    """A session or a connection with a backend that was believed once says nothing of who it is under new rules."""
    with TlsBackend(serving(here), answering(OK, end=True)) as backend, over_tls(HTTP, authority, backend) as lb:
        with Client(lb.address) as client:
            assert client.get().status == 200
        lb.reload(settings_of(HTTP, backend, tls=True, tls_ca=f"{strange.parent}/authority.crt"))
        with Client(lb.address) as client:
            assert client.get().status == 502
        lb.reload(settings_of(HTTP, backend, tls=True, tls_ca=str(authority.cert)))
        with Client(lb.address) as client:
            assert client.get().status == 200
        assert backend.tls.resumed == [False, False]


def test_a_backend_that_comes_back_as_another(authority: Authority, here: Path) -> None:
    """It knows nothing of its predecessor's tickets."""
    once = answering(OK, end=True)
    with TlsBackend(serving(here), once) as first, over_tls(HTTP, authority, first) as lb:
        with Client(lb.address) as client:
            assert client.get().status == 200
            first.close()
            with TlsBackend(serving(here), once, port=first.port) as second, Client(lb.address) as client:
                assert client.get().status == 200
                assert second.tls.resumed == [False]
                with Client(lb.address) as client:
                    assert client.get().status == 200
                assert second.tls.resumed == [False, True]


@pytest.mark.parametrize("version", [V12, V13])
def test_kept_connections_are_reused(authority: Authority, here: Path, version: ssl.TLSVersion) -> None:
    with TlsBackend(serving(here, version=version)) as backend, over_tls(HTTP, authority, backend) as lb:
        for at in range(10):
            with Client(lb.address) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d" % at)
                assert client.answer().status == 200
        assert backend.bodies == [b"%02d" % at for at in range(10)]
        assert (backend.connections, figure(lb, "connections_stale")) == (1, 0)


@contextlib.contextmanager
def s_server(certificate: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`openssl s_server`: its lines go to the client, but for some that are orders."""
    port = free_port()
    line = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(certificate), "-key", str(certificate), *words]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=PLAIN) as server:
        assert server.stdout
        seen = b""
        try:
            while b"ACCEPT\n" not in seen:
                seen += server.stdout.readline()
            yield f"127.0.0.1:{port}", server
        finally:
            server.kill()


def tell(server: subprocess.Popen[bytes], line: bytes) -> None:
    assert server.stdin
    server.stdin.write(line)
    server.stdin.flush()


def read_until(server: subprocess.Popen[bytes], what: bytes) -> None:
    assert server.stdout
    while what not in server.stdout.readline():
        pass


@pytest.mark.parametrize("order", [b"k\n", b"K\n"])
def test_words_of_tls_on_a_connection_that_rests(authority: Authority, here: Path, order: bytes) -> None:
    """New keys, and such that want an answer: neither ends it, nor spoils the next request."""
    with s_server(here) as (address, server), over_tls(HTTP, authority, address) as lb, Client(lb.address) as client:
        for at in range(4):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody\n")
            read_until(server, b"body")
            tell(server, OK)
            assert client.answer().body == b"ok"
            wait_for(lambda at=at: figure(lb, "requests_done") == at + 1, "it rests")
            tell(server, order)
        assert (figure(lb, "connects"), figure(lb, "connections_reused"), figure(lb, "connections_stale")) == (1, 3, 0)


@pytest.mark.parametrize("rude", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_kept_connection_that_the_backend_ends(authority: Authority, here: Path, rude: bool, method: bytes) -> None:
    """With close_notify and without: the next request goes by another, and nobody has failed."""
    ends: list[threading.Event] = []  # one an exchange: an event that is cleared again may never be seen set

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        end = threading.Event()
        ends.append(end)
        connection.sendall(OK)
        return end.wait(10)

    with TlsBackend(serving(here), script, rude=rude) as backend, over_tls(HTTP, authority, backend) as lb:
        for _ in range(3):
            with Client(lb.address) as client:
                client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                assert client.answer().body == b"ok"
                ends[-1].set()
                if method == b"POST":  # else it may also be sent again
                    wait_for(lambda: len(backend.open) == 0, "it is closed")
        assert backend.connections == 3
        assert lb.status()["pools"][0]["backends"][0]["failures"] == 0


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


# --- backends that cannot be reached over TLS ------------------------------------------------------------------------


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


# --- probes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{"kind": "tcp"}, {"kind": "http", "path": "/health"}])
def test_probes_go_over_tls_as_the_pool_says(authority: Authority, here: Path, strange: Path, kind: dict[str, str]) -> None:
    ours = authority.issue("lbcore")
    probe = ProbeSettings(interval="100ms", timeout="2s", rise=1, fall=1, **kind)
    app = authority.issue("app.internal")
    pool = {"tls_name": "app.internal", "tls_cert": str(ours), "probe": probe}
    with (
        TlsBackend(serving(app, clients=authority)) as good,
        TlsBackend(serving(strange, clients=authority)) as bad,
        over_tls(HTTP, authority, good, bad, **pool) as lb,
    ):
        wait_for(lambda: [state for state, _ in states(lb)] == ["up", "down"], f"probes tell: {states(lb)}")
        assert "certificate" in states(lb)[1][1]
        wait_for(lambda: good.tls.shown, "it is probed")
        assert good.tls.shown[0] == der_of(ours)
        assert good.tls.asked[0] == "app.internal"
        with Client(lb.address) as client:
            assert client.get().status == 200


def test_probes_in_the_clear_beside_tls(authority: Authority, here: Path) -> None:
    with TlsBackend(serving(here)) as backend, Backend() as aside:
        probe = ProbeSettings(kind="http", path="/health", interval="100ms", port=aside.port, tls=False)
        with over_tls(HTTP, authority, backend, probe=probe) as lb, Client(lb.address) as client:
            wait_for(lambda: aside.heads, "it is probed")
            assert client.get().status == 200
            assert states(lb)[0][0] == "up"


# --- real programs ---------------------------------------------------------------------------------------------------


@needs("nginx")
@needs("curl")
def test_curl_before_nginx_with_tls_everywhere(authority: Authority, site: Path, here: Path, tmp_path: Path) -> None:
    """nginx asks for our certificate."""
    port, ours = free_port(), authority.issue("lbcore")
    (tmp_path / "big").write_bytes(os.urandom(10_000_000))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
        "events { worker_connections 2000; }\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {here}; ssl_certificate_key {here};"
        f" ssl_client_certificate {authority.cert}; ssl_verify_client on; ssl_session_cache shared:a:1m;"
        f" location = /who {{ return 200 '$ssl_client_s_dn $ssl_session_reused'; }} location / {{ root {tmp_path}; }} }} }}\n"
    )
    own = {"tls_cert": str(ours)}
    with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port, tmp_path):
        address = f"127.0.0.1:{port}"
        with over_tls(HTTPS, authority, address, listener={"certificates": shown(site)}, **own) as lb:
            url = f"https://a.test:{lb.address[1]}"
            curl = ["curl", "-sS", "--cacert", str(authority.cert), "--resolve", f"a.test:{lb.address[1]}:127.0.0.1"]
            done = subprocess.run([*curl, f"{url}/big", f"{url}/big"], capture_output=True, env=PLAIN, timeout=60)
            assert done.returncode == 0, done.stderr
            assert done.stdout == (tmp_path / "big").read_bytes() * 2
            done = subprocess.run([*curl, f"{url}/who"], capture_output=True, env=PLAIN, timeout=60)
            assert done.stdout == b"CN=lbcore ."
            assert figure(lb, "connects") == 1


def test_uvicorn_with_tls(authority: Authority, here: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    line = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "critical"]
    line += ["--ssl-certfile", str(here), "--ssl-keyfile", str(here)]
    content = os.urandom(1_000_000)
    with running(line, port, tmp_path), over_tls(HTTP, authority, f"127.0.0.1:{port}") as lb, Client(lb.address) as client:
        for _ in range(5):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            assert hashlib.sha256(content).hexdigest().encode() in client.answer().body
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer().body.count(b"token") == 5
        assert totals(settled(lb))["connects"] == 1
