"""Probes over TLS as their pool speaks it: the name, the pool's own certificate, files that change."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate
from harness import Peer

from lbcore.config.settings import PoolSettings, ProbeSettings
from lbcore.discovery.probe import Asker, ProbeFailed

Row = namedtuple("Row", "address host ip port family scope")
Pair = tuple[Path, Path]


def server(pair: Pair, client_ca: Path | None = None) -> Peer:
    """Ends TLS, and wants a certificate of its clients if client_ca is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose handshake tells the client when its certificate is refused
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True):
            pass

    return Peer(serve)


async def ask(asker: Asker, address: str, pool: dict[str, Any]) -> str:
    """What a handshake as this pool has it says: "" for good."""
    host, _, port = address.rpartition(":")
    try:
        probe = PoolSettings(tls=True, probe=ProbeSettings(kind="tcp", timeout="10s"), **pool).probe
        await asker.ask(Row(address, host, host, int(port), socket.AF_INET, 0), probe)  # type: ignore[arg-type]
    except ProbeFailed as failure:
        return str(failure)
    return ""


def verdict(address: str, **pool: Any) -> str:
    return asyncio.run(ask(Asker(), address, pool))


@pytest.fixture
def app(tmp_path: Path) -> Pair:
    return make_certificate(tmp_path, "app")


def test_the_certificate_carries_the_pools_name(app: Pair) -> None:
    with server(app) as peer:
        assert verdict(peer.address, tls_ca=str(app[0]), tls_name="app") == ""
        assert "mismatch" in verdict(peer.address, tls_ca=str(app[0]), tls_name="other")
        assert "mismatch" in verdict(peer.address, tls_ca=str(app[0]))
        assert "self-signed" in verdict(peer.address, tls_name="app").replace("self signed", "self-signed")
        assert verdict(peer.address, tls_verify=False) == ""


def test_a_backend_that_asks_for_our_certificate(app: Pair, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "ours")
    with server(app, client_ca=cert) as peer:
        pool = {"tls_ca": str(app[0]), "tls_name": "app"}
        assert verdict(peer.address, **pool).startswith("TLS: ")
        assert verdict(peer.address, **pool, tls_cert=str(cert), tls_key=str(key)) == ""


def test_a_ca_that_is_renewed_while_probes_go_on(app: Pair, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(make_certificate(tmp_path, "other")[0].read_bytes())

    async def probes(address: str) -> list[str]:
        asker, pool = Asker(), {"tls_ca": str(ca), "tls_name": "app"}
        said = [await ask(asker, address, pool)]
        ca.write_bytes(app[0].read_bytes())
        return [*said, await ask(asker, address, pool)]

    with server(app) as peer:
        before, after = asyncio.run(probes(peer.address))
        assert before.startswith("TLS: ")
        assert after == ""
