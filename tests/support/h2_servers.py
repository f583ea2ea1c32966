"""Servers and proxies of others that speak HTTP/2, each a process on a port of its own, for tests to stand behind or before."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import PATIENCE_S, free_port
from real_peers import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# --- proxies --------------------------------------------------------------------------------------------------------------


def _here(tmp_path: Path) -> Path:
    """A directory of its own."""
    made = tmp_path / f"peer{len(list(tmp_path.iterdir()))}"
    made.mkdir()
    return made


@contextlib.contextmanager
def nginx_h2(tmp_path: Path, onward: str) -> Iterator[str]:
    """nginx that takes HTTP/2 and sends it on by `onward`: "grpc_pass grpc://..." or "proxy_pass http://...". Its address."""
    port, here = free_port(), _here(tmp_path)
    temporary = "".join(f" {kind}_temp_path {here}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (here / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log;\n"
        f"events {{ worker_connections 500; }}\nhttp {{ access_log off;{temporary} client_max_body_size 0;\n"
        f"server {{ listen 127.0.0.1:{port} http2; location / {{ {onward}; }} }} }}\n"
    )
    with running(["nginx", "-c", str(here / "nginx.conf"), "-p", str(here)], port, here):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def haproxy_h2(tmp_path: Path, target: str, *, onward: str = "") -> Iterator[str]:
    """HAProxy that takes HTTP/2 and sends it on to a target, by HTTP/1.1 or, with onward="proto h2", by HTTP/2. Its address."""
    port, here = free_port(), _here(tmp_path)
    (here / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n"
        f"frontend front\n bind 127.0.0.1:{port} proto h2\n default_backend back\n"
        f"backend back\n server one {target} {onward}\n"
    )
    with running(["haproxy", "-db", "-f", str(here / "haproxy.cfg")], port, here):
        yield f"127.0.0.1:{port}"


# --- servers --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nghttpd(tmp_path: Path, *options: str) -> Iterator[str]:
    """nghttpd that serves the files of a directory, and sends back what is uploaded. Its address."""
    port = free_port()
    line = ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(tmp_path), "--echo-upload", *options, str(port)]
    with running(line, port, tmp_path):
        yield f"127.0.0.1:{port}"


_NODE = """
const server = require('node:http2').createServer();
server.on('stream', (stream, headers) => {
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('error', () => {});
  stream.on('end', () => {
    const head = { ':status': 200, 'x-path': headers[':path'], 'x-host': headers[':authority'] || '' };
    stream.respond(head, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': String(Buffer.concat(parts).length) }));
    stream.end(Buffer.concat(parts));
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
"""


@contextlib.contextmanager
def node_h2(tmp_path: Path) -> Iterator[str]:
    """Node's http2, which sends back what it gets, with a trailer that says how much. Its address."""
    port, here = free_port(), _here(tmp_path)
    (here / "server.js").write_text(_NODE)
    with running(["node", str(here / "server.js"), str(port)], port, here):
        yield f"127.0.0.1:{port}"


GRPCLIB = """
import asyncio, sys
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server


class Raw(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


class Service:
    async def name(self, stream):
        request = await stream.recv_message()
        await stream.send_message(b"grpclib:" + request)

    async def fail(self, stream):
        raise GRPCError(Status[(await stream.recv_message()).decode()], "as asked")

    async def echo(self, stream):
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self):
        unary, stream = Cardinality.UNARY_UNARY, Cardinality.STREAM_STREAM
        kinds = {"Name": (self.name, unary), "Fail": (self.fail, unary), "Echo": (self.echo, stream)}
        return {f"/a.B/{name}": Handler(func, kind, bytes, bytes) for name, (func, kind) in kinds.items()}
"""
_GRPCLIB_SERVER = """

async def main():
    server = Server([Service()], codec=Raw())
    await server.start("127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.wait_closed()


asyncio.run(main())
"""


@contextlib.contextmanager
def grpclib_server() -> Iterator[str]:
    """grpclib with the methods Name, Fail and Echo of any service "a.B". Its address."""
    port = free_port()
    line = [sys.executable, "-c", GRPCLIB + _GRPCLIB_SERVER, str(port)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(PATIENCE_S)
