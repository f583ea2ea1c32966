"""RFC 9113 and RFC 7541 by section, as public suites ask: over plain TCP and over TLS, before backends of both versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2_backends import H2Backend
from h2_cases_accepted import ACCEPTED
from h2_cases_compression import COMPRESSION
from h2_cases_faults import FAULTS
from h2_conformance import Case, dial, judge
from harness import PATIENCE_S
from http_balancers import http
from http_peers import Backend
from tls_balancers import https

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

CASES = [*ACCEPTED, *FAULTS, *COMPRESSION]


def hello(connection: socket.socket, head: bytes, body: bytes) -> None:
    """A page of five bytes, of which HEAD gets none."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if head.startswith(b"HEAD ") else b"hello"))


@pytest.fixture(scope="module")
def plain() -> Iterator[Balancer]:
    """Over plain TCP, by the preface, before a backend of HTTP/1.1."""
    with Backend(hello) as backend, http(backend) as balancer:
        yield balancer


@pytest.fixture(scope="module")
def secured(site: Path) -> Iterator[Balancer]:
    """Over TLS, by ALPN, before a backend of HTTP/2."""
    with (
        H2Backend(lambda call: call.talk.answer(call.stream, b"hello")) as backend,
        https(site, backend, protocol="h2") as balancer,
    ):
        yield balancer


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_plain(plain: Balancer, case: Case) -> None:
    with dial(*plain.address, tls=False, patience_s=PATIENCE_S) as client:
        judge(case, client, strict=True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_over_tls(secured: Balancer, case: Case) -> None:
    with dial(*secured.address, tls=True, patience_s=PATIENCE_S) as client:
        judge(case, client, strict=True)
