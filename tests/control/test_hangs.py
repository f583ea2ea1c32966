"""Workers that hang, and starts that fail half-way: told of, replaced, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Command, Peer, check_ledger, dial, named, read_exactly, wait_for

from lbcore.control.hangs import Hangs
from lbcore.control.worker_slots import WorkerSlots
from lbcore.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def config(tmp_path: Path, backend: str, timeout: str) -> Path:
    path = tmp_path / "lb.toml"
    path.write_text(
        f'workers = 2\nworker_timeout = "{timeout}"\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n'
        f'[[pool]]\nname = "default"\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{backend}"\n'
    )
    return path


@contextlib.contextmanager
def running(tmp_path: Path, timeout: str) -> Iterator[Command]:
    """A balancer of two workers; at the end none is left stopped."""
    with Peer(named(b"one")) as peer:
        lb = Command(tmp_path, "-c", str(config(tmp_path, peer.address, timeout)))
        try:
            yield lb
            check_ledger(lb.status())
            assert lb.stop() == 0, lb.stderr.read_text()
        finally:
            if lb.process.poll() is None:
                for pid in pids(lb):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
                lb.process.kill()
                lb.process.wait()


def pids(lb: Command) -> list[int]:
    return [worker["pid"] for worker in lb.status()["workers"][:2]]


def hanging(lb: Command) -> list[bool]:
    return [worker["hangs"] for worker in lb.status()["workers"][:2]]


def readyz(lb: Command) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{lb.admin}/readyz", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def serves(lb: Command) -> bool:
    """Does each of ten clients find a worker?"""
    for _ in range(10):
        try:
            with dial(lb.address) as client:
                client.settimeout(1)
                read_exactly(client, 3)
        except (OSError, AssertionError):
            return False
    return True


def test_a_worker_that_hangs_is_told_of_and_replaced(tmp_path: Path) -> None:
    with running(tmp_path, "1h") as lb:
        assert hanging(lb) == [False, False]
        stopped, other = pids(lb)
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: hanging(lb) == [True, False], "it is noticed")
        assert time.monotonic() - began < 5 * SLOWER
        assert readyz(lb) == (200, {"ready": True, "reason": "ready", "outage": [], "hanging": [0]})
        with urllib.request.urlopen(f"{lb.admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'lbcore_worker_hangs{worker="0"} 1.0' in text
        assert 'lbcore_worker_hangs{worker="1"} 0.0' in text
        assert f"worker 0 (process {stopped}) hangs: another takes its place after 3600 s" in lb.stderr.read_text()
        assert "0 hangs" in lb.cli("status", "--name", lb.name).stdout
        file = tmp_path / "lb.toml"
        file.write_text(file.read_text().replace('worker_timeout = "1h"', 'worker_timeout = "1s"'))
        assert lb.call("/reload")[0] in (200, 409), "a worker that hangs may hold it up; the settings are in force"
        wait_for(lambda: pids(lb)[0] != stopped and hanging(lb) == [False, False], "another takes its place", 20)
        assert pids(lb)[1] == other
        wait_for(lambda: serves(lb), "all serve")
        assert readyz(lb)[1]["hanging"] == []


def test_readyz_says_503_while_every_worker_hangs(tmp_path: Path) -> None:
    """And a worker that only was slow is left alone: with 0 none is ever replaced."""
    with running(tmp_path, "0s") as lb:
        before = pids(lb)
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: hanging(lb) == [True, True], "it is noticed")
        code, said = readyz(lb)
        assert (code, said["reason"], said["hanging"]) == (503, "every worker hangs", [0, 1])
        for pid in before:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: hanging(lb) == [False, False], "they turn again")
        assert readyz(lb)[0] == 200
        assert pids(lb) == before
        assert "worker 0 turns again" in lb.stderr.read_text()
        assert serves(lb)


def test_a_control_plane_that_was_held_up_itself_blames_nobody() -> None:
    """The machine slept: every worker's last turn is long ago, and none hangs."""
    table = Table(name="t", version="0", workers=2, max_backends=16, datapath="auto")
    lines: list[str] = []
    try:
        slots = WorkerSlots(2, None)
        asked: list[int] = []
        for slot in slots.serving:
            slot.ready = True
            slot.channel = type("Channel", (), {"send": lambda self, kind, slot=slot: asked.append(slot.number)})()  # type: ignore[assignment]
        hangs = Hangs(table, slots, 30, lines.append)
        now = time.monotonic()
        hangs.look(now)
        assert asked == [0, 1]
        hangs.look(now + 3600)
        assert (hangs.numbers, lines, asked) == ([], [], [0, 1, 0, 1])
        for second in range(3):
            hangs.look(now + 3601 + second)
        assert hangs.numbers == [0, 1], "those who owe it a turn then do hang"
        assert len(lines) == 2
    finally:
        table.close()


@pytest.mark.parametrize("descriptors", [16, 20, 22, 24, 26, 27])
def test_a_start_without_descriptors_ends_its_workers_and_says_one_line(tmp_path: Path, descriptors: int) -> None:
    """Wherever in the start the last one goes: at a listener, a worker, a module, the ready line."""
    arguments = ["run", "--listen", "tcp://127.0.0.1:0", "--workers", "4", "--admin", "off", "--backend", "127.0.0.1:9"]
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={descriptors}:{descriptors}", sys.executable, "-m", "lbcore", *arguments],
            env={**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)},
            stdout=stdout,
            stderr=stderr,
        )
    wait_for(lambda: process.poll() is not None or "lbcore ready" in out.read_text(), "it serves or it ends", 20)
    enough = process.poll() is None
    process.send_signal(signal.SIGTERM)
    code = process.wait(30 * SLOWER)
    said = err.read_text()
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if "probes cannot run" not in line]
    if enough:
        assert code == 0, said
    else:
        assert code in (1, 2)
        assert len(lines) == 1, said
        assert "Too many open files" in lines[0]
    wait_for(lambda: not lives_in(tmp_path), "no worker is left")


def lives_in(directory: Path) -> list[int]:
    """Processes whose runtime directory that is: workers, orphaned or not."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
            if f"LBCORE_RUNTIME_DIR={directory}\0".encode() in file.read():
                found.append(int(entry))
    return found


def test_a_second_signal_ends_a_drain_that_waits_for_a_worker_that_hangs(tmp_path: Path) -> None:
    with Peer(named(b"one")) as peer:
        lb = Command(tmp_path, "-c", str(config(tmp_path, peer.address, "60s")))
        workers = pids(lb)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            lb.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "draining" in lb.stderr.read_text(), "it drains")
            began = time.monotonic()
            assert lb.stop() == 0  # the drain alone would take 30 s
            assert time.monotonic() - began < 10 * SLOWER
            assert lb.stderr.read_text().count("does not end: killed") == 2
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            lb.process.kill()
