"""What a probe makes of an answer: status, body, certificate, gRPC health. Real servers: nginx and grpcio."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections import namedtuple
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest
from harness import Peer, free_port, wait_for
from http_peers import Backend, answering
from hypothesis import given
from hypothesis import strategies as st

from lbcore.config.settings import ProbeSettings
from lbcore.discovery.grpc_health import request, serving_status
from lbcore.discovery.probe import Asker, ProbeFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

Row = namedtuple("Row", "address host ip port family scope")
needs_nginx = pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("openssl"), reason="nginx or openssl is missing")


def verdict(address: str, **probe: Any) -> str:
    """What a probe says: "" for good."""
    host, _, port = address.rpartition(":")
    row = Row(address, host, host, int(port), 2, 0)

    async def ask() -> str:
        asker = Asker()
        try:
            await asker.ask(row, ProbeSettings(**{"timeout": "10s"} | probe))  # type: ignore[arg-type]
        except ProbeFailed as failure:
            return str(failure)
        finally:
            await asker.close()
        return ""

    return asyncio.run(ask())


# --- status and body ------------------------------------------------------------------------------------------------------


def says(status: int, body: bytes = b"") -> Backend:
    return Backend(answering(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body), end=True))


@pytest.mark.parametrize(
    ("status", "good", "fault"),
    [
        (200, "200-399", ""),
        (302, "200-399", ""),
        (404, "200-399", "status 404"),
        (503, "200-399", "status 503"),
        (204, "200,204", ""),
        (201, "200,204", "status 201"),
        (503, "500-599", ""),
    ],
)
def test_status(status: int, good: str, fault: str) -> None:
    with says(status) as backend:
        assert verdict(backend.address, kind="http", status=good) == fault


def test_body_without_the_text() -> None:
    with says(200, b'{"state": "warming"}') as backend:
        assert verdict(backend.address, kind="http", body="warming") == ""
        assert verdict(backend.address, kind="http", body="ready") == "the body lacks 'ready'"


def test_body_beyond_what_is_looked_at() -> None:
    with says(200, b"x" * 70_000 + b"ready") as backend:
        assert verdict(backend.address, kind="http", body="ready") == "the body lacks 'ready'"


def test_endless_body_ends_with_the_time_limit() -> None:
    def drip(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x")
            wait_for(lambda: True, "nothing", 1)

    with Backend(drip) as backend:
        fault = verdict(backend.address, kind="http", body="ready", timeout="200ms")
        assert fault in ("timed out after 0.2s", "the body lacks 'ready'")


def test_method_and_host_are_sent() -> None:
    with says(200) as backend:
        assert verdict(backend.address, kind="http", method="HEAD", host="app.example", path="/up") == ""
        assert backend.heads[0].startswith(b"HEAD /up HTTP/1.1\r\nHost: app.example\r\n")


# --- TLS ------------------------------------------------------------------------------------------------------------------


class Certificates:
    """A CA of the test's own, and certificates of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._run(
            "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca"
        )

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)

    def make(self, name: str, *, days: int = 30) -> str:
        """A certificate for a DNS name, valid for so many days from now: the stem of its files."""
        stem = name.replace(".", "-") + ("" if days > 0 else "-old")
        (self.directory / f"{stem}.ext").write_text(f"subjectAltName=DNS:{name}\n")
        key = ["-nodes", "-newkey", "rsa:2048", "-keyout", f"{stem}.key"]
        self._run("req", *key, "-out", f"{stem}.csr", "-subj", f"/CN={name}")
        signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{stem}.ext", "-days", str(days)]
        self._run("x509", "-req", "-in", f"{stem}.csr", *signing, "-out", f"{stem}.pem")
        return stem


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Certificates, dict[str, str]]]:
    """nginx with a good certificate and an expired one: its addresses by kind."""
    directory = tmp_path_factory.mktemp("tls")
    certificates = Certificates(directory)
    ports = {"good": free_port(), "old": free_port()}
    stems = {"good": certificates.make("app.example"), "old": certificates.make("app.example", days=-1)}
    servers = "".join(
        f"server {{ listen 127.0.0.1:{ports[kind]} ssl;"
        f" ssl_certificate {stems[kind]}.pem; ssl_certificate_key {stems[kind]}.key;"
        ' location / { return 200 "ready"; } }'
        for kind in ports
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr crit; events {{}} http {{ access_log off; {servers} }}"
    )
    nginx = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"])
    addresses = {kind: f"127.0.0.1:{port}" for kind, port in ports.items()}
    wait_for(lambda: verdict(addresses["good"], kind="tcp") == "", "nginx serves")
    yield certificates, addresses
    nginx.terminate()
    nginx.wait()


@needs_nginx
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_certificates_are_checked(kind: str, tls: tuple[Certificates, dict[str, str]]) -> None:
    certificates, addresses = tls
    trusted = {"kind": kind, "tls": True, "tls_ca": str(certificates.ca)}
    assert verdict(addresses["good"], **trusted, host="app.example") == ""
    assert "hostname mismatch" in verdict(addresses["good"], **trusted, host="other.example")
    assert "expired" in verdict(addresses["old"], **trusted, host="app.example")
    untrusted = verdict(addresses["good"], kind=kind, tls=True, host="app.example")
    assert untrusted.startswith("TLS: ")
    assert "certificate" in untrusted
    assert verdict(addresses["old"], kind=kind, tls=True, tls_verify=False) == ""


def test_plain_text_where_tls_was_expected() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(serve) as peer:
        for kind in ("tcp", "http"):
            assert verdict(peer.address, kind=kind, tls=True).startswith("TLS: ")


# --- gRPC -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[tuple[Any, str]]:
    """grpcio's own health service."""
    grpc = pytest.importorskip("grpc")
    health = pytest.importorskip("grpc_health.v1.health")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    servicer = health.HealthServicer()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None)


def test_grpc_health(grpc_server: tuple[Any, str]) -> None:
    from grpc_health.v1 import health_pb2

    servicer, address = grpc_server
    states = health_pb2.HealthCheckResponse
    servicer.set("up.Service", states.SERVING)
    servicer.set("down.Service", states.NOT_SERVING)
    servicer.set("odd.Service", states.UNKNOWN)
    assert verdict(address, kind="grpc") == ""
    assert verdict(address, kind="grpc", service="up.Service") == ""
    assert verdict(address, kind="grpc", service="down.Service") == "gRPC: NOT_SERVING"
    assert verdict(address, kind="grpc", service="odd.Service") == "gRPC: unknown"
    assert verdict(address, kind="grpc", service="no.Service") == "gRPC: service unknown"


def test_grpc_server_without_the_health_service() -> None:
    grpc = pytest.importorskip("grpc")
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert verdict(f"127.0.0.1:{port}", kind="grpc") == "gRPC: UNIMPLEMENTED"
    finally:
        server.stop(None)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"", b"\xff" * 300_000])
def test_grpc_probe_of_something_else(noise: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(noise)

    with Peer(serve) as peer:
        assert verdict(peer.address, kind="grpc") in ("gRPC: no HTTP/2 response", "connection reset by peer")


def test_refused_is_named_by_every_kind() -> None:
    address = f"127.0.0.1:{free_port()}"
    for kind in ("tcp", "http", "grpc"):
        assert verdict(address, kind=kind) == "connection refused"


@given(st.binary(max_size=40))
def test_any_answer_is_read_without_a_fault(data: bytes) -> None:
    assert serving_status(data) is None or data[:1] == b"\0"


def test_messages_are_those_of_protobuf() -> None:
    health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    for service in ("", "a", "x" * 300):
        message = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        assert request(service) == b"\0" + len(message).to_bytes(4, "big") + message
    for status in (0, 1, 2, 3):
        message = health_pb2.HealthCheckResponse(status=status).SerializeToString()
        assert serving_status(b"\0" + len(message).to_bytes(4, "big") + message) == status
