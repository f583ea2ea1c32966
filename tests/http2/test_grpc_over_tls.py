"""grpcio over TLS: its own health service and calls, by the same rules of the pool (certificate, name, ALPN)."""

from __future__ import annotations

import contextlib
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import CALL, MESSAGE
from h2_frames import H2Client
from harness import wait_for
from tls_balancers import HTTP, over_tls

from lbcore.config.settings import ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tls_peers import Authority

grpc = pytest.importorskip("grpc")
health = pytest.importorskip("grpc_health.v1.health")
pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")


@contextlib.contextmanager
def serving_health(site: Path) -> Iterator[tuple[Any, str]]:
    """A server over TLS, which agrees on nothing but h2."""
    servicer = health.HealthServicer()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb2_grpc.add_HealthServicer_to_server(servicer, server)
    pem = site.read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def test_probes_and_calls_begin_alike(authority: Authority, here: Path) -> None:
    probe = ProbeSettings(kind="grpc", service="shop.Orders", interval="100ms", rise=1, fall=1)
    with serving_health(here) as (servicer, address):
        servicer.set("shop.Orders", pb2.HealthCheckResponse.NOT_SERVING)
        with over_tls(HTTP, authority, address, probe=probe) as lb:

            def reason() -> str:
                return str(lb.status()["pools"][0]["backends"][0]["reason"])

            wait_for(lambda: "NOT_SERVING" in reason(), "the probe hears it")
            servicer.set("shop.Orders", pb2.HealthCheckResponse.SERVING)
            wait_for(lambda: lb.status()["pools"][0]["backends"][0]["state"] == "up", "the probe succeeds")
            with H2Client(lb.address) as client:
                client.ask(1, "/grpc.health.v1.Health/Check", *CALL, method="POST", body=MESSAGE[:1] + b"\0\0\0\0")
                response = client.response(1)
                assert (response.heads[-1]["grpc-status"], response.body) == ("0", b"\0\0\0\0\2\x08\x01")
