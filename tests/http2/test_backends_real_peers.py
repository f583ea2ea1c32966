"""ASGI servers that speak HTTP/2, as backends of clients of both versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from h2_frames import H2Client, window_update
from harness import free_port
from http_balancers import http
from http_peers import Client
from real_peers import running

if TYPE_CHECKING:
    from pathlib import Path

APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"x-version", scope["http_version"].encode()), (b"x-size", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    count = int(scope["query_string"] or b"1")
    for _ in range(count):
        await send({"type": "http.response.body", "body": b"z" * 10000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""
LINES = {
    "hypercorn": ("-m", "hypercorn", "-b", "127.0.0.1:{port}", "app:app"),
    "granian": ("-m", "granian", "--interface", "asgi", "--http", "2", "--host", "127.0.0.1", "--port", "{port}", "app:app"),
}


@pytest.mark.parametrize("name", LINES)
def test_an_asgi_server_behind_http2(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    line = [sys.executable, *(word.format(port=port) for word in LINES[name])]
    with running(line, port, tmp_path), http(f"127.0.0.1:{port}", protocol="h2") as lb:
        with Client(lb.address) as client:
            assert b"x-version: 2\r\n" in client.get().head
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
            assert b"x-size: 300000\r\n" in client.answer().head
            client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer(to_head=True).status == 200
        with H2Client(lb.address) as other:
            other.send(window_update(0, 1 << 24))
            for stream in (1, 3, 5):
                other.ask(stream, "/?6")
            assert [len(other.response(1).body)] == [60_000]
