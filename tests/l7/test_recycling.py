"""Real servers whose processes share an address and are recycled under load, each with a registration of its own."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, check_ledger, dial, free_port, settled, wait_for
from servers.group import Group

from lbcore import Balancer
from lbcore.config.settings import AdminSettings, BalancerSettings, LeaseSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    from pathlib import Path

ASGI = """
import os, lbcore
registration = lbcore.Registration(os.environ["LB"], int(os.environ["PORT"]), interval=0.2)
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            if event == "lifespan.startup": await registration.__aenter__()
            else: await registration.__aexit__(None, None, None)
            await send({"type": event + ".complete"})
            if event.endswith("shutdown"): return
    body = b"pid=%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
WSGI = """
import os
def app(environ, start_response):
    body = b"pid=%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
HOOKS = """
import os, lbcore
def post_worker_init(worker):
    worker.registration = lbcore.Registration(os.environ["LB"], int(os.environ["PORT"]), interval=0.2).start()
def worker_exit(server, worker):
    worker.registration.stop()
"""
UVICORN = ["-m", "uvicorn", "asgi:app", "--workers", "2", "--limit-max-requests", "60", "--log-level", "error"]
GUNICORN = ["-m", "gunicorn", "wsgi:app", "-c", "hooks.py", "--workers", "2", "--max-requests", "60", "--log-level", "error"]


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "gunicorn gthread"])
def test_no_request_fails_while_a_real_server_recycles_its_workers(tmp_path: Path, server: str) -> None:
    pytest.importorskip(server.split()[0])
    for name, text in (("asgi.py", ASGI), ("wsgi.py", WSGI), ("hooks.py", HOOKS)):
        (tmp_path / name).write_text(text)
    port = free_port()
    arguments = [*UVICORN, "--port", str(port)] if server == "uvicorn" else [*GUNICORN, "--bind", f"127.0.0.1:{port}"]
    if server.endswith("gthread"):
        arguments += ["--worker-class", "gthread", "--threads", "4"]
    rules = BalancerSettings(
        workers=1,
        admin=AdminSettings(listen="127.0.0.1:0"),
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        pools=[
            PoolSettings(
                probe=ProbeSettings(kind="off"),
                lease=LeaseSettings(heartbeat="300ms", missed=20),
                queue=64,  # all processes may be recycled at the same time
                queue_timeout="60s",
            )
        ],
    )
    with Balancer(settings=rules) as lb:
        with Group([sys.executable, *arguments], tmp_path, {"LB": str(lb.admin_address), "PORT": str(port)}) as served:
            wait_for(lambda: [entry.state for entry in lb.pool().backends()] == ["up"], "it is there", PATIENCE_S * 3)
            processes, failed = ask_until_recycled(lb, 4)
            assert not failed, (failed, served.said())
            assert len(processes) >= 4
            assert [entry.state for entry in lb.pool().backends()] == ["up"]
            served.terminate()
            served.process.wait(PATIENCE_S * SLOWER)
            wait_for(lambda: not lb.pool().backends(), "the last one's goodbye takes it out")
            check_ledger(settled(lb))


def ask_until_recycled(lb: Balancer, count: int) -> tuple[set[bytes], list[bytes | str]]:
    """Four clients ask until so many processes have answered. Returns those, and what was no good answer."""
    processes, failed, done = set[bytes](), list[bytes | str](), threading.Event()

    def ask() -> None:
        while not done.is_set() and not failed:
            try:
                with dial(lb.address) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while piece := client.recv(4096):
                        answer += piece
            except OSError as error:
                answer = repr(error).encode()
            head, _, body = answer.rpartition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200") and body.startswith(b"pid="):
                processes.add(body)
            else:
                failed.append(answer)

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        wait_for(lambda: failed or len(processes) >= count, "its workers are recycled", PATIENCE_S * SLOWER * 3)
    finally:
        done.set()
        for client in clients:
            client.join(PATIENCE_S)
    return processes, failed
