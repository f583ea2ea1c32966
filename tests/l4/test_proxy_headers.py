"""The PROXY protocol, in and out: who the client is, told by those whose word is taken, and told to backends that ask."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import SLOWER, Peer, balanced, dial, free_port, read_all, read_exactly, settled, totals, wait_for
from hellos import client_hello
from http_peers import Client, Reader

from lbcore import ConfigError, _engine
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings

V2 = b"\r\n\r\n\0\r\nQUIT\n"
V1_HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
LOOPBACK = ["127.0.0.0/8"]


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return V2 + bytes([command, family]) + struct.pack("!H", len(body)) + body


V2_HEADER = v2(socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443))
V2_SIX = v2(
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 443),
    family=0x21,
)


def rules(mode: str, backends: list[str], listener: dict[str, object] | None = None, **pool: object) -> BalancerSettings:
    made = ListenerSettings(**({"bind": f"{mode}://127.0.0.1:0"} | (listener or {})))
    pools = [PoolSettings(backends=backends, probe=ProbeSettings(kind="off"), **pool)]
    return BalancerSettings(workers=1, drain_timeout="1s", listeners=[made], pools=pools)


ACCEPTING = {"accept_proxy": True, "trusted_proxies": LOOPBACK}


def head_of(connection: socket.socket) -> bytes:
    """A request's head."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += connection.recv(4096)
    return found


def tell_head(connection: socket.socket) -> None:
    """An HTTP server that answers with the head that it got."""
    head = head_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))


def tell_all(connection: socket.socket) -> None:
    """Sends back everything, once the client has finished."""
    connection.sendall(read_all(connection))


@pytest.mark.parametrize("header", [V1_HEADER, V2_HEADER], ids=["v1", "v2"])
def test_the_header_of_a_trusted_peer_is_taken_off_and_tells_who_the_client_is(header: bytes) -> None:
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING)) as lb:
        with dial(lb.address) as client:
            client.sendall(header + b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n")
            answer = client.recv(65536)
        assert b"X-Forwarded-For: 192.0.2.7\r\n" in answer
        assert b"PROXY" not in answer
        assert b"10.9.9.9" not in answer  # the client is no trusted proxy, whoever brought it here


def test_over_ipv6_in_the_header() -> None:
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING)) as lb:
        with dial(lb.address) as client:
            client.sendall(V2_SIX + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"X-Forwarded-For: 2001:db8::7\r\n" in client.recv(65536)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(b"", command=0x20, family=0)], ids=["v1", "v2"])
def test_a_proxys_own_connection_is_its_own(header: bytes) -> None:
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING)) as lb:
        with dial(lb.address) as client:
            client.sendall(header + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"X-Forwarded-For: 127.0.0.1\r\n" in client.recv(65536)


@pytest.mark.parametrize("header", [V1_HEADER, V2_HEADER, V2_SIX], ids=["v1", "v2", "v2 over IPv6"])
def test_a_header_in_any_two_pieces(header: bytes) -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING)) as lb:
        for cut in range(1, len(header) + 2):
            with dial(lb.address) as client:
                whole = header + b"data"
                client.sendall(whole[:cut])
                settled(lb)  # a preread peeks: that it has seen a piece shows by its turn only
                client.sendall(whole[cut:])
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"data"


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3.4\r\n", V2 + b"\x31\x11\0\0", b"\x16\x03\x01\x00\x01\x01"]
)
def test_a_trusted_peer_without_a_good_header_is_closed_and_counted(junk: bytes) -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING)) as lb:
        with dial(lb.address) as client, contextlib.suppress(ConnectionResetError):
            client.sendall(junk)
            assert client.recv(1) == b""
        assert totals(settled(lb))["refused_preread"] == 1
        assert peer.connections == 0


def test_a_stranger_cannot_say_who_it_is() -> None:
    """Its header is no header: the backend gets it as data."""
    listener = {"accept_proxy": True, "trusted_proxies": ["10.0.0.0/8"]}
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], listener)) as lb, dial(lb.address) as client:
        client.sendall(V1_HEADER)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == V1_HEADER


def test_a_trusted_peer_that_says_nothing_is_closed_in_time() -> None:
    with balanced(settings=rules("tcp", [], {**ACCEPTING, "header_timeout": "200ms"})) as lb, dial(lb.address) as client:
        assert client.recv(1) == b""
        assert totals(settled(lb))["refused_preread"] == 1


def test_maglev_goes_by_the_client_that_the_header_names() -> None:
    peers = [Peer(lambda connection, number=number: connection.sendall(b"%d" % number)) for number in range(4)]
    with balanced(settings=rules("tcp", [peer.address for peer in peers], ACCEPTING, policy="maglev")) as lb:
        seen = []
        for _ in range(2):
            answers = []
            for host in range(20):
                with dial(lb.address) as client:
                    client.sendall(b"PROXY TCP4 10.0.0.%d 10.0.0.99 5 6\r\n" % host)
                    answers.append(client.recv(1))
            seen.append(answers)
        assert seen[0] == seen[1]
        assert len(set(seen[0])) >= 3
    for peer in peers:
        peer.close()


# --- out -------------------------------------------------------------------------------------------------------------


def test_version_1_tells_the_backend_whose_connection_it_is() -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], send_proxy="v1")) as lb:
        with dial(lb.address) as client:
            own = client.getsockname()
            client.sendall(b"data")
            client.shutdown(socket.SHUT_WR)
            expected = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own[1]} {lb.address[1]}\r\ndata"
            assert read_all(client) == expected.encode()


def test_version_2_tells_the_backend_whose_connection_it_is() -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], send_proxy="v2")) as lb:
        with dial(lb.address) as client:
            own = client.getsockname()
            client.shutdown(socket.SHUT_WR)
            found = read_all(client)
            addresses = 2 * socket.inet_aton("127.0.0.1") + struct.pack("!HH", own[1], lb.address[1])
            assert found[:14] == V2 + b"\x21\x11"
            assert found[16:28] == addresses


def test_what_came_in_is_what_goes_out() -> None:
    """The client behind the proxy before us, not that proxy."""
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING, send_proxy="v1")) as lb:
        with dial(lb.address) as client:
            client.sendall(V2_HEADER + b"data")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == V1_HEADER + b"data"


def test_version_2_tells_the_server_name_of_a_tls_client() -> None:
    with Peer(lambda connection: connection.sendall(connection.recv(65536))) as peer:
        with balanced(settings=rules("tls", [peer.address], send_proxy="v2")) as lb, dial(lb.address) as client:
            client.sendall(client_hello("name.test"))
            found = client.recv(65536)
            assert found.startswith(V2)
            assert b"\x02\x00\x09name.test" in found  # PP2_TYPE_AUTHORITY


def test_every_attempt_begins_with_the_header(tmp_path: Path) -> None:
    """Also that at the second backend, when the first refuses."""
    with Peer(tell_all) as peer:
        dead = f"127.0.0.1:{free_port()}"
        with balanced(
            settings=rules("tcp", [dead, peer.address], send_proxy="v1", policy="round_robin", max_connect_failures=0)
        ) as lb:
            for _ in range(4):
                with dial(lb.address) as client:
                    client.shutdown(socket.SHUT_WR)
                    assert read_all(client).startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")


@pytest.mark.parametrize(
    ("listener", "pool", "words"),
    [
        ({"bind": "tcp://127.0.0.1:0", "accept_proxy": True}, {}, "accept_proxy: requires trusted_proxies"),
        (
            {"bind": "udp://127.0.0.1:0", **ACCEPTING},
            {},
            "accept_proxy: only for mode tcp or tls or http or https, this is udp",
        ),
        ({"bind": "udp://127.0.0.1:0"}, {"send_proxy": "v1"}, "send_proxy: not for listeners of mode udp"),
        ({"bind": "tcp://127.0.0.1:0"}, {"send_proxy": "v3"}, "send_proxy: 'v3' is not allowed"),
    ],
)
def test_wrong_settings_are_named(listener: dict[str, object], pool: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BalancerSettings(listeners=[ListenerSettings(**listener)], pools=[PoolSettings(**pool)])


def test_a_route_from_tls_does_not_concern_a_udp_listener_beside_it() -> None:
    BalancerSettings(
        listeners=[ListenerSettings(bind="tls://127.0.0.1:0"), ListenerSettings(bind="udp://127.0.0.1:0", pool="default")],
        pools=[PoolSettings(), PoolSettings(name="told", send_proxy="v2")],
        routes=[RouteSettings(host="a.test", pool="told")],
    )


# --- what a header says beside the addresses -------------------------------------------------------------------------


def saying(**extra: object) -> bytes:
    """A header of version 2 that says more."""
    return _engine.write_proxy(2, ("192.0.2.7", 4711), ("198.51.100.1", 443), **extra)


def told(data: bytes) -> tuple[object, ...]:
    """What the header that this begins with says: of the authority, ALPN and TLS."""
    found = _engine.read_proxy(data)
    assert found is not None
    assert found["source"] == ("192.0.2.7", 4711)
    return found["authority"], found["alpn"], found["tls"]


def tell_header(connection: socket.socket) -> None:
    """An HTTP server that answers with the header of version 2 that it got."""
    reader = Reader(connection)
    header = reader.exactly(16)
    header += reader.exactly(struct.unpack("!H", header[14:])[0])
    while reader.head():
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(header), header))


EXTRAS = [
    {"authority": b"a.test", "alpn": b"h2", "tls": True},
    {"authority": b"a.test"},
    {"alpn": b"http/1.1"},
    {"tls": True},
    {},
]


def expected(extra: dict[str, object]) -> tuple[object, ...]:
    return extra.get("authority"), extra.get("alpn"), extra.get("tls", False)


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_what_came_beside_the_addresses_goes_out(extra: dict[str, object]) -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING, send_proxy="v2")) as lb:
        with dial(lb.address) as client:
            client.sendall(saying(**extra) + b"data")
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
        assert told(answer) == expected(extra)
        assert answer.endswith(b"data")


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_what_came_beside_the_addresses_goes_out_with_requests(extra: dict[str, object]) -> None:
    with Peer(tell_header) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING, send_proxy="v2")) as lb:
        with Client(lb.address) as client:
            client.send(saying(**extra))
            for _ in range(2):
                assert told(client.get().body) == expected(extra)


@pytest.mark.parametrize(
    ("name", "protocols", "expected"),
    [
        ("hello.test", ["h2"], (b"hello.test", b"h2", True)),
        ("hello.test", [], (b"hello.test", b"old", True)),
        (None, ["h2", "http/1.1"], (b"header.test", None, True)),  # which of them is not known yet
    ],
)
def test_hello_counts_before_the_header(name: str | None, protocols: list[str], expected: tuple[object, ...]) -> None:
    with Peer(lambda connection: connection.sendall(connection.recv(65536))) as peer:
        with balanced(settings=rules("tls", [peer.address], ACCEPTING, send_proxy="v2")) as lb, dial(lb.address) as client:
            client.sendall(saying(authority=b"header.test", alpn=b"old", tls=True) + client_hello(name, protocols))
            assert told(client.recv(65536)) == expected


def test_certificate_that_was_verified_elsewhere_is_not_vouched_for() -> None:
    """Of the client's certificate nothing is kept: what goes out must not say that one was verified."""
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING, send_proxy="v2")) as lb:
        with dial(lb.address) as client:
            client.sendall(saying(tls=True, tls_version=b"TLSv1.3", common_name=b"cn"))
            client.shutdown(socket.SHUT_WR)
            assert read_all(client)[28:] == b"\x20\0\5\x01\0\0\0\x01"  # PP2_TYPE_SSL: PP2_CLIENT_SSL, verify not 0


def test_names_longer_than_any_are_not_passed_on() -> None:
    with Peer(tell_all) as peer, balanced(settings=rules("tcp", [peer.address], ACCEPTING, send_proxy="v2")) as lb:
        for extra, rest in [
            ({"authority": b"a" * 256, "alpn": b"h2"}, (None, b"h2", False)),
            ({"authority": b"a" * 255, "alpn": b"h2"}, (b"a" * 255, None, False)),
            ({"authority": b"a" * 254, "alpn": b"h2"}, (b"a" * 254, b"h2", False)),
            ({"authority": b"a.test", "alpn": b"b" * 256}, (b"a.test", None, False)),
            ({"authority": b"a" * 3000, "alpn": b"b" * 900, "tls": True}, (None, None, True)),
        ]:
            with dial(lb.address) as client:
                client.sendall(saying(**extra))
                client.shutdown(socket.SHUT_WR)
                assert told(read_all(client)) == rest


@pytest.mark.parametrize(("tls", "scheme"), [(True, b"https"), (False, b"http")])
def test_backends_are_told_that_the_client_spoke_tls(tls: bool, scheme: bytes) -> None:
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING)) as lb, dial(lb.address) as client:
        client.sendall(saying(authority=b"a", tls=tls) + b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: ftp\r\n\r\n")
        answer = client.recv(65536)
        assert b"X-Forwarded-Proto: " + scheme + b"\r\n" in answer
        assert b";proto=" + scheme + b"\r\n" in answer
        assert b"ftp" not in answer


def test_client_that_is_no_proxy_says_nothing_of_tls() -> None:
    """Its header is data, and no request."""
    listener = {"accept_proxy": True, "trusted_proxies": ["10.0.0.0/8"]}
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], listener)) as lb, dial(lb.address) as client:
        client.sendall(saying(tls=True) + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("mode", ["tcp", "http", "tls"])
def test_places_of_headers_are_given_back_however_a_connection_ends(mode: str) -> None:
    """There are as many as connections: one that is lost would be missed soon."""
    listener = {**ACCEPTING, "header_timeout": "300ms"}
    words = {"tcp": b"data", "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "tls": client_hello("a.test")}[mode]
    dead = f"127.0.0.1:{free_port()}"
    with Peer(lambda connection: connection.sendall(connection.recv(4096))) as peer:
        for backends in ([peer.address], [dead], []):
            settings = rules(mode, backends, listener, send_proxy="v2", max_connect_failures=0)
            settings.max_sessions = 8
            with balanced(settings=settings) as lb:
                for rest in (words, b"", b"\xff\xff\r\n\r\n", words[:7]):
                    for _ in range(12):
                        with dial(lb.address) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                            client.sendall(saying(authority=b"a.test", tls=True) + rest)
                            if rest == words:
                                client.recv(4096)
                            if rest:
                                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wait_for(lambda lb=lb: totals(settled(lb))["active"] == 0, "all end")
                assert totals(settled(lb))["refused_resource"] == 0


def test_places_of_headers_are_given_back_where_no_route_leads_on() -> None:
    settings = rules("tls", [], ACCEPTING)
    settings = settings.replace(max_sessions=8, listeners=[settings.listeners[0].replace(pool=None)])
    settings = settings.replace(routes=[RouteSettings(host="b.test", pool="default")])
    with balanced(settings=settings) as lb:
        for _ in range(12):
            with dial(lb.address) as client, contextlib.suppress(ConnectionResetError):
                client.sendall(saying(tls=True) + client_hello("a.test"))
                assert client.recv(1) == b""
        figures = totals(settled(lb))
        assert (figures["refused_no_backend"], figures["refused_resource"]) == (12, 0)


# --- real peers ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def haproxy(directory: Path, front: str, back: str) -> Iterator[int]:
    """HAProxy between: what its bind line and its server line end with. Its port."""
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"listen it\n bind 127.0.0.1:{port} {front}\n server one {back}\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    log = directory / "haproxy.log"
    with log.open("w") as words:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=words, env=env)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port), "haproxy listens")
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin") is None, reason="haproxy is not installed"
)


@needs_haproxy
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy(tmp_path: Path, version: str) -> None:
    with Peer(tell_head) as peer, balanced(settings=rules("http", [peer.address], ACCEPTING)) as lb:
        with haproxy(tmp_path, "", f"127.0.0.1:{lb.address[1]} {version}") as port:
            with socket.socket() as client:
                client.settimeout(5 * SLOWER)
                client.bind(("127.0.0.77", 0))
                client.connect(("127.0.0.1", port))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert b"X-Forwarded-For: 127.0.0.77\r\n" in client.recv(65536)


@needs_haproxy
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_before_haproxy(tmp_path: Path, version: str) -> None:
    """It takes our header off, and sends on the client's address in one of its own."""
    with Peer(lambda connection: connection.sendall(connection.recv(4096))) as peer:
        with haproxy(tmp_path, "accept-proxy", f"{peer.address} send-proxy") as port:
            with balanced(settings=rules("tcp", [f"127.0.0.1:{port}"], send_proxy=version)) as lb, socket.socket() as client:
                client.settimeout(5 * SLOWER)
                client.bind(("127.0.0.78", 0))
                client.connect(lb.address)
                client.sendall(b"data")
                assert read_exactly(client, 22) == b"PROXY TCP4 127.0.0.78 "
