"""lbcore upgrade: the same process goes on as the version that is installed now, then its workers, one by one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Command, Peer, command, dial, echo, free_port, is_refused, totals, wait_for
from loads import Load, Server
from orphans import words

from lbcore.client.registration import AdminClient

if TYPE_CHECKING:
    from collections.abc import Iterator


def serving(running: Command) -> set[int]:
    return {worker["pid"] for worker in running.status()["workers"] if worker["state"] == "serving"}


def upgraded(running: Command) -> str:
    done = running.cli("upgrade", "--name", "shop")
    assert done.returncode == 0, done.stdout + done.stderr + running.stderr.read_text()
    return done.stdout


def test_no_request_fails_and_every_step_is_told(tmp_path: Path) -> None:
    with Server(tmp_path) as backend, command(tmp_path, *words(f"http://127.0.0.1:{free_port()}", backend.address)) as running:
        old, before = serving(running), running.status()
        with Load(running.address) as load:
            for _ in range(2):  # the second goes back to the first sections
                said = upgraded(running)
                load.flows()
            assert "can take over" in said
            assert f"process {running.pid}" in said
            assert "workers: 2 replaced" in said
        assert load.bad == []
        assert running.process.poll() is None
        assert not serving(running) & old
        # an answer is counted when it is sent: the client may have it first
        wait_for(lambda: totals(running.status())["requests_done"] >= load.good, "every answer is counted")
        after = running.status()
        assert after["pools"][0]["backends"][0]["id"] == before["pools"][0]["backends"][0]["id"]


def test_a_long_session_ends_when_it_wants_to(tmp_path: Path) -> None:
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        with dial(running.address) as client:
            client.sendall(b"before")
            assert client.recv(20) == b"before"
            upgraded(running)
            client.sendall(b"after")
            assert client.recv(20) == b"after"
            with dial(running.address) as other:
                other.sendall(b"new")
                assert other.recv(20) == b"new"
            figures = running.status()
            assert {worker["state"] for worker in figures["workers"]} >= {"serving", "draining"}
            assert figures["pools"][0]["backends"][0]["active"] >= 1
        wait_for(lambda: all(worker["state"] != "draining" for worker in running.status()["workers"]), "the old worker ends")


def test_a_stop_in_the_middle_of_an_upgrade_ends_all(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        running = Command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address), "--drain-timeout", "1s")
        with dial(running.address) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            assert running.call("/upgrade")[0] == 200
            os.kill(running.pid, signal.SIGTERM)
            assert running.process.wait(30) == 0, running.stderr.read_text()
        assert is_refused(running.address)
        wait_for(lambda: not os.path.exists(f"/proc/{running.pid}"), "it is gone")


def test_an_upgrade_amid_reloads_that_wait_for_each_other(tmp_path: Path) -> None:
    """The one that makes way has the lock that they wait for, and waits for them."""
    config = tmp_path / "lb.toml"
    over = threading.Event()
    with Peer(echo) as peer:
        config.write_text(
            f'name = "shop"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        with command(tmp_path, "-c", str(config), "--workers", "2") as running:

            def reloads() -> None:
                control = AdminClient(f"unix:{tmp_path}/shop.sock", timeout=20)
                while not over.is_set():
                    with contextlib.suppress(OSError):  # while nobody is there
                        control.call("POST", "/reload", {})
                        os.kill(running.pid, signal.SIGHUP)

            threads = [threading.Thread(target=reloads) for _ in range(6)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(3):
                    upgraded(running)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            with dial(running.address) as client:
                client.sendall(b"on")
                assert client.recv(20) == b"on"


def test_of_two_upgrades_at_once_one_is_refused(tmp_path: Path) -> None:
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        line = [sys.executable, "-m", "lbcore", "upgrade", "--name", "shop"]
        both = [
            subprocess.Popen(line, env=running.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        said = [process.communicate(timeout=60) for process in both]
        assert sorted(process.returncode for process in both) == [0, 1], said
        errors = [err for _, err in said if err]
        assert errors[0] in ("lbcore: an upgrade is under way\n",) or "its control socket does not respond" in errors[0], errors
        upgraded(running)


def test_a_second_upgrade_waits_for_those_who_drain(tmp_path: Path) -> None:
    """Nothing is changed before the places of the last upgrade's workers are free."""
    line = words(f"tcp://127.0.0.1:{free_port()}", "127.0.0.1:1")
    with Peer(echo) as peer:
        line[line.index("127.0.0.1:1")] = peer.address
        with command(tmp_path, *line, "--drain-timeout", "5s") as running, dial(running.address) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            upgraded(running)
            first = serving(running)
            code, answer = running.call("/upgrade")
            assert (code, "still drain" in answer["error"], 0 < answer["wait_s"] <= 5) == (409, True, True), answer
            check = running.cli("upgrade", "--name", "shop", "--check")
            assert (check.returncode, "still drain" in check.stderr, "waits for them" in check.stderr) == (1, True, True), check
            assert serving(running) == first
            assert running.stderr.read_text().count("in the place of") == 1
            said = upgraded(running)
            assert "waiting" in said
            assert not serving(running) & first
            states = [worker["state"] for worker in running.status()["workers"]]
            assert (states.count("serving"), "draining" in states) == (2, False)


def test_nobody_reads_stdout_any_more(tmp_path: Path) -> None:
    """As in `lbcore run ... | head -1`, or where a script has read the ready line and closed the pipe."""
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        upgraded(running)
        assert running.process.poll() is None
        assert "the ready line could not be written" in running.stderr.read_text()
        upgraded(running)


def test_stdout_is_full(tmp_path: Path) -> None:
    """A reader that is stuck holds nothing up."""
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        pipe = os.open(f"/proc/{running.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x")
        os.close(pipe)
        upgraded(running)
        assert "the ready line could not be written" in running.stderr.read_text()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the package, to be spoilt."""
    root = Path(__file__).resolve().parents[2]
    site = tmp_path / "site"
    shutil.copytree(root / "lbcore", site / "lbcore", ignore=shutil.ignore_patterns("__pycache__", "*.c"))
    return site


def from_copy(site: Path, directory: Path, *arguments: str) -> Any:
    return Command(directory, *arguments, env={"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda package: (package / "api" / "balancer.py").write_text("import nothing_of_that_name\n"), "nothing_of_that_name"),
        (
            lambda package: (package / "_layout.py").write_text(
                (package / "_layout.py").read_text() + "\nraise OSError('half')"
            ),
            "half",
        ),
    ],
    ids=["it cannot be imported", "a file of it is half written"],
)
def test_a_version_that_does_not_start_leaves_the_old_one_serving(
    tmp_path: Path, installed: Path, spoil: Any, said: str
) -> None:
    with Peer(echo) as peer:
        running = from_copy(installed, tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address))
        try:
            old = serving(running)
            spoil(installed / "lbcore")
            code, answer = running.call("/upgrade")
            assert code == 409, answer
            assert said in answer["error"]
            assert serving(running) == old
            with dial(running.address) as client:
                client.sendall(b"still")
                assert client.recv(20) == b"still"
        finally:
            assert running.stop() == 0, running.stderr.read_text()


def test_workers_that_cannot_be_replaced_are_told_at_once(tmp_path: Path, installed: Path) -> None:
    with Peer(echo) as peer:
        running = from_copy(installed, tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address))
        try:
            old = serving(running)
            with (installed / "lbcore" / "control" / "worker.py").open("a") as file:
                file.write("\n\ndef main(arguments: list[str]) -> int:\n    sys.exit(3)\n")
            began = time.monotonic()
            done = running.cli("upgrade", "--name", "shop")
            assert (done.returncode, "2 of 2 workers were not replaced" in done.stderr) == (1, True), done
            assert "exit code 3" in done.stderr
            assert time.monotonic() - began < 20 * SLOWER
            assert serving(running) == old
            with dial(running.address) as client:
                client.sendall(b"still")
                assert client.recv(20) == b"still"
        finally:
            assert running.stop() == 0, running.stderr.read_text()


def spoilt(path: Path, text: str, holder: Peer) -> Iterator[tuple[str, str]]:
    """What has gone bad since the start, without being wrong in itself: the file as it is now, and what is said of it."""
    yield text.replace('"shop"', '"other"'), "name: 'other' instead of 'shop' requires a restart"
    yield f'access_log = "{path}/none/log"\n{text}', "access_log: "
    yield f'{text}[[listener]]\nname = "b"\nbind = "tcp://{holder.address}"\n', "the port is in use"
    yield f'{text}[admin]\nlisten = "{holder.address}"\n', "Address already in use"
    shown = f'[[listener.certificate]]\ncert = "{path}/none.pem"\n'
    yield f'{text}[[listener]]\nname = "b"\nbind = "https://127.0.0.1:{free_port()}"\n{shown}', "none.pem"


def test_what_the_new_version_could_not_have_leaves_the_old_one_serving(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    with Peer(echo) as peer, Peer(echo) as holder:
        text = (
            f'name = "shop"\n[[pool]]\n[[pool.backend]]\naddress = "{peer.address}"\n'
            f'[[listener]]\nname = "a"\nbind = "tcp://127.0.0.1:{free_port()}"\n'
        )
        config.write_text(text)
        running = Command(tmp_path, "-c", str(config), "--workers", "1")
        try:
            old = serving(running)
            for bad, says in spoilt(tmp_path, text, holder):
                config.write_text(bad)
                code, answer = running.call("/upgrade")
                assert (code, says in answer["error"]) == (409, True), answer
                assert running.process.poll() is None
                assert serving(running) == old
            config.write_text(f'{text}[[listener]]\nname = "b"\nbind = "tcp://127.0.0.1:{free_port()}"\n')
            upgraded(running)
        finally:
            assert running.stop() == 0, running.stderr.read_text()


def test_an_instance_keeps_the_name_that_it_had_to_take(tmp_path: Path) -> None:
    """lbcore-2, when the first has gone: under the default name its workers would not be found, and their ports be taken."""
    with Peer(echo) as peer:
        flags = ["--backend", peer.address, "--health", "off"]
        with command(tmp_path, "--listen", f"tcp://127.0.0.1:{free_port()}", *flags) as first:
            second = Command(tmp_path, "--listen", f"tcp://127.0.0.1:{free_port()}", *flags, "--workers", "1", "--admin", "off")
            assert (first.name, second.name) == ("lbcore", "lbcore-2")
        done = second.cli("upgrade", "--name", "lbcore-2")
        assert done.returncode == 0, done.stdout + done.stderr + second.stderr.read_text()
        with dial(second.address) as client:
            client.sendall(b"on")
            assert client.recv(20) == b"on"
        assert second.stop() == 0


def test_a_configuration_that_went_bad_leaves_the_old_one_serving(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    with Peer(echo) as peer:
        text = (
            f'name = "shop"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        config.write_text(text)
        with command(tmp_path, "-c", str(config)) as running:
            config.write_text(text + "nonsense = 1\n")
            done = running.cli("upgrade", "--name", "shop")
            assert done.returncode == 1
            assert "nonsense" in done.stderr
            config.write_text(text)
            address = running.address
            upgraded(running)
            with dial(address) as client:
                client.sendall(b"on")
                assert client.recv(20) == b"on"


def test_only_a_command_can_be_upgraded(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lbcore", "upgrade", "--name", "nobody"],
        env={**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no balancer named 'nobody' is running" in done.stderr


# --- step by step ----------------------------------------------------------------------------------------------------


def by_steps(running: Command, answers: str) -> Any:
    line = [sys.executable, "-m", "lbcore", "upgrade", "--name", "shop", "--step"]
    return subprocess.run(line, env=running.env, input=answers, capture_output=True, text=True, timeout=90)


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        old = serving(running)
        done = running.cli("upgrade", "--name", "shop", "--check")
        assert (done.returncode, "can take over" in done.stdout) == (0, True), done.stderr
        assert serving(running) == old
        assert "in the place of" not in running.stderr.read_text()


def test_steps_are_asked_for_and_may_end_after_each(tmp_path: Path) -> None:
    """Under load: what runs after each step is whole, and a later upgrade goes on from there."""
    with Server(tmp_path) as backend, command(tmp_path, *words(f"http://127.0.0.1:{free_port()}", backend.address)) as running:
        old = serving(running)
        with Load(running.address) as load:
            done = by_steps(running, "n\n")
            assert (done.returncode, "nothing was changed" in done.stdout) == (1, True), done.stderr
            assert serving(running) == old
            done = by_steps(running, "y\nn\n")
            assert (done.returncode, "2 of 2 workers are still" in done.stdout) == (1, True), done.stderr
            assert serving(running) == old
            load.flows()
            done = by_steps(running, "y\ny\nn\n")
            assert (done.returncode, "1 of 2 workers are still" in done.stdout) == (1, True), done.stderr
            assert len(serving(running) & old) == 1
            load.flows()
            upgraded(running)
            assert not serving(running) & old
            load.flows()
        assert load.bad == []


def test_steps_that_make_no_sense_are_one_clear_line(tmp_path: Path) -> None:
    with Peer(echo) as peer, command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address)) as running:
        assert running.call("/upgrade", step="half")[0] == 422
        assert running.call("/upgrade", step="worker")[0] == 422
        assert running.call("/upgrade", step="check", worker=0)[0] == 422
        code, answer = running.call("/upgrade", step="worker", worker=7)
        assert (code, answer["error"]) == (409, "worker 7: there are 2, counted from 0")
