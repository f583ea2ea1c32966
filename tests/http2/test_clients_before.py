"""Clients and proxies of others before lbcore, by HTTP/2: what they ask arrives, and what comes back is whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from grpc_calls import LARGE, called_in_all_ways
from grpc_servers import GrpcServer
from h2_servers import haproxy_h2, nginx_h2
from harness import PATIENCE_S
from http_balancers import figure, http
from http_peers import Backend
from real_peers import needs
from tls_balancers import https
from tls_peers import trusting

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tls_peers import Authority

    from lbcore import Balancer


def echo(connection: socket.socket, head: bytes, body: bytes) -> None:
    path = head.split(b" ")[1]
    body = body or path
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def url(lb: Balancer, scheme: str = "http") -> str:
    return f"{scheme}://{lb.address[0]}:{lb.address[1]}"


# --- proxies ----------------------------------------------------------------------------------------------------------------


@needs("nginx")
def test_nginx_by_grpc_pass(tmp_path: Path) -> None:
    """Its window is 2^31-1 and it has no dynamic table; a connection for each call."""
    pytest.importorskip("grpc")
    with GrpcServer("one") as server, http(server.address) as lb:
        with nginx_h2(tmp_path, f"grpc_pass grpc://{lb.address[0]}:{lb.address[1]}") as proxy:
            made = called_in_all_ways(proxy, b"one")
        assert figure(lb, "http2_streams") == made


@needs("haproxy")
def test_haproxy(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    with GrpcServer("one") as server, http(server.address) as lb:
        with haproxy_h2(tmp_path, f"{lb.address[0]}:{lb.address[1]}", onward="proto h2") as proxy:
            made = called_in_all_ways(proxy, b"one")
        assert figure(lb, "http2_streams") == made


# --- clients ----------------------------------------------------------------------------------------------------------------

_NODE = """
const http2 = require('node:http2');
const session = http2.connect(process.argv[2]);
const ask = (path, body) => new Promise((resolve, reject) => {
  const stream = session.request({ ':path': path, ':method': body ? 'POST' : 'GET' });
  const parts = [];
  let status = 0;
  stream.on('response', (headers) => { status = headers[':status']; });
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => resolve([status, Buffer.concat(parts).length]));
  stream.on('error', reject);
  stream.end(body);
});
(async () => {
  const large = await ask('/', Buffer.alloc(300000, 'x'));
  const many = await Promise.all(Array.from({ length: 90 }, (_, at) => ask('/' + at)));
  console.log(JSON.stringify({ large, many: many.length, failed: many.filter((it) => it[0] !== 200).length }));
  session.close();
})();
"""


@needs("node")
def test_node(tmp_path: Path) -> None:
    script = tmp_path / "client.js"
    script.write_text(_NODE)
    with Backend(lambda *it: measured(*it)) as backend, http(backend) as lb:
        said = subprocess.run(
            ["node", str(script), url(lb)], capture_output=True, text=True, timeout=PATIENCE_S * 6, check=False
        )
    assert json.loads(said.stdout or "null") == {"large": [200, 6], "many": 90, "failed": 0}, said


def measured(connection: socket.socket, head: bytes, body: bytes) -> None:
    """The size of a chunked body's data, or the path."""
    size = sum(int(part, 16) for part in body.split(b"\r\n") if len(part) < 6 and part and part.isalnum()) if body else 0
    said = b"%d" % size if body else head.split(b" ")[1]
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


def test_httpx_asks_for_much_at_once(library: Any) -> None:
    """By asyncio: several threads of one client of httpx2 2.16.2 open streams out of order."""

    async def ask(at: str) -> list[tuple[str, bytes]]:
        async with library.AsyncClient(http2=True, http1=False, timeout=30) as client:
            found = await asyncio.gather(*(client.get(f"{at}/{number}") for number in range(200)))
        return [(it.http_version, it.content) for it in found]

    with Backend(echo) as backend, http(backend) as lb:
        assert asyncio.run(ask(url(lb))) == [("HTTP/2", b"/%d" % number) for number in range(200)]


def test_httpx_one_by_one(library: Any) -> None:
    with Backend(echo) as backend, http(backend) as lb, library.Client(http2=True, http1=False, timeout=20) as client:
        assert client.post(url(lb), headers={"content-length": str(len(LARGE))}, content=LARGE).content == LARGE
        with client.stream("GET", f"{url(lb)}/left") as left:
            assert left.status_code == 200
        assert client.get(f"{url(lb)}/on").content == b"/on"


def test_httpx_over_tls(library: Any, authority: Authority, site: Path) -> None:
    with Backend(echo) as backend, https(site, backend) as lb:
        with library.Client(http2=True, verify=trusting(authority), timeout=20) as client:
            options = {"headers": {"host": "a.test"}, "extensions": {"sni_hostname": "a.test"}}
            for at in range(20):
                got = client.get(f"{url(lb, 'https')}/{at}", **options)
                assert (got.http_version, got.content) == ("HTTP/2", b"/%d" % at)
            assert client.post(url(lb, "https"), content=LARGE, **options).content == LARGE


def grpclib_channel(host: str, port: int) -> Any:
    """One whose messages are bytes."""
    from grpclib.client import Channel
    from grpclib.encoding.base import CodecBase

    class Raw(CodecBase):
        __content_subtype__ = "proto"

        def encode(self, message: Any, message_type: Any) -> bytes:
            return bytes(message)

        def decode(self, data: bytes, message_type: Any) -> bytes:
            return data

    return Channel(host, port, codec=Raw())


def unary(channel: Any, method: str) -> Any:
    from grpclib.client import UnaryUnaryMethod

    return UnaryUnaryMethod(channel, f"/a.B/{method}", bytes, bytes)


def test_grpclib() -> None:
    """It sends a second SETTINGS with a larger window, and waits for END_STREAM in HEADERS."""
    pytest.importorskip("grpclib")
    from grpclib.client import UnaryStreamMethod
    from grpclib.exceptions import GRPCError

    async def calls(host: str, port: int) -> None:
        async with grpclib_channel(host, port) as channel:
            name = unary(channel, "Name")
            assert await name(b"hi", timeout=10) == b"one:hi"
            said = await asyncio.gather(*(name(b"%d" % at, timeout=10) for at in range(60)))
            assert said == [b"one:%d" % at for at in range(60)]
            assert await name(LARGE * 4, timeout=20) == b"one:" + LARGE * 4
            assert len(await UnaryStreamMethod(channel, "/a.B/Count", bytes, bytes)(b"300", timeout=10)) == 300
            with pytest.raises(GRPCError) as caught:
                await unary(channel, "Fail")(b"NOT_FOUND", timeout=10)
            assert caught.value.status.name == "NOT_FOUND"

    with GrpcServer("one") as server, http(server.address) as lb:
        asyncio.run(calls(*lb.address))


def test_grpclib_is_told_of_a_backend_that_is_not_there() -> None:
    """Trailers-only, one HEADERS with END_STREAM: it waits for its deadline otherwise."""
    pytest.importorskip("grpclib")
    from grpclib.exceptions import GRPCError

    async def call(host: str, port: int) -> None:
        async with grpclib_channel(host, port) as channel:
            await unary(channel, "Name")(b"hi", timeout=30)

    with http("127.0.0.1:9") as lb, pytest.raises(GRPCError) as caught:
        asyncio.run(call(*lb.address))
    assert caught.value.status.name == "UNAVAILABLE"


@needs("h2load")
def test_h2load_over_tls(site: Path) -> None:
    with Backend(echo) as backend, https(site, backend) as lb:
        line = ["h2load", "-n", "600", "-c", "3", "-m", "10", f"{url(lb, 'https')}/x"]
        said = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S * 6, check=False).stdout
        assert "600 succeeded, 0 failed, 0 errored, 0 timeout" in said
        assert "Application protocol: h2" in said
