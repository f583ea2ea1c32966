"""TLS towards backends: whom the balancer believes, which sessions it resumes, probes, and real programs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import free_port, settled, totals, wait_for
from http_balancers import OK, figure
from http_peers import Backend, Client, answering
from real_peers import needs, running
from tls_balancers import HTTP, HTTPS, TCP, V12, V13, is_reset, over_tls, states
from tls_peers import (
    PLAIN,
    Authority,
    TlsBackend,
    der_of,
    serving,
    settings_of,
    shown,
)
from wsgi_servers import APP

from lbcore.config.settings import ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
