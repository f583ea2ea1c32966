"""Beside the programs that people use: nginx, HAProxy, curl, uvicorn."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from harness import PATIENCE_S, SLOWER, balanced, command, dial, free_port, settled, totals, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def needs(program: str) -> pytest.MarkDecorator:
    """Skip, by name, where a program is missing."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    return pytest.mark.skipif(found is None, reason=f"{program} is not installed")


@contextlib.contextmanager
def running(line: list[str], port: int, cwd: Path) -> Iterator[None]:
    """A server process that listens on a port."""
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    process = subprocess.Popen(line, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with contextlib.suppress(OSError):
            dial(("127.0.0.1", port)).close()
            return True
        return False

    try:
        wait_for(listens, f"{line[0]} listens", 30)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def nginx(tmp_path: Path) -> Iterator[int]:
    """nginx serving a file of 30 MB and a short answer: its port."""
    port = free_port()
    (tmp_path / "big").write_bytes(os.urandom(30_000_000))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
        "events { worker_connections 2000; }\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location = /short {{ return 200 'ok'; }} location / {{ root {tmp_path}; }} }} }}\n"
    )
    with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port, tmp_path):
        yield port


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
