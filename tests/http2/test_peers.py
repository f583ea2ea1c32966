"""Real clients of HTTP/2 before lbcore: over TLS by ALPN, and over plain TCP by the preface."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from access_lines import logged
from h2_frames import H2Client
from http_balancers import http
from http_peers import Backend, field
from tls_balancers import V12, V13, https
from tls_peers import Authority, TlsClient, trusting

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

LARGE = 1 << 20


def echo(connection: socket.socket, head: bytes, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def url(address: tuple[str, int], scheme: str = "http") -> str:
    return f"{scheme}://{address[0]}:{address[1]}/"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


# --- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V12, V13])
def test_https_agrees_on_h2(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version, protocols=("h2", "http/1.1"))
    with Backend(name=b"hello") as backend, https(site, backend) as lb, TlsClient(lb.address, context) as plain:
        assert plain.socket.selected_alpn_protocol() == "h2"
        client = H2Client(lb.address, sock=plain.socket)
        client.ask(1)
        assert client.response(1).body == b"hello"
        assert field(backend.heads[0], b"X-Forwarded-Proto") == b"https"


def test_https_serves_both_at_once(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        for protocols in (("h2",), ("http/1.1",), ("http/1.1", "h2"), ()):
            context = trusting(authority, protocols=protocols)
            with TlsClient(lb.address, context) as plain:
                agreed = plain.socket.selected_alpn_protocol()
                assert agreed == ("h2" if "h2" in protocols else "http/1.1" if protocols else None)
                if agreed == "h2":
                    client = H2Client(lb.address, sock=plain.socket)
                    client.ask(1)
                    assert client.response(1).status == "200"
                else:
                    assert plain.get().status == 200


def test_a_megabyte_both_ways_over_tls(authority: Authority, site: Path) -> None:
    body = bytes(range(256)) * (LARGE // 256)
    with Backend(echo) as backend, https(site, backend) as lb:
        with httpx.Client(http2=True, verify=trusting(authority, protocols=("h2",))) as client:
            response = client.post(
                url(lb.address, "https"), content=body, headers={"host": "a.test"}, extensions={"sni_hostname": "a.test"}
            )
        assert (response.http_version, response.content) == ("HTTP/2", body)


# --- httpx and curl -------------------------------------------------------------------------------------------------------


def test_httpx_by_the_preface(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        Backend(echo) as backend,
        http(backend, top={"access_log": str(log)}) as lb,
        httpx.Client(http2=True, http1=False) as client,
    ):
        for size in (0, 1, 70_000):
            response = client.post(url(lb.address), content=bytes(size))
            assert (response.http_version, response.status_code, len(response.content)) == ("HTTP/2", 200, size)
        assert {line["protocol"] for line in logged(log, 3)} == {"HTTP/2"}


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_curl_by_the_preface(tmp_path: Path, size: int) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(200)) * (size // 200))
    with Backend(echo) as backend, http(backend) as lb:
        said = run(
            *("curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{sent}", "-o", str(got)),
            *("-w", "%{http_version} %{http_code}", url(lb.address)),
        )
        assert (said.returncode, said.stdout) == (0, "2 200"), said
        assert (got.read_bytes() if size else b"") == sent.read_bytes()


def test_curl_that_offers_h2c_by_upgrade_speaks_http_1_1() -> None:
    """As Java 17 does, too (http2-peers.md, item 30)."""
    with Backend() as backend, http(backend) as lb:
        said = run("curl", "-s", "--http2", "-w", "%{http_version}", url(lb.address))
        assert said.stdout == "backend1.1"


def test_curl_over_tls(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        port = lb.address[1]
        said = run(
            *("curl", "-s", "--http2", "--cacert", str(authority.cert), "--resolve", f"a.test:{port}:127.0.0.1"),
            *("-w", " %{http_version}", f"https://a.test:{port}/a", f"https://a.test:{port}/b"),
        )
        assert said.stdout == "backend 2backend 2"


# --- nghttp2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("h2load"), reason="nghttp2-client is not installed")
@pytest.mark.parametrize("streams", ["1", "10", "100"])
def test_h2load(streams: str) -> None:
    with Backend(name=b"x" * 3000) as backend, http(backend) as lb:
        said = run("h2load", "-n", "1000", "-c", "4", "-m", streams, url(lb.address)).stdout
        assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said


@pytest.mark.skipif(not shutil.which("nghttp"), reason="nghttp2-client is not installed")
def test_nghttp_with_trailers_and_priorities(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(50_000))
    with Backend(echo) as backend, http(backend, trailers=True) as lb:
        said = run("nghttp", "-v", "--trailer", "x-sum: 1", "-d", str(body), url(lb.address))
        assert ":status: 200" in said.stdout
        assert backend.bodies[0] == bytes(50_000)  # what has a length has no trailers in HTTP/1.1
