"""Probes against real servers: up, refusing, silent, answering wrongly, and coming back."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from harness import SLOWER, Peer, balanced, black_hole, dial, echo, free_port, named, read_exactly, wait_for

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings(backends: list[str], **probe: object) -> BalancerSettings:
    """Quick probes."""
    rules = {"kind": "tcp", "interval": "60ms", "timeout": "100ms", "rise": 2, "fall": 2} | probe
    pool = PoolSettings(backends=backends, probe=ProbeSettings(**rules), max_connect_failures=0)
    return BalancerSettings(workers=1, listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")], pools=[pool])


class Web:
    """An HTTP server whose /health answers as told: a status, or silence."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.hosts: list[str | None] = []
        self.over = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.hosts.append(self.headers["Host"])
                if web.status is None:
                    web.over.wait(1)
                    return
                self.send_response(web.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.close()


def test_refusing_backend_goes_down_and_comes_back() -> None:
    port = free_port()
    with Peer(echo) as peer, balanced(settings=settings([f"127.0.0.1:{port}", peer.address])) as lb:
        dead = lb.pool().get(f"127.0.0.1:{port}")
        wait_for(lambda: dead.state == "down", "probes take it out")
        assert "probes failed: connection refused" in dead.reason
        assert lb.pool().get(peer.address).state == "up"
        with Peer(echo, port=port):
            wait_for(lambda: dead.state == "up", "probes bring it back")


def test_silent_backend_times_out() -> None:
    with black_hole() as hole, Peer(echo) as peer, balanced(settings=settings([hole, peer.address])) as lb:
        wait_for(lambda: lb.pool().get(hole).state == "down", "probes take it out")
        assert "timed out after 0.1s" in lb.pool().get(hole).reason


@pytest.mark.parametrize(("status", "reason"), [(503, "status 503"), (404, "status 404"), (None, "timed out after 0.1s")])
def test_http_probe_wants_a_good_status_in_time(web: Web, status: int | None, reason: str) -> None:
    with Peer(echo) as other:
        rules = settings([web.address], kind="http")
        with balanced(settings=rules) as lb:
            backend = lb.pool().get(web.address)
            wait_for(lambda: backend.reason == "probes succeed", "it is probed")
            assert web.hosts[0] == web.address
            lb.pool().add(other.address)  # speaks no HTTP, but is up until probes say so: the floor stays out of this
            web.status = status
            wait_for(lambda: reason in backend.reason, "the failure is named")
            web.status = 204
            wait_for(lambda: backend.reason == "probes succeed", "it is back")


def test_http_probe_of_something_else() -> None:
    with Peer(named(b"SSH-2.0-x\r\n")) as wrong, balanced(settings=settings([wrong.address], kind="http")) as lb:
        wait_for(lambda: "no HTTP response" in lb.pool().backends()[0].reason, "it is named")


def test_probe_on_another_port(web: Web) -> None:
    port = int(web.address.rpartition(":")[2])
    with Peer(echo) as peer, balanced(settings=settings([peer.address], kind="http", port=port)) as lb:
        wait_for(lambda: lb.pool().backends()[0].reason == "probes succeed", "the other port answers")
        assert peer.connections == 0


def test_one_failed_probe_does_not_eject(web: Web) -> None:
    with balanced(settings=settings([web.address], kind="http", fall=5)) as lb:
        backend = lb.pool().backends()[0]
        wait_for(lambda: backend.reason == "probes succeed", "it is probed")
        web.status = 500
        before = len(web.hosts)
        wait_for(lambda: len(web.hosts) > before + 1, "two probes fail")
        assert backend.state == "up"
        web.status = 200


def test_backend_killed_under_traffic_fails_nobody_for_long() -> None:
    """With probes and connect failures both at work, clients of the rest never notice."""
    with Peer(named(b"ok")) as good:
        bad = Peer(named(b"ok"))
        with balanced(settings=settings([good.address, bad.address])) as lb:
            bad.close()
            for _ in range(100):
                with dial(lb.address) as client:
                    assert read_exactly(client, 2) == b"ok"
            wait_for(lambda: lb.pool().get(bad.address).state == "down", "it is out")


def test_probes_of_many_backends_are_spread_and_bounded() -> None:
    with Peer(echo) as peer:
        rules = settings([f"127.0.{number}.1:{peer.port}" for number in range(60)], interval="200ms", timeout="5s")
        with socket.socket() as everywhere:
            everywhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            everywhere.bind(("0.0.0.0", 0))
            everywhere.listen(1000)
            port = everywhere.getsockname()[1]
            pool = rules.pools[0].replace(backends=[f"127.0.{number}.1:{port}" for number in range(60)])
            with balanced(settings=rules.replace(pools=[pool])) as lb:
                wait_for(
                    lambda: all(entry.reason == "probes succeed" for entry in lb.pool().backends()),
                    "all are probed",
                    5 * SLOWER,
                )
