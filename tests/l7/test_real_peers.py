"""Beside the programs that people use: nginx, HAProxy, curl, uvicorn."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from harness import SLOWER, balanced, command, free_port, settled, totals, wait_for
from real_peers import needs, nginx, running

if TYPE_CHECKING:
    pass


@needs("nginx")
@needs("curl")
@pytest.mark.parametrize("datapath", ["auto", "copy", "splice"])
def test_curl_fetches_a_file_from_nginx(tmp_path: Path, datapath: str) -> None:
    with nginx(tmp_path) as port, balanced(backends=[f"127.0.0.1:{port}"], datapath=datapath) as lb:
        url = f"http://{lb.address[0]}:{lb.address[1]}/big"
        done = subprocess.run(["curl", "-sS", "--limit-rate", "200M", url, url], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        want = hashlib.sha256((tmp_path / "big").read_bytes() * 2).digest()
        assert hashlib.sha256(done.stdout).digest() == want


@needs("nginx")
@needs("curl")
def test_curl_that_gives_up_is_counted_as_the_clients_doing(tmp_path: Path) -> None:
    with nginx(tmp_path) as port, balanced(backends=[f"127.0.0.1:{port}"]) as lb:
        url = f"http://{lb.address[0]}:{lb.address[1]}/big"
        line = ["curl", "-s", "-o", "/dev/null", "--limit-rate", "100k", "--max-time", "1", url]
        assert subprocess.run(line, timeout=30).returncode == 28
        wait_for(lambda: totals(settled(lb))["closed_client_reset"] == 1, "the backend is free")


@needs("nginx")
@needs("haproxy")
def test_behind_haproxy_and_in_front_of_nginx(tmp_path: Path) -> None:
    port = free_port()
    with nginx(tmp_path) as origin, balanced(backends=[f"127.0.0.1:{origin}"]) as lb:
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{lb.address[1]}\n"
        )
        with running(["haproxy", "-db", "-f", "haproxy.cfg"], port, tmp_path):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                for _ in range(50):
                    assert client.get("/short").text == "ok"
                assert len(client.get("/big").content) == 30_000_000


@needs("nginx")
def test_a_backend_is_killed_under_load_and_nobody_else_fails(tmp_path: Path) -> None:
    """Short connections from four clients while one of two nginx is killed: only those fail that were open on it then."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(nginx(tmp_path / name)) for name in ("1", "2")]
        flags = [word for port in ports for word in ("--backend", f"127.0.0.1:{port}")]
        lb = stack.enter_context(command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--workers", "2", *flags))
        failures: list[str] = []
        count = 0
        stop = threading.Event()

        def load() -> None:
            nonlocal count
            while not stop.is_set():
                try:
                    answer = httpx.get(f"http://127.0.0.1:{lb.address[1]}/short")
                    count += answer.text == "ok"
                except httpx.HTTPError as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: count > 50, "load flows")
        pid = int((tmp_path / "1" / "nginx.pid").read_text())
        os.kill(pid, signal.SIGQUIT)  # closes its listener; what it was serving is served
        wait_for(lambda: [entry["state"] for entry in lb.status()["pools"][0]["backends"]].count("down") == 1, "it is out", 20)
        seen = count
        wait_for(lambda: count > seen + 50, "load flows on")
        stop.set()
        for thread in threads:
            thread.join()
        assert len(failures) <= len(threads), failures


def test_uvicorn_with_two_workers_answers_in_no_time(tmp_path: Path) -> None:
    """Kludex/uvicorn #3149: 44 ms an answer behind other balancers, since its sockets keep Nagle's algorithm on."""
    (tmp_path / "app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] != 'http': return\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'2')]})\n"
        "    await send({'type': 'http.response.body', 'body': b'ok'})\n"
    )
    port = free_port()
    line = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", "2"]
    line += ["--loop", "asyncio", "--http", "h11", "--log-level", "error"]
    with running(line, port, tmp_path), balanced(backends=[f"127.0.0.1:{port}"]) as lb:
        with httpx.Client(base_url=f"http://127.0.0.1:{lb.address[1]}") as client:
            took = []
            for _ in range(60):
                began = time.perf_counter()
                assert client.get("/").text == "ok"
                took.append(time.perf_counter() - began)
        assert sorted(took)[30] < 0.03 * SLOWER, "the median waited for a delayed acknowledgement"
