"""The backend's side: registers, beats, heals after a restart of the balancer, says goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from harness import PATIENCE_S, Peer, balanced, command, dial, free_port, named, read_all, read_exactly, stays, wait_for

from lbcore import ConfigError, Registration
from lbcore.config.settings import (
    AdminSettings,
    BalancerSettings,
    LeaseSettings,
    ListenerSettings,
    PoolSettings,
    ProbeSettings,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from lbcore.api.balancer import Balancer


def settings(admin: str = "127.0.0.1:0", token: str | None = None) -> BalancerSettings:
    """A balancer that wants a heartbeat every 100 ms."""
    return BalancerSettings(
        workers=1,
        drain_timeout="1s",
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(probe=ProbeSettings(kind="off"), lease=LeaseSettings(heartbeat="100ms", missed=4))],
        admin=AdminSettings(listen=admin, token=token),
    )


def test_a_backend_is_there_as_long_as_it_says_so() -> None:
    with Peer(named(b"hi")) as peer, balanced(settings=settings()) as lb:
        with Registration(lb.admin_address, peer.port, load=lambda: 0.25, weight=5) as registration:
            assert registration.wait(PATIENCE_S)
            backend = lb.pool().backends()[0]
            assert (backend.address, backend.weight, backend.source) == (peer.address, 5, "lease")
            until = time.monotonic() + 1
            while time.monotonic() < until:  # more than two leases long
                with dial(lb.address) as client:
                    assert read_exactly(client, 2) == b"hi"
            assert backend._row.load == 0.25
        assert lb.pool().backends() == []


def test_what_it_says_of_itself() -> None:
    with balanced(settings=settings()) as lb, Registration(lb.admin_address, free_port()) as registration:
        assert registration.wait(PATIENCE_S)
        backend = lb.pool().backends()[0]
        registration.busy(30)
        wait_for(lambda: backend.state == "busy", "busy is heard at once")
        registration.ready()
        wait_for(lambda: backend.state == "up", "ready is heard at once")
        registration.draining()
        wait_for(lambda: backend.state == "draining", "draining is heard at once")


def test_a_balancer_that_restarts_gets_its_backends_back() -> None:
    port = free_port()
    with Registration(f"http://127.0.0.1:{port}", free_port()) as registration:
        for _ in range(2):
            with balanced(settings=settings(f"127.0.0.1:{port}")) as lb:
                wait_for(lambda lb=lb: lb.pool().backends(), "it registers")
                wait_for(registration.wait, "it knows")


def test_a_load_function_that_fails_does_no_harm() -> None:
    def broken() -> float:
        raise RuntimeError("no sensor")

    lines: list[str] = []
    with balanced(settings=settings()) as lb:
        with Registration(lb.admin_address, free_port(), load=broken, log=lines.append) as registration:
            assert registration.wait(PATIENCE_S)
            assert "no sensor" in lines[0]


def test_token() -> None:
    lines: list[str] = []
    with balanced(settings=settings(token="open sesame")) as lb:
        with Registration(lb.admin_address, free_port(), log=lines.append) as stranger:
            wait_for(lambda: lines, "it is refused")
            assert "401" in lines[0]
            assert not stranger.wait(0)
        with Registration(lb.admin_address, free_port(), token="open sesame") as friend:
            assert friend.wait(PATIENCE_S)


def test_unix_socket(tmp_path: Path) -> None:
    with balanced(settings=settings(f"unix:{tmp_path}/a.sock")) as lb:
        with Registration(lb.admin_address, free_port()) as registration:
            assert registration.wait(PATIENCE_S)


def test_in_an_asgi_lifespan() -> None:
    async def lifespan(address: str) -> int:
        async with Registration(address, free_port()) as registration:
            await asyncio.to_thread(registration.wait, PATIENCE_S)
            return len(lb.pool().backends())

    with balanced(settings=settings()) as lb:
        assert asyncio.run(lifespan(str(lb.admin_address))) == 1
        assert lb.pool().backends() == []


@pytest.mark.parametrize("wrong", [{"lb": "ftp://x"}, {"lb": "http://"}, {"lb": "http://a:b"}, {"port": 0}, {"interval": 0}])
def test_wrong_arguments_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong)))):
        Registration(**({"lb": "http://127.0.0.1:1", "port": 80} | wrong))


def test_register_command_passes_signals_and_the_exit_code(tmp_path: Path) -> None:
    child = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0", "--health", "off") as lb:
        register = [sys.executable, "-m", "lbcore", "register", "--lb", lb.admin, "--port", "4000", "--health", "off", "--"]
        process = subprocess.Popen([*register, sys.executable, "-c", child], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        wait_for(lambda: lb.status()["pools"][0]["backends"], "it registers")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 7
        process.stdout.close()
        wait_for(lambda: not lb.status()["pools"][0]["backends"], "it has gone")
        missing = subprocess.run([*register, "/no/such/program"], capture_output=True, text=True, timeout=30)
        assert missing.returncode == 2
        assert missing.stderr.startswith("lbcore: command: '/no/such/program'")


REGISTERS_ITSELF = """
import os, lbcore
registration = lbcore.Registration(os.environ["LB"], int(os.environ["PORT"]))
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            if event == "lifespan.startup": registration.start()
            else: registration.stop()
            await send({"type": event + ".complete"})
            if event.endswith("shutdown"): return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@contextlib.contextmanager
def uvicorns(lb: Balancer, directory: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers that register themselves with the balancer."""
    (directory / "app.py").write_text(REGISTERS_ITSELF)
    line = [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "error", "--port"]
    with contextlib.ExitStack() as stack:
        servers = []
        for port in (free_port() for _ in range(count)):
            env = {**os.environ, "LB": str(lb.admin_address), "PORT": str(port)}
            servers.append(stack.enter_context(subprocess.Popen([*line, str(port)], cwd=directory, env=env)))
            stack.callback(servers[-1].kill)
        yield servers


def answers_ok(lb: Balancer, times: int) -> None:
    """So many requests, each on a connection of its own."""
    for _ in range(times):
        with dial(lb.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = read_all(client)
            assert answer.endswith(b"ok"), answer


def test_uvicorn_backends_come_and_go_under_load(tmp_path: Path) -> None:
    """Real servers that register themselves; one is killed. No request fails where a healthy backend exists."""
    probe = ProbeSettings(kind="http", path="/", interval="200ms", fall=2)
    rules = settings().replace(pools=[PoolSettings(probe=probe, lease=LeaseSettings(heartbeat="200ms", missed=3))])
    with balanced(settings=rules) as lb, uvicorns(lb, tmp_path, 3) as servers:
        wait_for(lambda: sum(entry.state == "up" for entry in lb.pool().backends()) == 3, "all are up", 30)
        answers_ok(lb, 100)
        servers[0].kill()
        servers[0].wait()
        answers_ok(lb, 200)
        wait_for(lambda: len(lb.pool().backends()) == 2, "its lease ends")
        servers[1].terminate()
        servers[1].wait(PATIENCE_S)
        answers_ok(lb, 100)
        assert len(lb.pool().backends()) == 1


# --- several balancers ----------------------------------------------------------------------------------------------------


def test_several_balancers_are_registered_with_each_on_its_own() -> None:
    """One that is dead, and one that accepts and never answers, hold up nobody."""

    def silent(connection: socket.socket) -> None:
        connection.recv(65536)
        over.wait(3)

    over = threading.Event()
    with Peer(silent) as stuck, balanced(settings=settings()) as one, balanced(settings=settings()) as two:
        assert one.admin_address
        assert two.admin_address
        dead = f"http://127.0.0.1:{free_port()}"
        addresses = [dead, f"http://{stuck.address}", one.admin_address, two.admin_address]
        with Registration(addresses, free_port()) as registration:
            assert registration.wait(PATIENCE_S)
            wait_for(lambda: one.pool().backends() and two.pool().backends(), "both know it", 2)
            assert not registration.wait(0.1, all=True)
            assert set(registration.answers) == set(addresses)
            assert registration.answers[dead] == {}
            registration.busy(30)
            wait_for(lambda: one.pool().backends()[0].state == two.pool().backends()[0].state == "busy", "both hear it")
            over.set()
        assert one.pool().backends() == two.pool().backends() == []


def test_wrong_lists_of_balancers_are_named() -> None:
    for wrong in ([], ["http://a:1", "http://a:1"], [f"http://a:{port}" for port in range(1, 18)]):
        with pytest.raises(ConfigError, match="lb: "):
            Registration(wrong, 80)


def test_figures_may_be_functions_and_the_key_signs() -> None:
    key = "sixteen bytes of key"
    rules = settings()
    lease = LeaseSettings(heartbeat="100ms", missed=4, hmac_key=key)
    with balanced(settings=rules.replace(pools=[rules.pools[0].replace(lease=lease)])) as lb:
        lines: list[str] = []
        with Registration(lb.admin_address, free_port(), log=lines.append):
            wait_for(lambda: any("not signed" in line for line in lines), "it is refused")
        assert len(lines) == 1  # once, not each time
        figures = {"weight": lambda: 9, "in_flight": lambda: 4, "hmac_key": key}
        with Registration(lb.admin_address, free_port(), **figures) as registration:
            assert registration.wait(PATIENCE_S)
            backend = lb.pool().backends()[0]
            assert backend.weight == 9
            assert backend._row.elsewhere == 4


def test_stop_waits_for_the_drain() -> None:
    with balanced(settings=settings()) as lb:
        registration = Registration(lb.admin_address, free_port()).start()
        assert registration.wait(PATIENCE_S)
        pick = lb.pool().pick()
        threading.Timer(0.5, pick.release).start()
        began = time.monotonic()
        assert registration.stop(drain_timeout=10)
        assert 0.4 < time.monotonic() - began < 5


def test_a_child_of_a_fork_does_not_say_goodbye() -> None:
    with balanced(settings=settings()) as lb, Registration(lb.admin_address, free_port()) as registration:
        assert registration.wait(PATIENCE_S)
        child = os.fork()
        if not child:
            registration.stop()
            os._exit(0)
        os.waitpid(child, 0)
        stays(lambda: len(lb.pool().backends()) == 1, "it is registered", 0.3)


# --- the sidecar -----------------------------------------------------------------------------------------------------------

SERVER = """
import http.server, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path.partition("=")[2] or 0))
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
time.sleep(float(sys.argv[2]))
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
server.serve_forever()
"""


def sidecar(lb: Balancer, port: int, *options: str, delay: float = 0) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "lbcore", "register", "--lb", str(lb.admin_address), "--port", str(port), *options, "--"]
    return subprocess.Popen([*words, sys.executable, "-c", SERVER, str(port), str(delay)], stderr=subprocess.PIPE)


def test_sidecar_registers_when_the_command_listens() -> None:
    port = free_port()
    with balanced(settings=settings()) as lb, sidecar(lb, port, delay=1.5) as process:
        stays(lambda: lb.pool().backends() == [], "nothing listens yet", 1)
        backend = wait_for(lambda: lb.pool().backends(), "it registers")[0]
        assert backend.address == f"127.0.0.1:{port}"
        process.terminate()
        assert process.wait(PATIENCE_S) == 7
        assert lb.pool().backends() == []


def test_sidecar_drains_before_the_command_hears_of_the_signal() -> None:
    port = free_port()
    with balanced(settings=settings()) as lb, sidecar(lb, port) as process:
        wait_for(lambda: lb.pool().backends(), "it registers")
        with dial(lb.address) as client:
            client.sendall(b"GET /?=0.8 HTTP/1.0\r\n\r\n")
            wait_for(lambda: lb.status()["pools"][0]["backends"][0]["active"], "a request is under way")
            process.terminate()
            assert read_all(client).endswith(b"ok")
        assert process.wait(PATIENCE_S) == 7


def test_sidecar_passes_a_second_signal_on_at_once() -> None:
    port = free_port()
    with balanced(settings=settings()) as lb, sidecar(lb, port) as process:
        wait_for(lambda: lb.pool().backends(), "it registers")
        pick = lb.pool().pick()
        process.terminate()
        wait_for(lambda: not lb.pool().backends(), "it says goodbye")
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE_S) == 7
        pick.release()


def test_sidecar_gives_up_on_a_command_that_never_serves() -> None:
    with balanced(settings=settings()) as lb, sidecar(lb, free_port(), "--start-timeout", "0.5", delay=60) as process:
        assert process.wait(PATIENCE_S) == 1
        assert process.stderr is not None
        assert b"does not serve within 0.5 s" in process.stderr.read()
        assert lb.pool().backends() == []


def test_sidecar_of_a_command_that_dies_says_goodbye_at_once() -> None:
    port = free_port()
    with balanced(settings=settings()) as lb, sidecar(lb, port, "--health", "/") as process:
        wait_for(lambda: lb.pool().backends(), "it registers")
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        assert process.wait(PATIENCE_S) == 128 + 9
        assert lb.pool().backends() == []
