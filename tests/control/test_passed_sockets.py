"""Sockets that a service manager passed: found by name and address, served by all workers, kept over restarts and upgrades."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import SLOWER, Command, Peer, command, dial, echo, free_port, named, read_exactly, stays, wait_for
from service_managers import Manager, bound, run_line, url

from lbcore.config.settings import ListenerSettings
from lbcore.control.systemd import Inherited
from lbcore.errors import ConfigError

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
                stays(lambda: lb.status()["workers"][0]["turns"] - before < 50, "it does not spin", 0.3)
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


# --- the unit --------------------------------------------------------------------------------------------------------


def test_the_harness_passes_what_it_says(tmp_path: Path) -> None:
    """Else the tests above would show nothing: without LISTEN_FDS the address is taken."""
    with bound() as passed:
        env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
        line = run_line("--listen", url(passed), "--admin", "off")
        done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "the port is in use" in done.stderr) == (1, True)
