"""What stands beside the data path fails: who reads stderr or the metrics, the disk, a worker. No other request notices."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from disks import small_disk
from harness import PATIENCE_S, command, dial, wait_for
from http_peers import Backend
from loads import CLIENTS, Load


def _flags(backend: str) -> list[str]:
    return ["--listen", "http://127.0.0.1:0", "--backend", backend, "--health", "off"]


def test_stderr_that_nobody_reads_slows_no_request_and_no_control(tmp_path: Path) -> None:
    """The pipe fills; requests and operators go on; once it is read again, what was lost is told."""
    reading, writing = os.pipe()
    blocker = "import os, sys; os.dup2(int(sys.argv[1]), 2); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    with Backend(name=b"ok") as backend:
        line = [sys.executable, "-c", blocker, str(writing), "-m", "lbcore", "run", *_flags(backend.address)]
        env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
        process = subprocess.Popen(
            [*line, "--admin", "127.0.0.1:0", "--workers", "1"], stdout=subprocess.PIPE, env=env, text=True, pass_fds=[writing]
        )
        try:
            _fill(writing)
            assert process.stdout is not None
            ready = process.stdout.readline()
            host, port = re.search(r"listen=http://([\d.]+):(\d+)", ready).groups()  # type: ignore[union-attr]
            with Load((host, int(port))) as load:
                _churn(env, 3)
                load.flows()
                assert load.bad == []
                os.set_blocking(reading, False)
                assert set(_drain(reading)) == {0}, "nothing of ours went in between"
                _churn(env, 1)
                load.flows()
            assert load.bad == []
            assert b"lines were lost" in _drain(reading)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
            os.close(reading)
            os.close(writing)


def _fill(writing: int) -> None:
    """Until the pipe takes no more; its file stays one that blocks for whoever writes without asking."""
    fd = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(fd, bytes(4096))
    except BlockingIOError:
        return
    finally:
        os.close(fd)


def _drain(reading: int) -> bytes:
    found = b""
    try:
        while True:
            found += os.read(reading, 1 << 16)
    except BlockingIOError:
        return found


def _churn(env: dict[str, str], count: int) -> None:
    for _ in range(count):
        for verb in ("add", "remove"):
            line = [sys.executable, "-m", "lbcore", "backend", verb, "127.0.0.1:9"]
            done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, done.stderr


def test_scrapes_that_are_never_read_slow_no_request_and_no_other_scrape(tmp_path: Path) -> None:
    with Backend(name=b"ok") as backend, command(tmp_path, *_flags(backend.address), "--admin", "127.0.0.1:0") as running:
        host, _, port = running.admin.rpartition("//")[2].rpartition(":")
        stuck: list[socket.socket] = []
        with Load(running.address) as load:
            for _ in range(32):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                client.connect((host, int(port)))
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
                stuck.append(client)
            load.flows()
            with dial((host, int(port))) as other:
                other.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                assert other.recv(12) == b"HTTP/1.1 200"
            load.flows()
        assert load.bad == []
        for client in stuck:
            client.close()


def test_a_state_file_on_a_full_disk_fails_no_request_and_is_told_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, Backend(name=b"ok") as backend:
        (disk / "filler").write_bytes(bytes(60_000))
        config = tmp_path / "lb.toml"
        config.write_text(
            f'state_file = "{disk}/state"\n[[listener]]\nbind = "http://127.0.0.1:0"\n'
            f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{backend.address}"\n'
        )
        with command(tmp_path, "-c", str(config)) as running:
            with Load(running.address) as load:
                for number in range(300):  # more than 4 kB of state
                    assert running.call("/backends/add", address=f"127.0.0.2:{1000 + number}", weight=0)[0] == 200
                wait_for(lambda: "cannot be written" in running.stderr.read_text(), "the disk is full")
                load.flows()
                (disk / "filler").unlink()
                assert running.call("/backends/add", address="127.0.0.2:999", weight=0)[0] == 200
                wait_for(lambda: (disk / "state").exists(), "it is written")
            assert load.bad == []
            assert running.stderr.read_text().count("cannot be written") == 1


def test_a_killed_worker_costs_only_what_it_had_under_way(tmp_path: Path) -> None:
    """Under load over kept connections; the others' requests, and those that come after, are all served."""
    with Backend(name=b"ok") as backend, command(tmp_path, *_flags(backend.address), "--workers", "2") as running:
        with Load(running.address) as load:
            for _ in range(3):
                victim = running.status()["workers"][0]["pid"]
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda victim=victim: running.status()["workers"][0]["pid"] != victim, "another takes its place")
                load.flows()
        assert len(load.bad) <= 3 * CLIENTS, load.bad
        lost = sum(worker["closed_lost"] for worker in running.status()["workers"])
        assert len(load.bad) <= lost
