"""The application that the servers run, once for each interface. A framework is imported when its server is started.

    /early/STATUS   answers at once; the body of the request is not read
    /body           sends a body of two parts, also behind HEAD
    /socket         a WebSocket that stays until somebody ends it
    anything else   reads the body, waits for a moment, and answers with its own path

Every response names the process that made it (X-Process).
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAUSE_S = float(os.environ.get("LBCORE_TEST_PAUSE_S", "0.005"))
HALF = b"secret"
PART_PAUSE_S = 0.02
"""Between the two halves of a body, so that the second comes when the response could be over already."""


def early_status(path: str) -> int | None:
    """The status of /early/STATUS; None for another path."""
    return int(path.removeprefix("/early/")) if path.startswith("/early/") else None


def headers(length: int) -> list[tuple[str, str]]:
    """Those of every response."""
    return [("Content-Type", "text/plain"), ("Content-Length", str(length)), ("X-Process", str(os.getpid()))]


# --- WSGI ------------------------------------------------------------------------------------------------------------


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The application of gunicorn, waitress, cheroot, gevent, eventlet, bjoern and fastpysgi."""
    path = environ["PATH_INFO"]
    if status := early_status(path):
        start_response(f"{status} Early", headers(5))
        return [b"early"]
    if path == "/body":
        start_response("200 OK", headers(2 * len(HALF)))
        return _in_two_parts()
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(PAUSE_S)
    start_response("200 OK", headers(len(path)))
    return [path.encode()]


def _in_two_parts() -> Iterator[bytes]:
    yield HALF
    time.sleep(PART_PAUSE_S)
    yield HALF


# --- ASGI ------------------------------------------------------------------------------------------------------------


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application of uvicorn, gunicorn's asgi worker, granian, hypercorn, daphne and pyvoy."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _websocket(receive, send)
    elif status := early_status(scope["path"]):
        await _respond(send, status, b"early")
    elif scope["path"] == "/body":
        await _respond(send, 200, HALF, HALF)
    else:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(PAUSE_S)
        await _respond(send, 200, scope["path"].encode())


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _respond(send: Any, status: int, *parts: bytes) -> None:
    named = [(name.lower().encode(), value.encode()) for name, value in headers(sum(map(len, parts)))]
    await send({"type": "http.response.start", "status": status, "headers": named})
    for number, part in enumerate(parts):
        if number:
            await asyncio.sleep(PART_PAUSE_S)
        await send({"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1})


# --- frameworks that are servers -------------------------------------------------------------------------------------


def sanic() -> Any:
    """The factory that sanic's command asks for."""
    from sanic import Request, Sanic, Websocket, raw  # type: ignore[import-not-found,unused-ignore]

    app = Sanic("lbcore_test")

    @app.websocket("/socket")  # type: ignore[misc,unused-ignore]
    async def socket(request: Request, ws: Websocket) -> None:
        while await ws.recv() is not None:
            pass

    @app.route("/body", methods=["GET", "HEAD"])  # type: ignore[misc,unused-ignore]
    async def body(request: Request) -> None:
        response = await request.respond(headers=dict(headers(2 * len(HALF))))
        await response.send(HALF)
        await asyncio.sleep(PART_PAUSE_S)
        await response.send(HALF)

    @app.route("/<path:path>", methods=["GET", "POST"])  # type: ignore[misc,unused-ignore]
    async def serve(request: Request, path: str) -> Any:
        if status := early_status(request.path):
            return raw(b"early", status, dict(headers(5)))
        await asyncio.sleep(PAUSE_S)
        return raw(request.path, 200, dict(headers(len(request.path))))

    return app


def aiohttp(port: int) -> None:
    """Serves until it is ended."""
    from aiohttp import web

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    async def body(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=dict(headers(2 * len(HALF))))
        await response.prepare(request)
        await response.write(HALF)
        await asyncio.sleep(PART_PAUSE_S)
        await response.write(HALF)
        return response

    async def serve(request: web.Request) -> web.Response:
        if status := early_status(request.path):
            return web.Response(status=status, body=b"early", headers=dict(headers(5)))
        await request.read()
        await asyncio.sleep(PAUSE_S)
        return web.Response(body=request.path.encode(), headers=dict(headers(len(request.path))))

    app = web.Application(client_max_size=1 << 25)
    app.router.add_get("/socket", socket)
    app.router.add_route("*", "/body", body)
    app.router.add_route("*", "/{path:.*}", serve)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def tornado(port: int) -> None:
    """Serves until it is ended. Tornado reads a whole body by itself before the handler is asked."""
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler

    class Socket(WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            pass

    class Handler(RequestHandler):
        async def get(self) -> None:
            path = self.request.path
            parts = [HALF, HALF] if path == "/body" else [b"early"] if early_status(path) else [path.encode()]
            self.set_status(early_status(path) or 200)
            for name, value in headers(sum(map(len, parts))):
                self.set_header(name, value)
            for part in parts:
                self.write(part)
                await self.flush()
                await asyncio.sleep(PART_PAUSE_S if len(parts) > 1 else PAUSE_S)

        head = post = get

    async def main() -> None:
        Application([("/socket", Socket), ("/.*", Handler)]).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())


def robyn(port: int) -> None:
    """Serves until it is ended."""
    from robyn import Request, Response, Robyn  # type: ignore[import-not-found,unused-ignore]

    app = Robyn(__file__)

    def answer(status: int, body: bytes) -> Any:
        return Response(status_code=status, headers=dict(headers(len(body))[::2]), description=body)

    async def serve(request: Request) -> Any:
        path = request.url.path
        if status := early_status(path):
            return answer(status, b"early")
        await asyncio.sleep(PAUSE_S)
        return answer(200, 2 * HALF if path == "/body" else path.encode())

    for add in (app.get, app.post, app.head):
        for route in ("/early/:status", "/:path"):
            add(route)(serve)
    app.start(host="127.0.0.1", port=port)


# --- WSGI servers without a command ----------------------------------------------------------------------------------


def gevent(port: int) -> None:
    """Serves until it is ended."""
    from gevent.pywsgi import WSGIServer  # type: ignore[import-not-found,unused-ignore]

    WSGIServer(("127.0.0.1", port), wsgi, log=None).serve_forever()


def eventlet(port: int) -> None:
    """Serves until it is ended."""
    import eventlet as _eventlet  # type: ignore[import-not-found,unused-ignore]
    from eventlet import wsgi as server

    server.server(_eventlet.listen(("127.0.0.1", port)), wsgi, log_output=False)


def bjoern(port: int) -> None:
    """Serves until it is ended."""
    import bjoern as _bjoern  # type: ignore[import-not-found,unused-ignore]

    _bjoern.run(wsgi, "127.0.0.1", port)


def fastpysgi(port: int) -> None:
    """Serves until it is ended."""
    import fastpysgi as _fastpysgi  # type: ignore[import-not-found,unused-ignore]

    _fastpysgi.run(wsgi, "127.0.0.1", port)


if __name__ == "__main__":
    import sys

    globals()[sys.argv[1]](int(sys.argv[2]))
