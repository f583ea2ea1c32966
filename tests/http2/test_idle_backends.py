"""Backends that end idle connections of HTTP/2: how long they keep them is learned, and no call is lost to it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call, h2
from h2_frames import GOAWAY, H2Client
from harness import free_port, wait_for
from http_balancers import POST, http
from http_peers import Client
from real_peers import running

if TYPE_CHECKING:
    from pathlib import Path

KEPT_S = 0.6


def impatient(call: Call) -> None:
    """Answer, and end the connection by a bare FIN when nothing has come for a while, as hypercorn 0.18.0 does after 5 s."""
    call.talk.sock.settimeout(KEPT_S)
    answer_call(call)


def test_it_is_learned_from_the_first_end() -> None:
    """From then on the balancer ends them itself, with GOAWAY, after half of that time."""
    with H2Backend(impatient) as backend, h2(backend) as lb, Client(lb.address) as client:
        client.send(POST)
        assert client.answer().status == 200
        wait_for(lambda: backend.talks[0].over.is_set(), "the backend has ended it")
        assert not backend.all_of(GOAWAY)

        def ends_first() -> bool:
            client.send(POST)
            assert client.answer().status == 200
            talk = backend.talks[-1]
            assert talk.over.wait(10)
            return bool(backend.all_of(GOAWAY))

        wait_for(ends_first, "the balancer ends one before its backend does", 20)


@pytest.mark.parametrize("kind", ["post", "call"])
def test_calls_about_that_time_are_not_lost(kind: str) -> None:
    """None may be repeated; each comes when the backend would end the connection."""
    with H2Backend(impatient) as backend, h2(backend, repeat_calls="refused") as lb, H2Client(lb.address) as client:
        for number, wait_s in enumerate((0.0, 1.2, 0.3, 0.5, 0.6, 0.59, 0.61)):
            time.sleep(KEPT_S * wait_s)
            stream = 2 * number + 1
            client.ask(stream, "/a.B/C", *(CALL if kind == "call" else ()), method="POST", body=MESSAGE)
            assert client.response(stream).status == "200"


APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_hypercorn_ends_idle_connections(tmp_path: Path) -> None:
    pytest.importorskip("hypercorn")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "settings.py").write_text(f"keep_alive_timeout = {KEPT_S}\n")
    port = free_port()
    line = [sys.executable, "-m", "hypercorn", "-c", "file:settings.py", "-b", f"127.0.0.1:{port}", "app:app"]
    with (
        running(line, port, tmp_path),
        http(f"127.0.0.1:{port}", protocol="h2") as lb,
        Client(lb.address) as client,
    ):
        for wait_s in (0.0, 1.3, 0.4, 0.5, 0.6):
            time.sleep(KEPT_S * wait_s)
            client.send(POST)
            assert client.answer().status == 200
