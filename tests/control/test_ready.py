"""lbcore ready: an exit status for check scripts that cannot be taken for good when something is wrong; and ready_when."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import SLOWER, Command, Peer, command, named, wait_for

from lbcore.api.readiness import lack_of_backends, lack_of_workers
from lbcore.cli import ready
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
name = "shop"
workers = 2
ready_when = "{when}"
worker_timeout = "1h"
drain_delay = "{delay}"
[[listener]]
bind = "tcp://127.0.0.1:0"
pool = "app"
[[listener]]
bind = "tcp://127.0.0.1:0"
pool = "empty"
[[pool]]
name = "app"
probe.kind = "off"
[[pool.backend]]
address = "{backend}"
[[pool]]
name = "empty"
probe.kind = "off"
"""


@pytest.fixture
def backend() -> Iterator[Peer]:
    with Peer(named(b"one")) as peer:
        yield peer


def configured(directory: Path, backend: Peer, when: str = "any", delay: str = "0s") -> Path:
    file = directory / "lb.toml"
    file.write_text(CONFIG.format(when=when, backend=backend.address, delay=delay))
    return file


@contextlib.contextmanager
def serving(directory: Path, backend: Peer, when: str = "any") -> Iterator[Command]:
    """Two workers, one pool with this backend, one without any."""
    words = ["-c", str(configured(directory, backend, when)), "--workers", "2", "--admin", "127.0.0.1:0"]
    with command(directory, *words) as lb:
        yield lb


def asked(lb: Command, *arguments: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    done = lb.cli("ready", *arguments)
    return done.returncode, done.stdout + done.stderr


# --- what it says ---------------------------------------------------------------------------------------------------------


def test_it_says_what_readyz_says_by_name_and_by_address(tmp_path: Path, backend: Peer) -> None:
    with serving(tmp_path, backend) as lb:
        host, _, port = lb.admin.removeprefix("http://").partition(":")
        for arguments in (
            (),
            ("shop",),
            ("--name", "shop"),
            ("--name=shop",),
            ("--admin", lb.admin),
            ("--admin", f"{host}:{port}"),
            ("--admin", f"localhost:{port}"),
            ("--admin", f"unix:{tmp_path}/shop.sock"),
        ):
            assert asked(lb, *arguments) == (0, "ready\n"), arguments
        assert asked(lb, "--quiet") == (0, "")
        assert asked(lb, "other") == (1, "lbcore: not ready: no balancer named 'other' is running\n")
        lb.call("/backends/drain", address=backend.address)
        assert asked(lb) == (1, "lbcore: not ready: no pool has a usable backend\n")
        assert asked(lb, "-q", "shop") == (1, "")
    assert asked(lb) == (1, "lbcore: not ready: no balancer is running\n")


def test_it_says_draining_while_the_balancer_still_accepts(tmp_path: Path, backend: Peer) -> None:
    lb = Command(tmp_path, "-c", str(configured(tmp_path, backend, delay="60s")), "--admin", "off")
    assert asked(lb)[0] == 0
    lb.process.send_signal(signal.SIGTERM)
    wait_for(lambda: asked(lb) == (1, "lbcore: not ready: draining\n"), "it says so")
    with socket.create_connection(lb.address, 10) as client:
        assert client.recv(3) == b"one"
    assert lb.stop() == 0  # the second signal


def test_a_killed_or_stopped_control_plane_is_not_ready(tmp_path: Path, backend: Peer) -> None:
    lb = Command(tmp_path, "-c", str(configured(tmp_path, backend)), "--admin", "off")
    workers = [worker["pid"] for worker in lb.status()["workers"][:2]]
    lb.process.send_signal(signal.SIGSTOP)
    assert asked(lb, "--timeout", "0.2") == (1, "lbcore: not ready: no response within 0.2 s\n")
    lb.process.kill()
    lb.process.wait()
    assert asked(lb, "shop") == (1, "lbcore: not ready: the admin server does not respond: Connection refused\n")
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    assert lb.process.stdout is not None
    lb.process.stdout.close()


def test_without_a_name_several_balancers_are_not_ready(tmp_path: Path, backend: Peer) -> None:
    """Even when one of them has ended without a word: which of the two is meant cannot be told."""
    with serving(tmp_path, backend) as lb:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "old.sock"))
        code, said = asked(lb)
        assert (code, said) == (1, "lbcore: not ready: several balancers have a control socket here: name one of old, shop\n")
        assert asked(lb, "shop")[0] == 0


def test_a_directory_that_somebody_else_made_in_tmp_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory somebody else's")
    open_to_all = tmp_path / "everybody"
    open_to_all.mkdir()
    open_to_all.chmod(0o1777)
    home = open_to_all / "lbcore-0"
    home.mkdir()
    with Peer(lambda client: client.sendall(GOOD)) as peer:
        (home / "shop.sock").symlink_to(peer.address)  # never reached
        os.chown(home, 65534, 65534)
        monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(home))
        assert ready.main("shop") == 1
    assert "no balancer named 'shop'" in capsys.readouterr().err


# --- what cannot be taken for good ----------------------------------------------------------------------------------------

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"ready": true}'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection without a response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no admin server"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "is no admin server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "is no admin server"),
        (b"HTTP/1.1 200 OK\r\n\r\n[true]", "is no admin server"),
        (GOOD[:-1], "cut short"),
        (GOOD[:-10], "cut short"),
        (GOOD.replace(b"true", b'"true"'), "status 200"),
        (GOOD.replace(b"true", b"1"), "status 200"),
        (GOOD.replace(b"200 OK", b"204 No Content"), "status 204"),
        (GOOD.replace(b"200 OK", b"302 Found"), "status 302"),
        (GOOD.replace(b"200 OK", b"2000 OK"), "is no admin server"),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/2"), "is no admin server"),
        (GOOD.replace(b'{"ready": true}', b'{"ready": false, "reason": "draining"}'), "draining"),
        (b'HTTP/1.1 429 Too Many\r\n\r\n{"error": "too many calls"}', "too many calls"),
        (b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ready": true}', "status 503"),
        (b"\0" * (1 << 20), "is no admin server"),
    ],
)
def test_anything_but_a_whole_good_response_is_not_ready(answer: bytes, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(answer)

    with Peer(serve) as peer:
        assert ready.main(admin=peer.address, timeout_s=5) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lbcore: not ready: ")
    assert why in line


def test_a_whole_good_response_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle of the test above."""
    with Peer(lambda client: (client.recv(4096), client.sendall(GOOD))) as peer:  # type: ignore[arg-type, return-value]
        assert ready.main(admin=f"http://{peer.address}/", timeout_s=5) == 0
    assert capsys.readouterr().out == "ready\n"


def test_a_silent_server_or_name_server_takes_no_longer_than_the_time_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with Peer(lambda client: client.recv(4096) and client.recv(1)) as peer:  # type: ignore[arg-type, return-value]
        assert ready.main(admin=peer.address, timeout_s=0.1) == 1
    release = socket.socketpair()
    monkeypatch.setattr(ready, "_connect", lambda host, port: release[0].recv(1))
    assert ready.main(admin="name.example:1", timeout_s=0.1) == 1
    assert time.monotonic() - began < 2 * SLOWER
    assert capsys.readouterr().err == "lbcore: not ready: no response within 0.1 s\n" * 2
    for end in release:
        end.close()


def test_what_nobody_thought_of_is_not_ready(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ready, "_connect", lambda host, port: 1 // 0)
    assert ready.main(admin="127.0.0.1:1") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.setattr(
        ready._thread, "start_new_thread", lambda *_: (_ for _ in ()).throw(RuntimeError("can't start new thread"))
    )
    assert ready.main(admin="127.0.0.1:1") == 1
    assert "can't start new thread" in capsys.readouterr().err


# --- how it is called -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--timeout", "fast"],
        ["--timeout"],
        ["--admin", "nowhere"],
        ["--admin", "https://127.0.0.1:9900"],
        ["--admin", "127.0.0.1:99999"],
        ["--admin", "unix:"],
        ["--admin", "127.0.0.1:9900", "shop"],
        ["--admin", ""],
        ["a", "b"],
        ["--bogus"],
    ],
)
def test_a_wrong_call_is_status_2(arguments: list[str]) -> None:
    assert ready.quickly(arguments) is None
    done = subprocess.run([sys.executable, "-m", "lbcore", "ready", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_the_library_call_says_what_is_wrong_with_an_address() -> None:
    with pytest.raises(ConfigError, match="--admin: 'x' is not allowed"):
        ready.main(admin="x")


def test_it_loads_little(tmp_path: Path, backend: Peer) -> None:
    """Check scripts call it each second: 29 ms, 23 of them Python itself; none of the slow imports."""
    with serving(tmp_path, backend) as lb:
        line = [sys.executable, "-X", "importtime", str(Path(sys.executable).with_name("lbcore")), "ready", "shop"]
        told = subprocess.run(line, env=lb.env, check=True, capture_output=True, text=True)
        imported = {row.rpartition("|")[2].strip() for row in told.stderr.splitlines()}
        assert "lbcore.cli.ready" in imported
        assert not imported & {"typer", "pydantic", "aiohttp", "argparse", "socket", "lbcore._engine", "lbcore.config.options"}


# --- ready_when -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "hanging", "outages", "lack"),
    [
        ("any", [], [], ""),
        ("any", [0], ["a"], ""),
        ("any", [0, 1], [], "every worker hangs"),
        ("any", [], ["a", "b"], "no pool has a usable backend"),
        ("backends", [], [], ""),
        ("backends", [1], [], "workers hang: 1 of 2"),
        ("backends", [], ["a"], "pools without a usable backend: a"),
        ("backends", [], ["a", "b"], "no pool has a usable backend"),
        ("workers", [], ["a", "b"], ""),
        ("workers", [0], [], "workers hang: 0 of 2"),
        ("workers", [0, 1], [], "every worker hangs"),
    ],
)
def test_ready_when(when: str, hanging: list[int], outages: list[str], lack: str) -> None:
    """Of two workers and two pools."""
    assert (lack_of_workers(when, hanging, 2) or lack_of_backends(when, outages, 2)) == lack


def test_ready_when_holds_from_a_reload_on(tmp_path: Path, backend: Peer) -> None:
    with serving(tmp_path, backend) as lb:
        assert asked(lb) == (0, "ready\n")
        configured(tmp_path, backend, "backends")
        assert lb.call("/reload")[0] == 200
        assert asked(lb) == (1, "lbcore: not ready: pools without a usable backend: empty\n")
        code, said = lb.control.call("GET", "/readyz")
        assert (code, said["ready"], said["outage"]) == (503, False, ["empty"])
        configured(tmp_path, backend, "workers")
        assert lb.call("/reload")[0] == 200
        lb.call("/backends/drain", address=backend.address)
        assert asked(lb) == (0, "ready\n")


def test_a_worker_that_hangs_makes_the_balancer_not_ready(tmp_path: Path, backend: Peer) -> None:
    with serving(tmp_path, backend, "workers") as lb:
        pid = lb.status()["workers"][0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_for(lambda: asked(lb) == (1, "lbcore: not ready: workers hang: 0 of 2\n"), "it is noticed")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: asked(lb)[0] == 0, "it turns again")
