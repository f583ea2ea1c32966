"""HTTP beside real programs: uvicorn, gunicorn and nginx behind it; curl, httpx, aiohttp and websockets in front."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
from harness import SLOWER, command, free_port, settled, totals, wait_for
from http_balancers import OFF, figure, http
from real_peers import needs, nginx, running
from wsgi_servers import APP, gunicorn

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def uvicorn(tmp_path: Path, *options: str) -> Iterator[str]:
    """uvicorn with the app above: its address."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    line = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "error", *options]
    with running(line, port, tmp_path):
        yield f"127.0.0.1:{port}"


def url_of(lb: object) -> str:
    """http://HOST:PORT."""
    host, port = lb.address  # type: ignore[attr-defined]
    return f"http://{host}:{port}"


def test_httpx_before_uvicorn(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    with uvicorn(tmp_path) as address, http(address) as lb, httpx.Client(base_url=url_of(lb)) as client:
        seen = client.get("/x", headers={"X-Custom": "1"}).json()
        assert seen["x-custom"] == "1"
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert seen["via"] == "1.1 lbcore"
        for _ in range(3):
            assert client.post("/", content=content).json()["sum"] == hashlib.sha256(content).hexdigest()
        pieces = (content[at : at + 100_000] for at in range(0, len(content), 100_000))
        assert client.put("/", content=pieces).json()["size"] == len(content)
        assert client.head("/").status_code == 200


def test_tokens_stream_through_one_by_one(tmp_path: Path) -> None:
    with uvicorn(tmp_path) as address, http(address) as lb, httpx.Client(base_url=url_of(lb)) as client:
        arrivals = []
        with client.stream("GET", "/stream") as answer:
            for line in answer.iter_lines():
                arrivals.append((line, time.monotonic()))
        assert [line for line, _ in arrivals] == [f"token {number}" for number in range(5)]
        assert arrivals[-1][1] - arrivals[0][1] > 0.3, "tokens came at once"


def test_uvicorn_answers_in_no_time(tmp_path: Path) -> None:
    """Kludex/uvicorn #3149, as in test_real_peers."""
    options = ("--workers", "2", "--loop", "asyncio", "--http", "h11")
    with uvicorn(tmp_path, *options) as address, http(address) as lb, httpx.Client(base_url=url_of(lb)) as client:
        took = []
        for _ in range(60):
            began = time.perf_counter()
            assert client.get("/").status_code == 200
            took.append(time.perf_counter() - began)
        assert sorted(took)[30] < 0.03 * SLOWER


def test_gunicorn_sync_and_threads(tmp_path: Path) -> None:
    for options in (("--workers", "2"), ("--threads", "2", "--keep-alive", "2")):
        with gunicorn(tmp_path, *options) as address, http(address) as lb, httpx.Client(base_url=url_of(lb)) as client:
            for size in (0, 10, 200_000):
                assert client.post("/", content=b"x" * size).json() == {"size": size, "for": "127.0.0.1"}
            for _ in range(20):
                assert client.get("/").status_code == 200


@needs("nginx")
@needs("curl")
@pytest.mark.parametrize("datapath", ["auto", "copy", "splice"])
def test_curl_before_nginx(tmp_path: Path, datapath: str) -> None:
    with nginx(tmp_path) as port, http(f"127.0.0.1:{port}", top={"datapath": datapath}) as lb:
        url = f"{url_of(lb)}/big"
        for extra in ((), ("--http1.0",), ("-H", "Connection: close")):
            done = subprocess.run(["curl", "-sS", *extra, url, url], capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr
            want = hashlib.sha256((tmp_path / "big").read_bytes() * 2).digest()
            assert hashlib.sha256(done.stdout).digest() == want
        ranged = subprocess.run(["curl", "-sS", "-r", "5-9", url], capture_output=True, timeout=60)
        assert ranged.stdout == (tmp_path / "big").read_bytes()[5:10]
        headers = subprocess.run(["curl", "-sSI", url], capture_output=True, text=True, timeout=60).stdout
        assert "Content-Length: 30000000" in headers


@needs("nginx")
def test_aiohttp_with_many_at_once(tmp_path: Path) -> None:
    async def load(url: str) -> set[str]:
        async with aiohttp.ClientSession() as session:

            async def one() -> str:
                async with session.get(f"{url}/short") as answer:
                    assert answer.status == 200
                    return await answer.text()

            return set(await asyncio.gather(*(one() for _ in range(500))))

    with nginx(tmp_path) as port, http(f"127.0.0.1:{port}") as lb:
        assert asyncio.run(load(url_of(lb))) == {"ok"}
        assert figure(lb, "requests_done") == 500
        assert figure(lb, "connects") < 200


def test_websockets_before_uvicorn(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    with uvicorn(tmp_path) as address, http(address) as lb:
        with connect(url_of(lb).replace("http", "ws") + "/socket", max_size=None) as socket:
            for message in ("hello", "x" * 200_000, os.urandom(500_000)):
                socket.send(message)
                assert socket.recv() == message
            assert lb.status()["pools"][0]["backends"][0]["active"] == 1
        wait_for(lambda: lb.status()["pools"][0]["backends"][0]["active"] == 0, "the session is over")


def test_client_that_gives_up_frees_its_backend(tmp_path: Path) -> None:
    with uvicorn(tmp_path, "--timeout-graceful-shutdown", "1") as address, http(address) as lb:
        with httpx.Client(base_url=url_of(lb), timeout=0.3 * SLOWER) as client, pytest.raises(httpx.ReadTimeout):
            client.get("/sleep")
        wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "the exchange is over")
        assert lb.status()["pools"][0]["backends"][0]["active"] == 0


@contextlib.contextmanager
def load_on(url: str, clients: int) -> Iterator[list[int]]:
    """Clients that keep asking over connections that stay: the statuses that they get."""
    statuses: list[int] = []
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=url) as client:
            while not stop.is_set():
                statuses.append(client.get("/short").status_code)

    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@needs("nginx")
def test_a_backend_is_killed_under_http_load_and_nobody_fails(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(nginx(tmp_path / name)) for name in ("1", "2")]
        flags = [word for port in ports for word in ("--backend", f"127.0.0.1:{port}")]
        lb = stack.enter_context(command(tmp_path, "--listen", "http://127.0.0.1:0", "--workers", "2", *flags))
        with load_on(url_of(lb), 4) as statuses:
            wait_for(lambda: len(statuses) > 200, "load flows")
            os.kill(int((tmp_path / "1" / "nginx.pid").read_text()), signal.SIGQUIT)
            wait_for(
                lambda: [entry["state"] for entry in lb.status()["pools"][0]["backends"]].count("down") == 1, "it is out", 20
            )
            seen = len(statuses)
            wait_for(lambda: len(statuses) > seen + 200, "load flows on")
        assert set(statuses) == {200}, totals(settled(lb))


@needs("nginx")
def test_reload_under_http_load_loses_nothing(tmp_path: Path) -> None:
    """Policy, limits and backends change again and again."""
    with contextlib.ExitStack() as stack:
        (tmp_path / "1").mkdir()
        (tmp_path / "2").mkdir()
        one, two = (f"127.0.0.1:{stack.enter_context(nginx(tmp_path / name))}" for name in ("1", "2"))
        lb = stack.enter_context(http(one))
        port = lb.address[1]
        with load_on(url_of(lb), 3) as statuses:
            for turn in range(12):
                pools = [PoolSettings(probe=OFF, backends=[(one, two)[turn % 2]], policy=("p2c", "maglev", "ewma")[turn % 3])]
                listeners = [ListenerSettings(bind="http://127.0.0.1:0", max_headers=50 + turn)]
                lb.reload(BalancerSettings(workers=1, drain_timeout="2s", listeners=listeners, pools=pools))
                seen = len(statuses)
                wait_for(lambda before=seen: len(statuses) > before + 30, "load flows")  # type: ignore[misc]
        assert set(statuses) == {200}, totals(settled(lb))
        assert lb.address[1] == port
        assert figure(lb, "accepted") == 3
