"""The application that real servers run in tests: it reads what comes, waits for a moment, and answers."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

PAUSE_S = float(os.environ.get("LBCORE_TEST_PAUSE_S", "0.005"))
BODY = b"served"


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(PAUSE_S)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(PAUSE_S)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def sanic() -> Any:
    from sanic import Request, Sanic, text  # type: ignore[import-not-found,unused-ignore]

    app = Sanic("lbcore_test")

    @app.route("/<path:path>", methods=["GET", "POST"])  # type: ignore[misc,unused-ignore]
    async def serve(request: Request, path: str) -> Any:
        await asyncio.sleep(PAUSE_S)
        return text(BODY.decode())

    return app
