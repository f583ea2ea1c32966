"""By what workers serve sockets: io_uring or epoll, as was asked and as the machine allows, and what is said of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from denials import without_rings
from harness import Peer, balanced, command, dial, echo, read_exactly, wait_for
from http_peers import Backend, Client, narrow
from rings import needs_ring
from users import ROOT, filtered

from lbcore import Balancer, ConfigError
from lbcore.control import loops

LISTEN = ("--listen", "tcp://127.0.0.1:0", "--health", "off", "--workers", "1")


def echoes(address: tuple[str, int]) -> None:
    with dial(address) as client:
        client.sendall(b"hello")
        assert read_exactly(client, 5) == b"hello"


def rows(lb: Balancer) -> list[str]:
    return [worker["loop"] for worker in lb.status()["workers"] if worker["state"] == "serving"]


# --- what is chosen, and what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("EPERM", "a seccomp profile or a security module refuses it"),
        ("EACCES", "a seccomp profile or a security module refuses it"),
        ("ENOSYS", "this kernel has none, or a seccomp profile says so"),
        ("EINVAL", "too old"),
        ("ENOMEM", "Cannot allocate memory"),
    ],
)
def test_where_io_uring_is_refused_auto_is_epoll_and_says_why(tmp_path: Path, error: str, words: str) -> None:
    through = without_rings(error)
    with Peer(echo) as peer, command(tmp_path, *LISTEN, "--loop", "auto", "--backend", peer.address, through=through) as lb:
        assert " loop=epoll " in lb.ready_line
        status = lb.status()
        assert status["loop"] == status["workers"][0]["loop"] == "epoll"
        assert words in status["loop_reason"]
        assert words in lb.cli("status").stdout
        echoes(lb.address)
    said = subprocess.run([*through, sys.executable, "-m", "lbcore", "version"], capture_output=True, text=True, check=True)
    assert words in next(line for line in said.stdout.splitlines() if line.startswith("loop: auto is epoll ("))


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_uring_that_cannot_be_had_is_one_line_and_nothing_starts(tmp_path: Path, error: str) -> None:
    line = [sys.executable, "-m", "lbcore", "run", *LISTEN, "--backend", "127.0.0.1:1", "--loop", "uring", "--admin", "off"]
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(without_rings(error, *line), env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("lbcore: loop: 'uring' is not available here: io_uring: ")
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("disabled", "words"), [("1", "io_uring_group"), ("2", "nobody"), ("0", "seccomp")])
def test_the_sysctl_that_disables_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disabled: str, words: str
) -> None:
    (tmp_path / "disabled").write_text(disabled + "\n")
    monkeypatch.setattr(loops, "DISABLED", str(tmp_path / "disabled"))
    assert words in loops._in_words(PermissionError(1, "Operation not permitted"))
    monkeypatch.setattr(loops, "DISABLED", str(tmp_path / "missing"))
    assert "seccomp" in loops._in_words(PermissionError(1, "Operation not permitted"))


def test_what_moves_bytes_without_us_is_by_epoll() -> None:
    with Peer(echo) as peer:
        with balanced(backends=[peer.address], datapath="splice", loop="auto") as lb:
            assert lb.status()["loop"] == "epoll"
            assert "splice" in lb.status()["loop_reason"]
            echoes(lb.address)
        with pytest.raises(ConfigError, match="loop: 'uring' is not available here: datapath splice"):
            Balancer(listen="tcp://127.0.0.1:0", backends=[peer.address], datapath="splice", loop="uring").start()


@needs_ring
@pytest.mark.parametrize("loop", ["auto", "uring"])
def test_where_io_uring_works_it_is_used_and_said(tmp_path: Path, loop: str) -> None:
    flags = [*LISTEN[:-2], "--workers", "2", "--loop", loop, "--admin", "127.0.0.1:0"]
    with Peer(echo) as peer, command(tmp_path, *flags, "--backend", peer.address) as lb:
        assert " loop=uring " in lb.ready_line
        status = lb.status()
        assert [status["loop"], *(worker["loop"] for worker in status["workers"][:2])] == ["uring"] * 3
        assert status["loop_reason"]
        for _ in range(20):
            echoes(lb.address)
        with urllib.request.urlopen(f"http://{lb.admin}/metrics" if "://" not in lb.admin else f"{lb.admin}/metrics") as answer:
            text = answer.read().decode()
        assert 'lbcore_worker_rings{worker="0"} 1' in text
        assert 'loop="uring"' in text


@needs_ring
def test_a_worker_that_gets_no_ring_goes_on_with_epoll_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from lbcore import _engine

    def refused() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(_engine, "Ring", refused)
    with Peer(echo) as peer, balanced(backends=[peer.address], loop="uring") as lb:
        echoes(lb.address)
        assert rows(lb) == ["epoll"] * len(rows(lb))
    assert "it has no io_uring, and goes on with epoll: Operation not permitted" in capfd.readouterr().err


# --- rights -------------------------------------------------------------------------------------------------------------

CONFINED = """
import ctypes, errno, os
from lbcore import _engine
from lbcore.control import worker
libc = ctypes.CDLL(None, use_errno=True)
ring = worker.ring_of(0, 1)
worker.confine(0, filtered=True, rings=True)
failed = [(libc.syscall(number, -1, 0, 0, 0, 0, 0), ctypes.get_errno()) for number in (425, 427, 426)]
assert failed == [(-1, errno.EPERM), (-1, errno.EPERM), (-1, errno.EBADF)], failed
"""


@needs_ring
@filtered
def test_a_confined_worker_enters_its_ring_and_makes_no_other() -> None:
    subprocess.run([sys.executable, "-c", CONFINED], check=True, timeout=30, cwd=ROOT)


@needs_ring
def test_a_ring_that_lbcore_made_opens_no_file() -> None:
    """The trial that each start makes asks for it, and fails where an open is not refused (csrc/core/uring_trial.c)."""
    from lbcore import _engine

    _engine.try_ring()


# --- under way ----------------------------------------------------------------------------------------------------------


def fills(amount: int, part: int) -> bytes:
    return b"".join(b"%0*d" % (part, number) for number in range(amount))


@needs_ring
@pytest.mark.parametrize("part", [100, 4000, 30_000])
def test_a_slow_reader_gets_all_though_its_backend_has_left(part: int) -> None:
    """What lbcore took of small messages lies in sends under way when the session ends."""
    data = fills(3_000_000 // part, part)

    def speak(connection: socket.socket) -> None:
        connection.recv(1)
        for at in range(0, len(data), part):
            connection.sendall(data[at : at + part])

    with Peer(speak) as peer, balanced(backends=[peer.address], loop="uring") as lb, narrow(lb.address) as client:
        client.sendall(b"x")
        got = bytearray()
        while chunk := client.recv(8192):
            got += chunk
            if len(got) < 200_000:
                time.sleep(0.002)  # it is slow: that is the test
        assert bytes(got) == data


@needs_ring
def test_a_drain_with_operations_under_way_loses_nothing() -> None:
    data = fills(100_000, 20)

    def speak(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(data)

    top = {"listen": "tcp://127.0.0.1:0", "health": "off", "workers": 1, "loop": "uring"}
    with Peer(speak) as peer, Balancer(backends=[peer.address], **top) as lb:
        clients = [narrow(lb.address) for _ in range(8)]
        for client in clients:
            client.sendall(b"x")
        for client in clients:
            assert client.recv(1000)
        leaving = threading.Thread(target=lb.stop, args=(20,))
        leaving.start()
        for client in clients:
            rest = 0
            while chunk := client.recv(1 << 16):
                rest += len(chunk)
            assert rest >= len(data) - 1000
            client.close()
        leaving.join(30)
        assert not leaving.is_alive()


@needs_ring
@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_idle_connections_end_with_the_worker(mode: str) -> None:
    """Receives are under way on all of them: each peer still sees an end."""
    top = {"listen": f"{mode}://127.0.0.1:0", "health": "off", "workers": 1, "loop": "uring"}
    with Backend() as backend, Balancer(backends=[backend.address], **top) as lb:
        clients = [Client(lb.address) for _ in range(50)]
        for client in clients:
            assert client.get().status == 200
        lb.stop(0)
        for client in clients:
            assert client.socket.recv(1) == b""
            client.close()
        wait_for(lambda: not backend.open, "the backend's connections have ended")
