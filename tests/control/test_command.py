"""`lbcore run` and the commands that steer it, as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_files import configuration
from harness import SLOWER, Command, Peer, command, dial, echo, named, read_exactly, settled, totals, wait_for
from refusals import fails

RUN = [sys.executable, "-m", "lbcore", "run"]


def test_ready_line_status_and_end(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer:
        flags = ["--listen", "tcp://127.0.0.1:0", "--listen", "tcp://[::1]:0", "--backend", f"{peer.address},weight=7"]
        with command(tmp_path, *flags, "--name", "web", "--workers", "2", "--admin", "127.0.0.1:0") as lb:
            words = lb.ready_line.split()
            assert [word.partition("=")[0] for word in words[2:]] == [
                "name", "listen", "listen", "admin", "workers", "datapath", "loop", "pid",
            ]  # fmt: skip
            assert (lb.name, lb.pid, lb.process.pid) == ("web", lb.process.pid, lb.pid)
            with dial(lb.address) as client:
                assert read_exactly(client, 2) == b"hi"
            status = json.loads(lb.cli("status", "--json", "--name", "web").stdout)
            assert status["pools"][0]["backends"][0]["weight"] == 7
            assert [listener["mode"] for listener in status["listeners"]] == ["tcp", "tcp"]
            assert {"name", "pid", "uptime_s", "version", "datapath", "generation", "listeners", "pools", "workers"} <= set(
                status
            )
            plain = lb.cli("status", "--name", "web").stdout
            assert peer.address in plain
            assert lb.cli("stop", "--name", "web").stdout == "web: stopped\n"
            assert lb.process.wait(5) == 0
    assert os.listdir(tmp_path) == [lb.stderr.name]


def test_backend_commands(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--health", "off") as lb:
        assert (
            "127.0.0.1:4000 in pool default: up, weight 2" in lb.cli("backend", "add", "127.0.0.1:4000", "--weight", "2").stdout
        )
        assert "draining" in lb.cli("backend", "drain", "127.0.0.1:4000").stdout
        assert "up" in lb.cli("backend", "ready", "127.0.0.1:4000").stdout
        assert "weight 5" in lb.cli("backend", "weight", "127.0.0.1:4000", "5").stdout
        assert lb.cli("backend", "weight", "127.0.0.1:4000", "500").returncode == 2
        assert lb.cli("backend", "add", "nonsense").returncode == 2
        assert lb.cli("backend", "remove", "127.0.0.1:4000").returncode == 0
        missing = lb.cli("backend", "remove", "127.0.0.1:4000")
        assert (missing.returncode, missing.stderr) == (1, "lbcore: 127.0.0.1:4000 is not in pool default\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "listen: missing"),
        (["--listen", "127.0.0.1:80"], "listen: '127.0.0.1:80' is not MODE://HOST:PORT"),
        (["--listen", "https://127.0.0.1:80"], "certificate: missing (what https shows its clients"),
        (["--listen", "tcp://127.0.0.1:99999"], "port 99999"),
        (["--listen", "tcp://127.0.0.1:0", "--backend", "nonsense"], "'nonsense' is not HOST:PORT"),
        (["--listen", "tcp://127.0.0.1:0", "--backend", "a:1,speed=3"], "speed=3"),
        (["--listen", "tcp://127.0.0.1:0", "--policy", "best"], "policy: 'best' is not allowed (allowed: round_robin"),
        (
            ["--listen", "tcp://127.0.0.1:0", "--workers", "0"],
            "workers: '0' is not allowed (allowed: a whole number from 1 to 64)",
        ),
        (["--listen", "tcp://127.0.0.1:0", "--health", "ping"], "health: 'ping' is not allowed"),
        (["--listen", "tcp://127.0.0.1:0", "--datapath", "magic"], "datapath: 'magic' is not allowed"),
        (["--listen", "tcp://127.0.0.1:0", "--admin", "0.0.0.0:0"], "admin.listen: '0.0.0.0:0' is not loopback"),
        (["--listen", "tcp://127.0.0.1:0", "--name", "a b"], "name: 'a b' is not allowed"),
        (["--listen", "tcp://127.0.0.1:0", "--turbo"], "--turbo"),
        (["--listen", "tcp://192.0.2.1:0", "--admin", "off"], "tcp://192.0.2.1:0: "),
        (["-c", "/no/such/file"], "/no/such/file: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    code, line = fails(tmp_path, "run", *arguments)
    assert (code, line.count("\n")) == (2, 0), line
    assert says in line


def test_a_taken_port_is_exit_1(tmp_path: Path) -> None:
    with Peer(echo) as holder:
        code, line = fails(tmp_path, "run", "--listen", f"tcp://{holder.address}", "--admin", "off")
        assert (code, line) == (1, f"lbcore: listener listener-1: tcp://{holder.address}: the port is in use")


def test_another_balancers_port_is_taken_too(tmp_path: Path) -> None:
    """SO_REUSEPORT would let both bind and split the clients between them."""
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0") as lb:
        code, line = fails(tmp_path, "run", "--listen", lb.listens[0], "--admin", "off")
        assert (code, "the port is in use" in line) == (1, True)


def test_names(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--name", "one"):
        code, line = fails(tmp_path, "run", "--listen", "tcp://127.0.0.1:0", "--name", "one", "--admin", "off")
        assert (code, "name: 'one' is in use by process" in line) == (1, True)
        with (
            command(tmp_path, "--listen", "tcp://127.0.0.1:0") as two,
            command(tmp_path, "--listen", "tcp://127.0.0.1:0") as three,
        ):
            assert (two.name, three.name) == ("lbcore", "lbcore-2")
        code, line = fails(tmp_path, "status", "--name", "three")
        assert (code, line) == (1, "lbcore: no balancer named 'three' is running (running: one)")


def test_a_killed_worker_is_replaced_on_the_same_socket(tmp_path: Path) -> None:
    """Under load: its own sessions are lost, nobody else's, and no queued connection."""
    with Peer(echo) as peer:
        flags = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--workers", "2"]
        with command(tmp_path, *flags) as lb:
            refused: list[OSError] = []
            cut = 0
            stop = threading.Event()

            def load() -> None:
                nonlocal cut
                while not stop.is_set():
                    try:
                        client = dial(lb.address)
                    except OSError as error:
                        refused.append(error)
                        continue
                    with client:
                        try:
                            client.sendall(b"x")
                            cut += client.recv(1) != b"x"
                        except OSError:
                            cut += 1

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(3):
                victim = lb.status()["workers"][0]["pid"]
                accepted = lb.status()["workers"][0]["accepted"]
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda victim=victim: lb.status()["workers"][0]["pid"] != victim, "a new worker")
                wait_for(lambda accepted=accepted: lb.status()["workers"][0]["accepted"] > accepted, "it accepts", 15)
            stop.set()
            for thread in threads:
                thread.join()
            assert not refused
            assert cut <= 3 * 4 * 2, "at most the sessions of the killed worker are cut"
            assert "killed by signal 9" in lb.stderr.read_text()


STORM = """
import random, signal
from lbcore.cli.wakeup import Wakeup
wake, dice, heard = Wakeup(), random.Random(7), []
signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
for count in range(20_000):
    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 3e-5))
    wake.wait()
    assert len(heard) == count + 1
"""


def test_a_signal_that_comes_as_we_begin_to_wait_is_heard() -> None:
    """With an Event, or a lock of any kind, one of these hangs."""
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=60)


def test_a_worker_outlives_the_control_plane_and_stop_ends_it(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        running = command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off")
        with pytest.raises(AssertionError), running as lb:  # noqa: PT012  # it cannot end in good order
            worker = psutil.Process(lb.status()["workers"][0]["pid"])
            client = dial(lb.address)
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            lb.process.kill()
            lb.process.wait()
            client.sendall(b"y")
            assert read_exactly(client, 1) == b"y"
            with dial(lb.address) as new:
                new.sendall(b"z")
                assert read_exactly(new, 1) == b"z"
            assert lb.cli("stop").stdout == "lbcore: its control plane was gone; 1 workers stopped\n"
            worker.wait(5)
            client.close()


def test_status_of_a_balancer_that_hangs(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0") as lb:
        lb.process.send_signal(signal.SIGSTOP)
        try:
            assert lb.cli("status", "--json").returncode == 0
        finally:
            lb.process.send_signal(signal.SIGCONT)


def test_both_datapaths_can_be_pinned(tmp_path: Path) -> None:
    for datapath in ("copy", "splice"):
        with Peer(echo) as peer:
            flags = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--datapath", datapath, "--pin"]
            with command(tmp_path, *flags) as lb:
                assert f"datapath={datapath}" in lb.ready_line
                with dial(lb.address) as client:
                    client.sendall(b"x" * 1000)
                    assert read_exactly(client, 1000) == b"x" * 1000
                assert (totals(settled(lb))["bytes_spliced"] == 2000) == (datapath == "splice")


def test_closed_outputs_lead_nowhere(tmp_path: Path) -> None:
    """Not to whatever file or socket is opened next under their numbers."""
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    flags = ["--listen", "tcp://127.0.0.1:0", "--admin", "off", "--workers", "1"]
    running = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *RUN, *flags], env=env)
    try:
        wait_for((tmp_path / "lbcore.json").exists, "it serves")
        found = [os.readlink(f"/proc/{running.pid}/fd/{number}") for number in range(3)]
        assert found == ["/dev/null"] * 3
    finally:
        running.terminate()
        assert running.wait(20) == 0


def test_stopping_is_quick_when_nothing_is_under_way(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--workers", "2") as lb:
        began = time.monotonic()
        assert lb.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 1.5 * SLOWER


def test_version_and_check(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "lbcore", "version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert {"lbcore", "python", "kernel", "splice", "offload"} <= {line.partition(":")[0] for line in done.stdout.splitlines()}
    file = configuration(tmp_path / "lb.toml", {"a": "tcp://127.0.0.1:0"}, ["127.0.0.1:1"])
    done = subprocess.run([sys.executable, "-m", "lbcore", "check", file], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{file}: ok, 1 listener, 1 pool, 1 backend\n"


def test_demo_keeps_its_promises() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lbcore", "demo", "--seconds", "4"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 30 * SLOWER
    assert "kill -9" in done.stdout
    assert "register to request" in done.stdout


def test_the_default_admin_port_gives_way(tmp_path: Path) -> None:
    running = []
    try:
        for number in range(2):
            running.append(Command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--workers", "1", "--name", f"n{number}"))
        assert running[0].admin != running[1].admin
        assert running[1].admin.startswith("http://127.0.0.1:")
    finally:
        for one in running:
            one.stop()


def test_demo_on_a_terminal() -> None:
    """Its live table reads the status from a thread of its own, up to the end."""
    line = f"{sys.executable} -m lbcore demo --seconds 4"
    done = subprocess.run(["script", "-qec", line, "/dev/null"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "register to request" in done.stdout


def test_the_only_balancer_needs_no_name(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--name", "shop") as lb:
        for words in (["status"], ["status", "shop"], ["status", "--name", "shop"], ["why"], ["backend", "list"]):
            assert lb.cli(*words).returncode == 0, words
        assert lb.cli("reload").stderr.startswith("lbcore: reload: this balancer was started without a configuration file")
        assert lb.cli("status", "other").stderr == "lbcore: no balancer named 'other' is running (running: shop)\n"
        done = lb.cli("status", "shop", "--name", "other")
        assert (done.returncode, "the argument says 'shop', --name says 'other'" in done.stderr) == (2, True)
        with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--name", "second"):
            for words in (["status"], ["stop"], ["backend", "list"], ["backend", "add", "127.0.0.1:1"]):
                done = lb.cli(*words)
                assert (done.returncode, done.stderr) == (1, "lbcore: several balancers run: name one of second, shop\n")
        assert lb.cli("stop").stdout == "shop: stopped\n"
    assert lb.cli("status").stderr == "lbcore: no balancer is running\n"


def test_balancers_of_systemd_units_are_found(tmp_path: Path) -> None:
    """A unit has a runtime directory of its own beside that of others: RuntimeDirectory=lbcore-NAME."""
    home = tmp_path / "lbcore-shop"
    home.mkdir(mode=0o700)
    with command(home, "--listen", "tcp://127.0.0.1:0", "--name", "shop") as lb:
        env = {key: value for key, value in lb.env.items() if key != "LBCORE_RUNTIME_DIR"} | {"XDG_RUNTIME_DIR": str(tmp_path)}
        for words in (["status"], ["status", "shop"], ["backend", "add", "127.0.0.1:4000"], ["backend", "list"]):
            done = subprocess.run([sys.executable, "-m", "lbcore", *words], env=env, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (0, ""), words
        assert "127.0.0.1:4000" in done.stdout


def test_backend_verbs_find_the_pool_by_the_address(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    pools = "".join(
        f'[[pool]]\nname = "{name}"\nprobe.kind = "off"\n'
        f'backend = [{{ address = "127.0.0.1:{port}" }}, {{ address = "127.0.0.1:9" }}]\n'
        for name, port in (("a", 4001), ("b", 4002))
    )
    file.write_text(f'[[listener]]\nbind = "tcp://127.0.0.1:0"\npool = "a"\n{pools}')
    with command(tmp_path, "-c", str(file)) as lb:
        assert lb.cli("backend", "drain", "127.0.0.1:4002").stdout.startswith("127.0.0.1:4002 in pool b: draining")
        assert lb.cli("backend", "ready", "127.0.0.1:4002").stdout.startswith("127.0.0.1:4002 in pool b: up")
        assert lb.cli("backend", "weight", "127.0.0.1:4001", "7").stdout == "127.0.0.1:4001 in pool a: up, weight 7\n"
        done = lb.cli("backend", "drain", "127.0.0.1:9")
        assert (done.returncode, done.stderr) == (2, "lbcore: pool: 127.0.0.1:9 is in several: name one of a, b\n")
        assert lb.cli("backend", "remove", "127.0.0.1:9", "--pool", "b").returncode == 0
        found = json.loads(lb.cli("backend", "list", "--json").stdout)
        assert {(row["pool"], row["address"]) for row in found} >= {("a", "127.0.0.1:4001"), ("b", "127.0.0.1:4002")}
        assert "127.0.0.1:4001" not in lb.cli("backend", "list", "--pool", "b").stdout
        assert lb.cli("backend", "list", "--pool", "c").stderr == "lbcore: pool: 'c' is unknown (known: a, b)\n"


def test_check_and_version_as_json(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    bad.write_text("wrokers = 2\nworkers = 99\n")
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}

    def said(*words: str) -> tuple[int, dict[str, object]]:
        done = subprocess.run([sys.executable, "-m", "lbcore", *words], env=env, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    code, found = said("check", str(good), "--json")
    assert (code, found) == (
        0, {"file": str(good), "ok": True, "problems": [], "advice": [], "listeners": 1, "pools": 1, "backends": 0},
    )  # fmt: skip
    code, found = said("check", str(bad), "--json")
    assert (code, found["ok"]) == (2, False)
    assert found["problems"] == [
        "workers: 99 is not allowed (allowed: a whole number from 1 to 64)", "wrokers: unknown key (did you mean 'workers'?)",
    ]  # fmt: skip
    code, found = said("version", "--json")
    assert code == 0
    assert found["lbcore"]
    plain = subprocess.run([sys.executable, "-m", "lbcore", "--version"], env=env, capture_output=True, text=True, timeout=60)
    assert plain.stdout == f"lbcore {found['lbcore']}\n"


def test_addresses_are_whole_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from lbcore.cli import show

    address = "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    head = ("pool", "policy", "backend", "state", "weight", "active", "sessions", "failures", "ms", "source", "reason")
    show.table(
        head, [("a-pool-of-models", "p2c", address, "up", 1, 0, 0, 0, 0.1, "config", "3 probes failed: connection refused")]
    )
    shown = capsys.readouterr().out
    assert address in shown
    assert "a-pool-of-models" in shown


def test_help_of_every_command_is_complete_on_its_own() -> None:
    from lbcore.cli.commands import application

    def commands(found: Any, path: str = "lbcore") -> Iterator[tuple[str, Any]]:
        yield path, found
        for name, inner in getattr(found, "commands", {}).items():
            yield from commands(inner, f"{path} {name}")

    for path, found in commands(application()):
        if path != "lbcore":
            assert 10 < len(found.get_short_help_str(200)) < 50, (path, found.get_short_help_str(200))
        for parameter in found.params:
            help_text, metavar = getattr(parameter, "help", None) or "", parameter.metavar or ""
            assert help_text, (path, parameter.name)
            assert not re.search(r"\b[Ll]ikewise\b", help_text), (path, parameter.name)
            assert metavar not in ("TEXT", "INTEGER", "FLOAT", "PATH"), (path, parameter.name)
            takes_value = not getattr(parameter, "is_flag", False)
            assert metavar or not takes_value or "completion" in parameter.name, (path, parameter.name)
