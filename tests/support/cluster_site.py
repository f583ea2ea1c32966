"""Programs of a site of a cluster, run in its network: `backend IP[:PORT] ADMIN TOKEN` and `client HOST PORT`."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import sys
import threading
import time

from lbcore.client.registration import AdminClient


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return


def backend(where: str, admin: str, token: str) -> None:
    """Serve, and send heartbeats to the node beside it."""
    host, _, port = where.partition(":")
    server = http.server.ThreadingHTTPServer((host, int(port or 8080)), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said = {"server_ip": host, "port": server.server_port, "status": "ready"}
    while True:
        with contextlib.suppress(OSError):
            client = AdminClient(admin, token, timeout=1)
            if client.call("POST", "/heartbeat", said)[0] == 404:
                client.call("POST", "/register", said)
        time.sleep(0.5)  # its heartbeat


def client(host: str, port: str) -> None:
    """Ask all the time; a line on stdin is answered with what was counted."""
    counted: dict[str, object] = {"done": 0}
    failed: list[str] = []

    def ask() -> None:
        while True:
            connection = http.client.HTTPConnection(host, int(port), timeout=15)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(f"{time.monotonic():.3f}: status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                failed.append(f"{time.monotonic():.3f}: {error!r}")
            else:
                counted["done"] = int(str(counted["done"])) + 1
            finally:
                connection.close()
            time.sleep(0.01)  # a hundred requests a second at most

    threading.Thread(target=ask, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(counted | {"failed": failed}), flush=True)


if __name__ == "__main__":
    {"backend": backend, "client": client}[sys.argv[1]](*sys.argv[2:])
