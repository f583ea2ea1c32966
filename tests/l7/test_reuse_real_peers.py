"""What servers do at the end of a response: uvicorn after an exception, gunicorn without keep-alive. HEAD: test_servers.py."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest
from harness import free_port
from http_balancers import POST, backend_of, figure, http
from http_peers import Client
from real_peers import running
from wsgi_servers import gunicorn

if TYPE_CHECKING:
    from pathlib import Path

RAISING = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/raise":
        raise RuntimeError("as in a handler with a fault")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.mark.parametrize("loop", [(), ("--http", "h11", "--loop", "asyncio")])
def test_uvicorn_that_closes_behind_its_500_loses_no_post(tmp_path: Path, loop: tuple[str, ...]) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    port = free_port()
    line = [sys.executable, "-m", "uvicorn", "raising:app", "--port", str(port), "--log-level", "critical", *loop]
    lost: list[int] = []

    def ask(address: tuple[str, int]) -> None:
        with Client(address) as client:
            for number in range(60):
                if number % 3 == 0:
                    assert client.get("/raise").status == 500
                client.send(POST)
                status = client.answer().status
                if status != 200:
                    lost.append(status)

    with running(line, port, tmp_path), http(f"127.0.0.1:{port}", max_failed_responses=0, backend_idle_timeout="1h") as lb:
        threads = [threading.Thread(target=ask, args=(lb.address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not lost
        assert backend_of(lb, f"127.0.0.1:{port}")["closes_idle_after_s"] is None


def test_gunicorn_sync_closes_first(tmp_path: Path) -> None:
    with (
        gunicorn(tmp_path, "--workers", "1") as address,
        http(address, backend_idle_timeout="0s") as lb,
        Client(lb.address) as client,
    ):
        for _ in range(30):
            assert client.get().status == 200
            client.send(POST)
            assert client.answer().status == 200
        assert (figure(lb, "connects"), backend_of(lb, address)["failures"]) == (60, 0)
