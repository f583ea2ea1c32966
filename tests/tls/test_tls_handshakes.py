"""Handshakes with clients: versions, ciphers, certificates by name, protocols, and the PROXY header before them."""

from __future__ import annotations

import contextlib
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from certificates import openssl
from harness import Peer, dial, echo, read_all, wait_for
from http_balancers import figure
from http_peers import Backend, field
from tls_balancers import V12, V13, alert_of, answers, https, refused, request, tls
from tls_peers import (
    PLAIN,
    RSA,
    Authority,
    ByHand,
    TlsClient,
    der_of,
    s_client,
    shown,
    trusting,
)

from lbcore import Balancer
from lbcore.config.settings.tls import INTERMEDIATE

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


def test_https_without_http_2_agrees_on_http_1_or_nothing(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"protocols": ["http/1.1"]}) as lb:
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
        wait_for(lambda: figure(lb, "accepted") == 1, "its session has begun")


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
