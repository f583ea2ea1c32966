"""Via names what a message came by (RFC 9110 7.6.3): each of the four ways between HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from h2_backends import H2Backend
from h2_frames import H2Client
from http_balancers import http
from http_peers import Backend, Client, field


def asked_by(version: str, address: tuple[str, int]) -> str:
    """The Via of a response."""
    if version == "2.0":
        with H2Client(address) as client:
            client.ask(1)
            return client.response(1).heads[0]["via"]
    with Client(address) as client_of_1:
        return str((field(client_of_1.get().head, b"Via") or b"").decode())


@pytest.mark.parametrize("of_client", ["1.1", "2.0"])
@pytest.mark.parametrize("of_backend", ["1.1", "2.0"])
def test_each_message_says_by_what_it_came(of_client: str, of_backend: str) -> None:
    with contextlib.ExitStack() as stack:
        backend: Any = stack.enter_context(H2Backend() if of_backend == "2.0" else Backend())
        lb = stack.enter_context(http(backend, protocol="h2" if of_backend == "2.0" else "http/1.1"))
        assert asked_by(of_client, lb.address) == f"{of_backend} lbcore"
        head = backend.heads[0]
        assert (head["via"] if of_backend == "2.0" else field(head, b"Via").decode()) == f"{of_client} lbcore"  # type: ignore[union-attr]
