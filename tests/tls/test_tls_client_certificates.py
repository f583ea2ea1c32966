"""Certificates of clients: who is let in, and what the backend is told of them."""

from __future__ import annotations

import base64
import contextlib
import ssl
from pathlib import Path

import pytest
from harness import dial, wait_for
from http_peers import Backend, fields
from tls_balancers import HTTPS, V12, V13, alert_of, asking, https, refused, request, resumes, shown_to, ticket_of
from tls_peers import (
    Authority,
    ByHand,
    TlsClient,
    balancing,
    der_of,
    settings_of,
    shown,
    trusting,
)


@pytest.fixture(scope="module")
def me(authority: Authority) -> Path:
    """A client's certificate."""
    return authority.issue("me")


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
