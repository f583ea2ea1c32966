"""gunicorn before an application that tests share."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from harness import free_port
from real_peers import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


APP = """
import asyncio, hashlib, json


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        return await websocket(receive, send)
    body = await body_of(receive)
    head = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/sleep":
        await asyncio.sleep(10)
    if scope["path"] == "/stream":
        await send(head)
        for number in range(5):
            await send({"type": "http.response.body", "body": b"token %d\\n" % number, "more_body": True})
            await asyncio.sleep(0.1)
        return await send({"type": "http.response.body", "body": b""})
    answer = {name.decode(): value.decode() for name, value in scope["headers"]}
    answer |= {"sum": hashlib.sha256(body).hexdigest(), "size": len(body), "client": (scope["client"] or ("unix", 0))[0]}
    content = json.dumps(answer).encode()
    head["headers"] = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send(head)
    await send({"type": "http.response.body", "body": content})


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    content = json.dumps({"size": len(body), "for": environ.get("HTTP_X_FORWARDED_FOR")}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]
"""


@contextlib.contextmanager
def gunicorn(tmp_path: Path, *options: str) -> Iterator[str]:
    """gunicorn with the WSGI app: its address."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    line = [sys.executable, "-m", "gunicorn", "app:wsgi", "-b", f"127.0.0.1:{port}", "--log-level", "error", *options]
    with running(line, port, tmp_path):
        yield f"127.0.0.1:{port}"
