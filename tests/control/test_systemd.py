"""What a service manager sees: sockets that it passed, what it is told, the watchdog, lines for the journal, and the unit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Command, Peer, command, dial, echo, free_port, named, read_exactly, wait_for
from users import EVERYWHERE, PYTHON, droppable, filtered, forwards, offloads_for

from lbcore.cli.log import ERROR, INFO, WARNING, Lines, level
from lbcore.config.settings import ListenerSettings
from lbcore.control.systemd import Inherited, Notifier
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def bound(kind: socket.SocketKind = socket.SOCK_STREAM, listens: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM and listens:
            made.listen(64)
        yield made


def url(passed: socket.socket, mode: str = "tcp") -> str:
    return f"{mode}://127.0.0.1:{passed.getsockname()[1]}"


def run_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lbcore", "run", *arguments]


class Manager:
    """Who listens on NOTIFY_SOCKET."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(10 * SLOWER)

    def next(self, *wanted: str) -> dict[str, str]:
        """The next message that has these keys."""
        while True:
            words = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())
            if set(wanted) <= set(words):
                return words

    def pinged(self, within_s: float) -> bool:
        """Does a ping come within the time?"""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if b"WATCHDOG=1" in self.socket.recv(4096):
                    return True
        return False


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.socket.close()


# --- sockets ---------------------------------------------------------------------------------------------------------


def test_what_is_passed_to_another_process_is_left_alone() -> None:
    environment = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "OTHER": "1"}
    assert len(Inherited.receive(environment)) == 0
    assert environment == {"OTHER": "1"}
    assert len(Inherited.receive({})) == 0


def test_sockets_are_found_by_name_and_by_address() -> None:
    with bound() as one, bound() as two, bound(socket.SOCK_DGRAM) as three:
        inherited = Inherited([("web", one), ("", two), ("", three)])
        found = {}
        for listener in (
            ListenerSettings(name="web", bind="http://127.0.0.1:1"),
            ListenerSettings(name="b", bind=url(two, "http")),
            ListenerSettings(name="c", bind=url(three, "udp")),
            ListenerSettings(name="d", bind=url(three, "tcp")),
            ListenerSettings(name="e", bind="tcp://127.0.0.1:0"),
        ):
            with inherited.find(listener) or contextlib.nullcontext() as copy:
                found[listener.name] = copy and copy.getsockname()
        wanted = {"web": one.getsockname(), "b": two.getsockname(), "c": three.getsockname(), "d": None, "e": None}
        assert found == wanted
        assert inherited.unused() == []


@pytest.mark.parametrize(
    ("kind", "listens", "mode", "says"),
    [
        (socket.SOCK_DGRAM, True, "tcp", "is none for mode tcp"),
        (socket.SOCK_STREAM, True, "udp", "is none for mode udp"),
        (socket.SOCK_STREAM, False, "tcp", "does not listen (socket units: Accept=no)"),
    ],
)
def test_a_socket_of_the_wrong_kind_is_refused(kind: Any, listens: bool, mode: str, says: str) -> None:
    with bound(kind, listens) as made, pytest.raises(ConfigError) as caught:
        Inherited([("web", made)]).find(ListenerSettings(name="web", bind=f"{mode}://127.0.0.1:1"))
    assert says in str(caught.value)


def test_a_passed_socket_is_served_by_all_workers_and_outlives_us(tmp_path: Path) -> None:
    """Who connects while nobody serves is served by the next one: the queue is the service manager's."""
    with Peer(echo) as peer, bound() as passed, bound() as stray:
        flags = ["--listen", url(passed), "--backend", peer.address, "--health", "off", "--workers", "2"]
        with command(tmp_path, *flags, sockets=[passed, stray]) as lb:
            assert lb.listens == [url(passed)]
            assert f"no listener uses: 127.0.0.1:{stray.getsockname()[1]}" in lb.stderr.read_text()

            def both() -> bool:
                with contextlib.ExitStack() as stack:
                    for _ in range(20):
                        client = stack.enter_context(dial(lb.address))
                        client.sendall(b"x")
                        assert read_exactly(client, 1) == b"x"
                return all(worker["accepted"] for worker in lb.status()["workers"])

            wait_for(both, "both workers accept")
            victim = lb.status()["workers"][0]["pid"]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: lb.status()["workers"][0]["pid"] != victim, "a new worker")
            wait_for(both, "both workers accept again")
        with dial(("127.0.0.1", passed.getsockname()[1])) as waiting:
            waiting.sendall(b"early")
            with command(tmp_path, *flags, sockets=[passed]):
                assert read_exactly(waiting, 5) == b"early"
                waiting.close()


def test_no_client_is_lost_while_we_restart(tmp_path: Path) -> None:
    """Clients that come all the time, through three restarts: some wait, none fails."""
    with Peer(named(b"hi")) as peer, bound() as passed:
        flags = ["--listen", url(passed), "--backend", peer.address, "--health", "off", "--workers", "2"]
        served: list[bytes] = []
        failures: list[OSError] = []
        stop = threading.Event()

        def come() -> None:
            while not stop.is_set():
                try:
                    with dial(passed.getsockname()) as client:
                        served.append(read_exactly(client, 2))
                except OSError as error:
                    failures.append(error)

        threads = [threading.Thread(target=come) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            lb = Command(tmp_path, *flags, "--admin", "off", sockets=[passed])
            count = len(served)
            wait_for(lambda count=count: len(served) > count + 50, "clients are served")
            assert lb.stop() == 0
        with command(tmp_path, *flags, sockets=[passed]):
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert set(served) == {b"hi"}


def test_datagrams_of_a_passed_socket_go_to_one_worker(tmp_path: Path) -> None:
    def answer(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = server.recvfrom(100)
                if peer is None:  # it was shut down
                    return
                server.sendto(data, peer)

    with bound(socket.SOCK_DGRAM) as passed, bound(socket.SOCK_DGRAM) as server:
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        backend = f"127.0.0.1:{server.getsockname()[1]}"
        config = tmp_path / "lb.toml"
        config.write_text(
            f'workers = 2\n[[listener]]\nbind = "{url(passed, "udp")}"\nidle_timeout = "200ms"\n'
            f'[[pool]]\n[[pool.backend]]\naddress = "{backend}"\n'
        )
        with command(tmp_path, "-c", str(config), "--workers", "2", sockets=[passed]) as lb:
            for number in range(10):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(5 * SLOWER)
                    client.connect(passed.getsockname())
                    for _ in range(3):
                        client.send(b"%d" % number)
                        assert client.recv(100) == b"%d" % number
            assert [worker["accepted"] for worker in lb.status()["workers"]] == [10, 0]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_listener_that_leaves_and_returns_has_its_passed_socket_again(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer, bound() as passed:
        config = tmp_path / "lb.toml"
        base = f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{peer.address}"\n'
        listener = '[[listener]]\nbind = "{}"\n'
        both = listener.format("tcp://127.0.0.1:0") + listener.format(url(passed)) + base
        config.write_text(both)
        with command(tmp_path, "-c", str(config), sockets=[passed]) as lb:
            config.write_text(listener.format("tcp://127.0.0.1:0") + base)
            assert lb.cli("reload").returncode == 0
            with dial(passed.getsockname()) as waiting:
                config.write_text(both)
                assert lb.cli("reload").returncode == 0
                assert read_exactly(waiting, 2) == b"hi"
                waiting.close()


def test_an_upgrade_goes_on_with_what_was_passed(tmp_path: Path, manager: Manager) -> None:
    """The sockets, and who is told: this process becomes another program."""
    env = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(900_000 * SLOWER)}
    with Peer(named(b"hi")) as peer, bound() as passed:
        flags = ["--listen", url(passed), "--backend", peer.address, "--health", "off", "--workers", "2"]
        with command(tmp_path, *flags, sockets=[passed], env=env) as lb:
            manager.next("READY")
            before = {worker["pid"] for worker in lb.status()["workers"]}
            assert lb.cli("upgrade").returncode == 0
            manager.next("RELOADING")
            assert manager.next("READY")["MAINPID"] == str(lb.pid)
            assert manager.pinged(5 * SLOWER)
            assert not before & {worker["pid"] for worker in lb.status()["workers"] if worker["state"] == "serving"}
            with dial(lb.address) as client:
                assert read_exactly(client, 2) == b"hi"
            assert "no listener uses" not in lb.stderr.read_text()


def test_a_passed_socket_is_adopted_with_the_workers_that_have_it(tmp_path: Path) -> None:
    """One worker died with the control plane: the one that comes in its place shares the socket, too."""
    with Peer(named(b"hi")) as peer, bound() as passed:
        flags = ["--listen", url(passed), "--backend", peer.address, "--health", "off", "--workers", "2", "--admin", "off"]
        first = Command(tmp_path, *flags, sockets=[passed])
        victim, survivor = (worker["pid"] for worker in first.status()["workers"])
        first.process.kill()
        first.process.wait()
        first.stop()
        os.kill(victim, signal.SIGKILL)
        with command(tmp_path, *flags) as lb:

            def both() -> bool:
                with dial(lb.address) as client:
                    assert read_exactly(client, 2) == b"hi"
                return sum(worker["accepted"] > 0 for worker in lb.status()["workers"] if worker["state"] == "serving") == 2

            wait_for(both, "both workers accept")
            assert survivor in {worker["pid"] for worker in lb.status()["workers"]}


def test_a_passed_socket_that_is_let_go_wakes_no_worker(tmp_path: Path) -> None:
    """It lives on with the service manager, and so would its events: a worker that drains would spin on them."""
    with Peer(echo) as peer, bound() as passed:
        flags = ["--listen", url(passed), "--backend", peer.address, "--health", "off"]
        with command(tmp_path, *flags, sockets=[passed]) as lb, dial(lb.address) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            lb.process.send_signal(signal.SIGTERM)
            wait_for(lambda: lb.status()["workers"][0]["state"] == "draining", "it drains")
            with dial(lb.address):  # waits for the next one
                before = lb.status()["workers"][0]["turns"]
                time.sleep(0.3)  # nothing happens, which nothing tells
                assert lb.status()["workers"][0]["turns"] - before < 50
            client.close()
            lb.process.wait(20)


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_under_systemds_own_socket_activation(tmp_path: Path) -> None:
    port = free_port()
    with Peer(named(b"hi")) as peer:
        line = run_line("--listen", f"tcp://127.0.0.1:{port}", "--backend", peer.address, "--admin", "off", "--workers", "1")
        tool = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-E", f"LBCORE_RUNTIME_DIR={tmp_path}"]
        tool += ["-E", "PYTHONPATH", *line]
        process = subprocess.Popen(tool, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            assert "Listening on" in process.stderr.readline()
            with dial(("127.0.0.1", port)) as client:
                assert read_exactly(client, 2) == b"hi"
        finally:
            process.terminate()
            process.wait(20)
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()
        assert process.returncode == 0


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


def test_the_harness_passes_what_it_says(tmp_path: Path) -> None:
    """Else the tests above would show nothing: without LISTEN_FDS the address is taken."""
    with bound() as passed:
        env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
        line = run_line("--listen", url(passed), "--admin", "off")
        done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "the port is in use" in done.stderr) == (1, True)
