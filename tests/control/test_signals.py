"""Signals of `lbcore run`, to the process and to its whole group, early and late, and as the first process of a container."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Command, Peer, command, dial, echo, free_port, wait_for
from http_peers import Backend, Client

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")


def serves(running: Command) -> bool:
    with dial(running.address) as client:
        client.sendall(b"x")
        return client.recv(1) == b"x"


def words(*backends: str) -> list[str]:
    return [
        "--name",
        "shop",
        "--listen",
        f"tcp://127.0.0.1:{free_port()}",
        *(f"--backend={one}" for one in backends),
        "--health=off",
    ]


def group_of(running: Command) -> set[int]:
    """The control plane and its workers."""
    return {running.pid, *(worker["pid"] for worker in running.status()["workers"] if worker["state"] == "serving")}


def test_a_signal_to_the_group_is_for_the_control_plane_alone(tmp_path: Path) -> None:
    """HUP, USR1 and USR2 end no one, and no worker is replaced but by an upgrade."""
    with Peer(echo) as peer, command(tmp_path, *words(peer.address), through=["setsid"]) as running:
        before = group_of(running)
        assert os.getpgid(running.pid) == running.pid
        for number, said in ((signal.SIGHUP, "reload"), (signal.SIGUSR1, "opened again")):
            os.killpg(running.pid, number)
            wait_for(lambda said=said: said in running.stderr.read_text(), f"{said} is done")
        assert group_of(running) == before
        assert serves(running)
        os.killpg(running.pid, signal.SIGUSR2)

        def upgraded() -> bool:
            with contextlib.suppress(OSError):  # while nobody is there
                found = group_of(running)
                return len(found) == 2 and not found & (before - {running.pid})
            return False

        wait_for(upgraded, "it is upgraded", 40)
        assert "in the place of" in running.stderr.read_text()
        assert serves(running)
        os.killpg(running.pid, signal.SIGQUIT)
        assert running.process.wait(20) == 0, running.stderr.read_text()
        assert "stopped" in running.stderr.read_text()


def test_quit_drains_and_a_second_one_ends(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        running = Command(tmp_path, *words(peer.address), "--workers=1", "--admin=off", "--drain-timeout=60s")
        with dial(running.address) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            os.kill(running.pid, signal.SIGQUIT)
            wait_for(lambda: "draining" in running.stderr.read_text(), "it drains")
            client.sendall(b"y")
            assert client.recv(1) == b"y"
            os.kill(running.pid, signal.SIGQUIT)
            assert running.process.wait(20) == 0
        assert running.process.stdout is not None
        running.process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_before_it_is_ready_ends_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """From the first line of ours on: what comes while everything is being loaded waits."""
    code = "import os, sys, signal; sys.argv = ['lbcore', *sys.argv[1:]]; import lbcore.control.signals as s; hold = s.hold\n"
    code += f"s.hold = lambda: (hold(), os.kill(os.getpid(), {int(number)}))\nfrom lbcore.__main__ import main; main()"
    with Peer(echo) as peer:
        line = [sys.executable, "-c", code, "run", *words(peer.address), "--workers=1", "--admin=off"]
        env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
        with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                assert process.stdout.readline().startswith("lbcore ready")
                said = ""
                wanted = {signal.SIGHUP: "reload", signal.SIGUSR1: "opened again", signal.SIGUSR2: "upgraded"}[number]
                while wanted not in said and "is replaced by" not in said:
                    said += process.stderr.readline()
                if "is replaced by" in said:
                    assert process.stdout.readline().startswith("lbcore ready")
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                process.kill()


def test_the_first_process_of_a_container_buries_the_dead(tmp_path: Path) -> None:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("no process namespace can be made here")
    with Peer(echo) as peer:
        line = [*NAMESPACE, sys.executable, "-m", "lbcore", "run", *words(peer.address), "--workers=1", "--admin=off"]
        env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
        with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as unshare:
            assert unshare.stdout is not None
            try:
                assert unshare.stdout.readline().startswith("lbcore ready")
                first = children(unshare.pid)[0]
                orphan = ["nsenter", "-t", str(first), "-p", "-m", "sh", "-c", "(sleep 0.3 & exec sleep 0.2) & exit"]
                subprocess.run(orphan, check=True, stdout=subprocess.DEVNULL)
                wait_for(lambda: len(children(first)) > 1, "it has orphans")
                wait_for(lambda: len(children(first)) == 1, "they are buried")
                os.kill(first, signal.SIGUSR1)
                os.kill(first, signal.SIGTERM)
                assert unshare.wait(20) == 0
            finally:
                unshare.kill()


def children(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            fields = Path(f"/proc/{int(entry)}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(entry))
    return sorted(found)


def test_an_access_log_on_stdout_is_all_that_is_there(tmp_path: Path) -> None:
    """`lbcore run --access-log stdout | jq`: the ready line goes to stderr."""
    with Backend() as peer:
        flags = ("--listen", "http://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--access-log", "stdout")
        with command(tmp_path, *flags, "--access-log-format", "json") as running:
            assert running.ready_line.startswith("lbcore ready ")
            with Client(running.address) as client:
                client.get("/here")
            assert running.process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(running.process.stdout, selectors.EVENT_READ)
                assert selector.select(20)
            assert running.process.stdout.readline().startswith("{")
