"""What a service manager is told, the watchdog, lines for the journal, and the unit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness import SLOWER, Peer, command, echo, wait_for
from service_managers import Manager
from users import EVERYWHERE, PYTHON, droppable, filtered, forwards, offloads_for

from lbcore.cli.log import ERROR, INFO, WARNING, Lines, level
from lbcore.control.systemd import Notifier

# --- notifications -------------------------------------------------------------------------------------------------


def test_ready_reload_and_stop_are_told(tmp_path: Path, manager: Manager) -> None:
    config = tmp_path / "lb.toml"
    config.write_text('[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    with command(tmp_path, "-c", str(config), env={"NOTIFY_SOCKET": str(manager.path)}) as lb:
        ready = manager.next("READY")
        assert (ready["READY"], ready["MAINPID"]) == ("1", str(lb.pid))
        assert ready["STATUS"] == "0 of 0 backends up, 0 sessions, 1 of 1 workers serve"
        assert lb.cli("reload").returncode == 0
        assert int(manager.next("RELOADING")["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.next("READY")["READY"] == "1"
        config.write_text("zork = 1\n")
        lb.process.send_signal(signal.SIGHUP)
        manager.next("RELOADING")
        manager.next("READY")
        worker = lb.status()["workers"][0]["pid"]
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{worker}/environ").read_bytes()
        config.write_text('[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
        lb.process.send_signal(signal.SIGTERM)
        assert manager.next("STOPPING") == {"STOPPING": "1", "STATUS": "draining"}
        lb.process.wait(20)


def test_the_watchdog_is_pinged_while_every_worker_turns(tmp_path: Path, manager: Manager) -> None:
    env = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(600_000 * SLOWER)}
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--workers", "2", env=env) as lb:
        for _ in range(3):
            assert manager.pinged(2 * SLOWER)
        victim = lb.status()["workers"][1]["pid"]
        os.kill(victim, signal.SIGSTOP)
        try:
            assert manager.next("STATUS")["STATUS"] == "hangs: worker 1"
            assert not manager.pinged(1.5 * SLOWER)
        finally:
            os.kill(victim, signal.SIGCONT)
        assert manager.pinged(5 * SLOWER)
        os.kill(victim, signal.SIGKILL)  # one that is replaced at once is no reason to end them all
        assert manager.pinged(5 * SLOWER)


def test_an_abstract_socket_and_none_at_all() -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": "/no/such/socket"}).ready("fine")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0lbcore-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@lbcore-test-{os.getpid()}"}).send("STATUS=x")
        assert heard.recv(100) == b"STATUS=x"
    assert Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s == 0


# --- log lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "grave"),
    [
        ("not reloaded: lb.toml: zork: unknown key", ERROR),
        ("worker 0 is gone (killed by signal 9): restart in 50 ms", ERROR),
        ("pool app: 10.0.0.5:80 up -> down: 3 probes failed", WARNING),
        ("admin: refused 10.0.0.9 /register: no token (status 401)", WARNING),
        ("pool app: 10.0.0.5:80 down -> up: 2 good probes", INFO),
        ("state_file: 2 backends are back, on probation", INFO),
        ("state_file: No space left on device", WARNING),
        ("a socket was passed that no listener uses: 127.0.0.1:80", WARNING),
        ("the ready line could not be written: nobody reads stdout", WARNING),
        ("the access log could not be opened again: No space left on device", WARNING),
        ("pool app: 10.0.0.5:80 is ignored: it is this balancer's own listener web", WARNING),
        ("the control plane was held up for 3.0 s: leases are extended", WARNING),
        ("the access log is opened again", INFO),
        ("reloaded", INFO),
    ],
)
def test_how_grave_a_line_is(line: str, grave: int) -> None:
    assert level(line) == grave


def test_json_lines(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--log-format", "json", "--name", "shop") as lb:
        os.kill(lb.status()["workers"][0]["pid"], signal.SIGKILL)
        wait_for(lambda: "is gone" in lb.stderr.read_text(), "it is logged")
        wait_for(lambda: lb.status()["workers"][0]["state"] == "serving", "a new worker")
    records = [json.loads(line) for line in lb.stderr.read_text().splitlines()]
    assert [record["level"] for record in records] == ["error", "info", "info"]
    assert records[-1]["message"] == "stopped"
    assert all(record["name"] == "shop" and record["pid"] == lb.pid for record in records)
    assert all(record["time"].endswith("Z") for record in records)


def test_lines_for_the_journal_bring_their_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    Lines()("not reloaded: x")
    Lines("json")("reloaded")
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    Lines()("reloaded")
    first, second, third = capfd.readouterr().err.splitlines()
    assert first == "<3>not reloaded: x"
    assert second.startswith('<6>{"time"')
    assert third.endswith("lbcore: reloaded")


# --- the unit --------------------------------------------------------------------------------------------------------


CONFIG = """
name = "shop"
drain_timeout = "90s"
state_file = "/var/lib/shop/state.json"
[[listener]]
bind = "{bind}"
"""


def written(
    tmp_path: Path, bind: str, *flags: str, env: dict[str, str] | None = None, top: str = ""
) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "shop.toml"
    config.write_text(top + CONFIG.format(bind=bind))
    line = [sys.executable, "-m", "lbcore", "install-service", "-c", str(config), *flags]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


def test_the_unit(tmp_path: Path) -> None:
    done = written(tmp_path, "http://0.0.0.0:80", "--print")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {
        "Type=notify", "DynamicUser=yes", "KillMode=mixed", "TimeoutStopSec=105", "NoNewPrivileges=yes", "StateDirectory=shop",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE", "RuntimeDirectory=lbcore-shop", "ProtectSystem=strict",
    } <= set(lines)  # fmt: skip
    assert any(line.startswith("ExecReload=") and line.endswith("lbcore reload --name shop") for line in lines)
    unprivileged = written(tmp_path, "http://0.0.0.0:8080", "--print", "--run-as", "shop").stdout.splitlines()
    assert {"User=shop", "CapabilityBoundingSet=", "AmbientCapabilities="} <= set(unprivileged)


@pytest.mark.parametrize("more", ['datapath = "offload"', "offload_local = true"])
def test_the_unit_lets_offload_have_what_it_takes(tmp_path: Path, more: str) -> None:
    wanted = "CAP_BPF CAP_NET_ADMIN CAP_PERFMON"
    lines = written(tmp_path, "tcp://0.0.0.0:8080", "--print", top=more).stdout.splitlines()
    assert {
        f"CapabilityBoundingSet={wanted}", f"AmbientCapabilities={wanted}", "SystemCallFilter=@system-service seccomp bpf",
    } <= set(lines)  # fmt: skip
    both = written(tmp_path, "tcp://0.0.0.0:80", "--print", top=more).stdout.splitlines()
    assert f"AmbientCapabilities=CAP_NET_BIND_SERVICE {wanted}" in both
    without = written(tmp_path, "tcp://0.0.0.0:8080", "--print").stdout
    assert "SystemCallFilter=@system-service seccomp\n" in without, "who does not ask for it gets none of it"
    assert "CAP_BPF" not in without
    users = written(tmp_path, "tcp://0.0.0.0:8080", "--user", env={"XDG_CONFIG_HOME": str(tmp_path)}, top=more)
    assert f"offload takes {wanted}, which a user's own manager cannot give: it will be refused" in users.stdout


ALLOW = """
import ctypes, os, sys
names, line = sys.argv[1].split(), sys.argv[2:]
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
made = ctypes.c_void_p(library.seccomp_init(0x00050001))  # EPERM
for name in names:
    number = library.seccomp_syscall_resolve_name(name.encode())
    assert number < 0 or not library.seccomp_rule_add(made, 0x7fff0000, number, 0)
assert not library.seccomp_load(made)
os.execv(line[0], line)
"""
"""What SystemCallFilter and SystemCallErrorNumber=EPERM come to."""


def members(*names: str) -> set[str]:
    """The system calls of a SystemCallFilter, by systemd's own lists."""
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            line = ["systemd-analyze", "syscall-filter", name]
            said = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
            found |= members(*(entry.strip() for entry in said if not entry.strip().startswith("#")))
        elif name:
            found.add(name)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@droppable
@forwards
@filtered
@pytest.mark.parametrize("lacking", ["nothing", "AmbientCapabilities", "SystemCallFilter"])
def test_offload_under_what_the_unit_leaves(place: Path, lacking: str) -> None:
    """The unit's own capabilities and system calls; and with either of them as in one that does not ask for it."""

    def entries(top: str) -> dict[str, str]:
        text = written(place, "tcp://127.0.0.1:0", "--print", "--run-as", "nobody", top=top).stdout
        return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)

    found, without = entries('datapath = "offload"'), entries("")
    if lacking != "nothing":
        found[lacking] = without[lacking]
    rights = ",".join(["-all", *(f"+{word.removeprefix('CAP_').lower()}" for word in found["AmbientCapabilities"].split())])
    (place / "run").mkdir(mode=0o700)
    os.chown(place / "run", 65534, 65534)
    through = ["setpriv", "--reuid", "65534", "--clear-groups", "--no-new-privs", f"--bounding-set={rights}"]
    through += [f"--inh-caps={rights}", f"--ambient-caps={rights}", str(PYTHON), "-c", ALLOW]
    through.append(" ".join(sorted(members(*found["SystemCallFilter"].split()))))
    with Peer(echo) as peer:
        line = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--datapath", "offload"]
        if lacking == "nothing":
            with command(place / "run", *line, python=PYTHON, env=EVERYWHERE, through=through) as lb:
                assert "datapath=offload" in lb.ready_line
                assert offloads_for(lb) == 1
        else:
            env = {**os.environ, **EVERYWHERE, "LBCORE_RUNTIME_DIR": str(place / "run")}
            words = [*through, str(PYTHON), "-m", "lbcore", "run", *line, "--admin", "off"]
            done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
            assert (done.returncode, "it takes the capabilities CAP_BPF" in done.stderr) == (2, True), done


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("top", ["", 'datapath = "offload"'])
@pytest.mark.parametrize("flags", [(), ("--user",)])
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path, flags: tuple[str, ...], top: str) -> None:
    unit = tmp_path / "lbcore-shop.service"
    unit.write_text(written(tmp_path, "http://0.0.0.0:80", "--print", *flags, top=top).stdout)
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert [line for line in checked.stderr.splitlines() if "lbcore" in line] == []
    if flags:
        return
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True)
    exposure = float(judged.stdout.rpartition(": ")[2].split()[0])
    assert exposure < 2.5, judged.stdout


def test_a_users_own_service_is_written_and_explained(tmp_path: Path) -> None:
    done = written(tmp_path, "http://0.0.0.0:80", "--user", "--name", "mine", env={"XDG_CONFIG_HOME": str(tmp_path)})
    path = tmp_path / "systemd/user/lbcore-mine.service"
    assert done.stdout.splitlines() == [
        f"written: {path}",
        "ports below 1024 (80) are not for users: choose others",
        "next: systemctl --user daemon-reload && systemctl --user enable --now lbcore-mine.service",
        "then: systemctl --user status lbcore-mine.service; "
        "systemctl --user reload lbcore-mine.service reads the configuration again",
        "commands find it by: LBCORE_RUNTIME_DIR=$XDG_RUNTIME_DIR/lbcore-mine lbcore status --name mine",
    ]
    assert "WantedBy=default.target" in path.read_text()
    both = written(tmp_path, "http://0.0.0.0:80", "--user", "--run-as", "me")
    assert (both.returncode, both.stderr) == (2, "lbcore: run-as: cannot be combined with --user\n")


def test_the_command_line_of_the_unit_serves(tmp_path: Path) -> None:
    """ExecStart and ExecReload as the unit has them, with the environment that it gives."""
    unit = written(tmp_path, "tcp://127.0.0.1:0", "--print").stdout.splitlines()
    start, again = (
        next(line for line in unit if line.startswith(f"Exec{what}=")).partition("=")[2].split() for what in ("Start", "Reload")
    )
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "shop.toml").write_text('name = "shop"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    process = subprocess.Popen(start, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("lbcore ready name=shop")
        assert subprocess.run(again, env=env, capture_output=True, text=True).stdout == "shop: reloaded\n"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    assert process.returncode == 0
