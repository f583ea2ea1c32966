"""Stand-ins of inference servers: they speak what vLLM 0.6 documents of OpenAI's API, and nothing of it is inferred."""

from __future__ import annotations

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_GET(self) -> None:
        """/health without a body, /v1/models with the one model that is served."""
        if self.path == "/health":
            self._send(200, b"", "text/plain")
        elif self.path == "/v1/models":
            card = {"id": self.server.model, "object": "model", "owned_by": "vllm"}
            self._json(200, {"object": "list", "data": [card]})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """/v1/chat/completions, whole or streamed; another model than its own is told 404, as vllm serve does."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        self.server.bodies.append(body)
        if asked["model"] != self.server.model:
            self._json(404, {"object": "error", "message": f"The model `{asked['model']}` does not exist.", "code": 404})
        elif asked.get("stream"):
            self._stream()
        else:
            message = {"role": "assistant", "content": f"I am {self.server.model}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._json(200, {"object": "chat.completion", "model": self.server.model, "choices": [choice]})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in (*self.server.model.split("-"), None):
            delta = {"object": "chat.completion.chunk", "model": self.server.model, "choices": [{"delta": {"content": word}}]}
            event = b"data: %s\n\n" % (b"[DONE]" if word is None else json.dumps(delta).encode())
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, body: bytes, type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


class ModelServer(ThreadingHTTPServer):
    """Serves one model. bodies: of the requests that came."""

    daemon_threads = True

    def __init__(self, model: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.bodies: list[bytes] = []

    @property
    def where(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(model: str) -> Iterator[ModelServer]:
    """A server of this model."""
    with ModelServer(model) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
