"""Probes begin their connections as the traffic does: PROXY header, TLS, scope of a link-local address. nginx and HAProxy."""

from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING, Any

import far_servers
import pytest
from certificates import make_certificate
from harness import Peer, balanced, dial, read_exactly, wait_for
from http_peers import Backend, Client
from probe_verdicts import verdicts

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from far_servers import Far

HEADERS = {"v1": b"PROXY UNKNOWN\r\n", "v2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"}
PLAIN, TOLD, TOLD_TLS, BEHIND = 8080, 8081, 8082, 8083


def seen_by(pool: dict[str, Any], **probe: Any) -> ProbeSettings:
    """The probe of a pool with these settings."""
    return PoolSettings(**pool, probe=ProbeSettings(**{"timeout": "5s"} | probe)).probe


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    with far_servers.namespace() as far:
        yield far


@pytest.fixture(scope="module")
def nginx(far: Far, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """On all addresses there: PLAIN without a PROXY header, TOLD and TOLD_TLS with one, and HAProxy on BEHIND, to PLAIN."""
    nginx, haproxy = far_servers.need("nginx", "haproxy")
    directory = tmp_path_factory.mktemp("nginx")
    directory.chmod(0o755)
    cert, key = make_certificate(directory, "app")
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; server {{\n"
        f"listen [::]:{PLAIN} ipv6only=off; listen [::]:{TOLD} ipv6only=off proxy_protocol;\n"
        f"listen [::]:{TOLD_TLS} ipv6only=off ssl proxy_protocol; ssl_certificate {cert}; ssl_certificate_key {key};\n"
        'location / { return 200 "told $proxy_protocol_addr"; } } }'
    )
    (directory / "haproxy.cfg").write_text(
        "global\n maxconn 100\ndefaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"listen it\n mode tcp\n bind :::{BEHIND} v4v6 accept-proxy\n server one 127.0.0.1:{PLAIN}\n"
    )
    line = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]
    behind = directory / "behind"
    behind.mkdir()
    with far_servers.serving(far, directory, PLAIN, line):
        with far_servers.serving(far, behind, BEHIND, [haproxy, "-db", "-f", str(directory / "haproxy.cfg")]):
            yield far


def said(address: str, probe: ProbeSettings) -> str:
    """The verdict of one probe with these settings."""
    (verdict,) = verdicts(address, settings=probe)
    return verdict


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("port", [TOLD, BEHIND])
def test_http_probe_where_a_proxy_header_must_come(nginx: Far, version: str, port: int) -> None:
    address = f"{nginx.ip}:{port}"
    assert said(address, seen_by({"send_proxy": version}, kind="http", path="/", body="told")) == ""
    assert said(address, seen_by({"send_proxy": version}, kind="http", method="OPTIONS", path="/")) == ""
    assert said(address, seen_by({}, kind="http", path="/")) != ""


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_proxy_header_before_tls(nginx: Far, version: str, kind: str) -> None:
    pool = {"send_proxy": version, "tls": True, "tls_verify": False}
    path = {"path": "/"} if kind == "http" else {}
    assert said(f"{nginx.ip}:{TOLD_TLS}", seen_by(pool, kind=kind, **path)) == ""
    assert said(f"{nginx.ip}:{TOLD_TLS}", seen_by(pool | {"send_proxy": "off"}, kind=kind, **path)) != ""


def test_tcp_probe_that_speaks_behind_a_proxy_header(nginx: Far) -> None:
    words = {"kind": "tcp", "send": "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "expect": "200 OK"}
    for port in (TOLD, BEHIND):
        assert said(f"{nginx.ip}:{port}", seen_by({"send_proxy": "v2"}, **words)) == ""


def test_quiet_tcp_probe_needs_no_header(nginx: Far) -> None:
    assert said(f"{nginx.ip}:{TOLD}", seen_by({"send_proxy": "v2"}, kind="tcp")) == ""


@pytest.fixture(scope="module")
def grpc_port(far: Far) -> Iterator[int]:
    """A server with the health service, on our end of the pair."""
    grpc = pytest.importorskip("grpc")
    health = pytest.importorskip("grpc_health.v1.health")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port(f"{far.own_ip}:0")
    server.start()
    yield port
    server.stop(None)


def test_grpc_probe_behind_haproxy(far: Far, grpc_port: int, tmp_path: Path) -> None:
    (haproxy,) = far_servers.need("haproxy")
    (tmp_path / "haproxy.cfg").write_text(
        "global\n maxconn 100\ndefaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"listen it\n mode tcp\n bind :8090 accept-proxy\n server one {far.own_ip}:{grpc_port}\n"
    )
    with far_servers.serving(far, tmp_path, 8090, [haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")]):
        assert said(f"{far.ip}:8090", seen_by({"send_proxy": "v1"}, kind="grpc")) == ""
        assert said(f"{far.ip}:8090", seen_by({}, kind="grpc")) != ""


@pytest.mark.parametrize(
    "probe",
    [
        {"kind": "tcp"},
        {"kind": "http", "path": "/", "body": "told"},
        {"kind": "tcp", "send": "GET / HTTP/1.0\r\n\r\n", "expect": "200 OK"},
    ],
    ids=["tcp", "http", "send"],
)
def test_link_local_address_with_its_scope(nginx: Far, probe: dict[str, Any]) -> None:
    assert verdicts(f"[{nginx.link_local()}]:{PLAIN}", **probe) == {"": 1}
    assert verdicts(f"[{nginx.ip6}]:{PLAIN}", **probe) == {"": 1}


def test_a_balancer_that_sends_proxy_headers_has_healthy_backends(nginx: Far) -> None:
    rules = {"kind": "http", "path": "/", "interval": "50ms", "rise": 1, "fall": 1}
    backends = [f"{nginx.ip}:{TOLD}", f"[{nginx.ip6}]:{TOLD}", f"[{nginx.link_local()}]:{TOLD}"]
    pool = PoolSettings(policy="round_robin", backends=backends, send_proxy="v2", probe=ProbeSettings(**rules))
    settings = BalancerSettings(workers=1, listeners=[ListenerSettings(bind="http://127.0.0.1:0")], pools=[pool])
    with balanced(settings=settings) as lb:
        wait_for(lambda: all(one.reason == "probes succeed" for one in lb.pool().backends()), "probes go well")
        for _ in range(6):
            with Client(lb.address) as client:
                assert client.get().body == b"told 127.0.0.1"
        counts = lb.status()["pools"][0]["backends"]
        assert all(one["sessions"] for one in counts), counts


# --- what is sent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "probe", "header"),
    [
        ({"send_proxy": "v1"}, {}, HEADERS["v1"]),
        ({"send_proxy": "v2"}, {}, HEADERS["v2"]),
        ({"send_proxy": "v2"}, {"send_proxy": "v1"}, HEADERS["v1"]),
        ({"send_proxy": "v2"}, {"send_proxy": "off"}, b""),
        ({}, {"send_proxy": "v2"}, HEADERS["v2"]),
        ({}, {}, b""),
    ],
)
def test_the_probes_own_word_on_headers(pool: dict[str, Any], probe: dict[str, Any], header: bytes) -> None:
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        heard.append(read_exactly(connection, len(header) + 6))
        connection.sendall(b"+PONG\r\n")

    with Peer(serve) as peer:
        assert said(peer.address, seen_by(pool, kind="tcp", send="PING\r\n", expect="+PONG", **probe)) == ""
    assert heard == [header + b"PING\r\n"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_on_this_host_does_not_notice_tcp_probes(host: str) -> None:
    with Peer(lambda connection: None, host=host) as peer:
        assert verdicts(peer.address, 50, kind="tcp") == {"": 50}
        with dial((peer.host, peer.port)):
            wait_for(lambda: peer.connections, "a client is noticed")
        assert peer.connections < 25  # one, but for a busy machine that holds this process up between connect and reset


def test_a_port_of_the_probes_own_speaks_no_proxy_protocol() -> None:
    with Backend() as health:
        assert said("127.0.0.1:9", seen_by({"send_proxy": "v2"}, kind="http", port=health.port)) == ""
        assert health.heads[0].startswith(b"GET /health HTTP/1.1\r\n")
    with Backend() as health:
        probe = seen_by({"send_proxy": "v2"}, kind="http", port=health.port, send_proxy="v1")
        assert said("127.0.0.1:9", probe) == ""
        assert health.heads[0].startswith(b"PROXY UNKNOWN\r\nGET /health HTTP/1.1\r\n")


def test_method_and_headers_of_http_probes_are_free() -> None:
    headers = {"X-Tenant": "acme", "host": "app.example", "User-Agent": "mine", "X-Empty": ""}
    with Backend() as backend:
        assert verdicts(backend.address, kind="http", method="OPTIONS", path="*", headers=headers) == {"": 1}
        lines = backend.heads[0].split(b"\r\n")
        assert lines[:2] == [b"OPTIONS * HTTP/1.1", b"host: app.example"]
        assert {b"X-Tenant: acme", b"User-Agent: mine", b"X-Empty: ", b"Connection: close"} <= set(lines)
        assert sum(line.lower().startswith((b"host:", b"user-agent:")) for line in lines) == 2
        assert verdicts(backend.address, kind="http", method="PROPFIND") == {"": 1}


@pytest.mark.parametrize(
    ("probe", "fault"),
    [
        ({"kind": "http", "method": "G ET"}, "method: 'G ET' is not allowed"),
        ({"kind": "http", "method": "CONNECT"}, "method: 'CONNECT' is not allowed"),
        ({"kind": "http", "path": "*"}, "path: '*' is not allowed"),
        ({"kind": "http", "headers": {"A b": "c"}}, "headers: "),
        ({"kind": "http", "headers": {"A": "b\r\nC: d"}}, "headers: "),
        ({"kind": "http", "headers": {"Transfer-Encoding": "chunked"}}, "headers: Transfer-Encoding is not allowed"),
        ({"kind": "http", "headers": ["A"]}, "headers: "),
        ({"kind": "tcp", "headers": {"A": "b"}}, "headers: only for kind http, this is tcp"),
        ({"kind": "http", "send": "x"}, "send: only for kind udp or tcp, this is http"),
        ({"kind": "tcp", "user": "x"}, "user: only for kind mysql or postgres"),
        ({"kind": "mqtt", "password": "x"}, "password: requires user"),
        ({"kind": "redis", "password_file": "/no/such"}, "password_file: '/no/such' cannot be read"),
        ({"kind": "tcp", "send": "hex:0"}, "send: 'hex:0' is not allowed"),
        ({"kind": "tcp", "greeting": ""}, "greeting: '' is not allowed"),
    ],
)
def test_settings_of_probes_that_cannot_be(probe: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as failure:
        ProbeSettings(**probe)
    assert fault in str(failure.value)
