"""What ends while clients keep asking costs no call: an upgrade of lbcore, a drained backend, servers that stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from grpc_calls import channel
from grpc_servers import GrpcServer
from harness import PATIENCE_S, command, free_port, wait_for
from http_balancers import backend_of, figure, http
from orphans import words
from real_peers import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lbcore import Balancer


class Asking:
    """Threads that ask again and again until the block ends; `.good` counts, `.bad` has what failed."""

    def __init__(self, *asks: Callable[[], contextlib.AbstractContextManager[Callable[[], Any]]]) -> None:
        self.good = 0
        self.bad: list[str] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(ask,)) for ask in asks]

    def _run(self, ask: Callable[[], contextlib.AbstractContextManager[Callable[[], Any]]]) -> None:
        with ask() as once:
            while not self._over.is_set():
                try:
                    once()
                except Exception as error:
                    self.bad.append(f"{type(error).__name__}: {error}")
                with self._lock:
                    self.good += 1

    def flows(self, more: int = 200) -> None:
        """Wait until so many more have been asked."""
        target = self.good + more
        wait_for(lambda: self.good >= target, "clients go on asking", 30)

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        self.flows()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def grpcio(address: str, *, retries: int = 0) -> Callable[[], contextlib.AbstractContextManager[Callable[[], Any]]]:

    @contextlib.contextmanager
    def ask() -> Iterator[Callable[[], Any]]:
        with channel(address, retries=retries) as made:
            name = made.unary_unary("/a.B/Name")
            yield lambda: name(b"hi", timeout=20)

    return ask


def httpx2(address: str, method: str = "POST") -> Callable[[], contextlib.AbstractContextManager[Callable[[], Any]]]:
    """A client of httpx2. What it posts, nobody may repeat unasked."""
    library = pytest.importorskip("httpx2")

    @contextlib.contextmanager
    def ask() -> Iterator[Callable[[], Any]]:
        with library.Client(http2=True, http1=False, timeout=20) as client:
            yield lambda: client.request(method, f"http://{address}/").raise_for_status()

    return ask


def at(lb: Balancer) -> str:
    return f"{lb.address[0]}:{lb.address[1]}"


# --- lbcore ends -----------------------------------------------------------------------------------------------------------


def test_an_upgrade_under_grpcio(tmp_path: Path) -> None:
    """Its retries are on, as by default: without them, a call that has not begun when GOAWAY comes fails within the client."""
    pytest.importorskip("grpc")
    with GrpcServer("one") as server:
        with command(tmp_path, *words(f"http://127.0.0.1:{free_port()}", server.address)) as running:
            address = f"{running.address[0]}:{running.address[1]}"
            with Asking(*(grpcio(address, retries=1) for _ in range(4))) as asking:
                done = running.cli("upgrade", "--name", "shop")
                assert done.returncode == 0, done.stdout + done.stderr
                asking.flows()
            assert asking.bad == []


def test_an_upgrade_under_httpx2(tmp_path: Path) -> None:
    """GOAWAY at a moment without streams: requests under way die with it in httpx2 2.16.2."""
    pytest.importorskip("httpx2")
    with hypercorns(tmp_path, 1) as (one,):
        with command(tmp_path, *words(f"http://127.0.0.1:{free_port()}", one.address)) as running:
            address = f"{running.address[0]}:{running.address[1]}"
            with Asking(*(httpx2(address) for _ in range(3))) as asking:
                done = running.cli("upgrade", "--name", "shop")
                assert done.returncode == 0, done.stdout + done.stderr
                asking.flows()
            assert asking.bad == []


# --- a backend ends ---------------------------------------------------------------------------------------------------------


def test_a_drained_backend_empties_under_grpcio() -> None:
    pytest.importorskip("grpc")
    with GrpcServer("a") as one, GrpcServer("b") as two, http(one.address, two.address) as lb:
        with Asking(*(grpcio(at(lb)) for _ in range(4))) as asking:
            held = lb.pool().get(one.address)
            assert held
            held.drain()
            wait_for(lambda: backend_of(lb, one.address)["active"] == 0, "nothing is under way there")
            before = backend_of(lb, one.address)["sessions"]
            asking.flows()
            assert backend_of(lb, one.address)["sessions"] == before
        assert asking.bad == []


APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-version", scope["http_version"].encode())]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
LINES = {
    "hypercorn": ("hypercorn", "-b", "127.0.0.1:{port}", "app:app"),
    "granian": ("granian", "--interface", "asgi", "--http", "2", "--host", "127.0.0.1", "--port", "{port}", "app:app"),
}


class AsgiServer:
    """A server of ASGI on a port of its own, that takes HTTP/2."""

    def __init__(self, directory: Path, name: str) -> None:
        (directory / "app.py").write_text(APP)
        port = free_port()
        self.address: str = f"127.0.0.1:{port}"
        line = [sys.executable, "-m", *(word.format(port=port) for word in LINES[name])]
        self._process = subprocess.Popen(
            line, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_for(lambda: listening(port), f"{name} listens", 30)

    def stop(self) -> None:
        """As an operator does."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Whatever it does, and with the workers that it may have left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)


@contextlib.contextmanager
def servers(directory: Path, name: str, count: int) -> Iterator[list[AsgiServer]]:
    pytest.importorskip(name)
    made: list[AsgiServer] = []
    try:
        made.extend(AsgiServer(directory, name) for _ in range(count))
        yield made
    finally:
        for server in made:
            server.end()


def hypercorns(directory: Path, count: int) -> contextlib.AbstractContextManager[list[AsgiServer]]:
    return servers(directory, "hypercorn", count)


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_a_server_stops_under_httpx2(name: str, tmp_path: Path) -> None:
    """hypercorn 0.18.0 says MAX_CONCURRENT_STREAMS=0 and resets new streams with NO_ERROR. Without streams it closes, which
    may meet a request: only what may be repeated is safe. granian 2.8.7 says GOAWAY twice."""
    pytest.importorskip("httpx2")
    with servers(tmp_path, name, 2) as (one, two), http(one.address, two.address, protocol="h2", retries=3) as lb:
        with Asking(*(httpx2(at(lb), "GET") for _ in range(4))) as asking:
            one.stop()
            asking.flows(400)
        assert asking.bad == []
        assert figure(lb, "requests_done") >= asking.good
