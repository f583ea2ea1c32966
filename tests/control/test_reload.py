"""A reload of `lbcore run`: under load, of a broken file, and what flags and the file say together."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

from command_files import configuration
from harness import Command, Peer, command, dial, echo, named, read_exactly, wait_for
from refusals import fails


def test_reload_under_load_loses_nothing(tmp_path: Path) -> None:
    with Peer(echo) as one, Peer(echo) as two, socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        second = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
        reserved.close()
        file = configuration(tmp_path / "lb.toml", {"a": "tcp://127.0.0.1:0"}, [one.address], drain="60s")
        with command(tmp_path, "-c", str(file), "--workers", "2") as lb:
            steady = dial(lb.address)
            failures: list[BaseException] = []
            stop = threading.Event()

            def load() -> None:
                while not stop.is_set():
                    try:
                        with dial(lb.address) as client:
                            client.sendall(b"x")
                            assert client.recv(1) == b"x"
                    except (OSError, AssertionError) as error:
                        failures.append(error)

            threads = [threading.Thread(target=load) for _ in range(3)]
            for thread in threads:
                thread.start()
            for turn in range(6):
                more = {"b": second} if turn % 2 else {}
                backends = [one.address, two.address][turn % 2 :]
                # the steady session may be on one that leaves for a while: it is given the time
                configuration(file, {"a": "tcp://127.0.0.1:0"} | more, backends, "retries = 1\n", "60s")
                if turn % 3:
                    assert lb.cli("reload").stdout == "lbcore: reloaded\n"
                else:
                    count = lb.stderr.read_text().count("reloaded")
                    lb.process.send_signal(signal.SIGHUP)
                    wait_for(lambda count=count: lb.stderr.read_text().count("reloaded") > count, "it reloads")
                names = [listener["name"] for listener in lb.status()["listeners"]]
                assert names == ["a", *more]
                if more:
                    port = int(second.rpartition(":")[2])
                    with dial(("127.0.0.1", port)) as client:
                        client.sendall(b"x")
                        assert read_exactly(client, 1) == b"x"
            stop.set()
            for thread in threads:
                thread.join()
            assert not failures
            steady.sendall(b"still here")
            assert read_exactly(steady, 10) == b"still here"
            steady.close()
            assert two.connections > 0


def test_flags_hold_for_the_file_that_is_read_again(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer:
        file = tmp_path / "lb.toml"
        file.write_text('name = "other"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
        flags = ["--name", "mine", "--workers", "1", "--backend", peer.address, "--health", "off"]
        with command(tmp_path, "-c", str(file), *flags) as lb:
            assert lb.cli("reload", "--name", "mine").stdout == "mine: reloaded\n"
            with dial(lb.address) as client:
                assert read_exactly(client, 2) == b"hi"


def test_a_file_without_admin_has_the_admin_server_that_flags_have(tmp_path: Path) -> None:
    file = configuration(tmp_path / "lb.toml", {"a": "tcp://127.0.0.1:0"}, ["127.0.0.1:9"])
    lb = Command(tmp_path, "-c", str(file), "--workers", "1")  # not `command`, which says --admin off
    try:
        assert lb.admin.startswith("http://127.0.0.1:")
        assert lb.cli("reload").stdout == "lbcore: reloaded\n"  # with 9900 taken it is another port, and stays that one
        file.write_text(file.read_text() + '[admin]\nlisten = "off"\n')
        assert "admin: None instead of a table requires a restart" in lb.cli("reload").stderr
    finally:
        assert lb.stop() == 0
    lb = Command(tmp_path, "-c", str(file), "--workers", "1")
    try:
        assert lb.admin == "off"
    finally:
        assert lb.stop() == 0


def test_a_file_without_a_listener_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text("workers = 1\n")
    for words in (("check", str(file)), ("run", "-c", str(file))):
        code, said = fails(tmp_path, *words)
        assert (code, "listener: missing (give [[listener]]" in said) == (2, True), said
    with command(tmp_path, "-c", str(file), "--listen", "tcp://127.0.0.1:0") as lb:
        assert lb.address


def test_a_broken_file_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer:
        file = configuration(tmp_path / "lb.toml", {"a": "tcp://127.0.0.1:0"}, [peer.address])
        with command(tmp_path, "-c", str(file), "--workers", "2") as lb:
            for broken, says in (
                ("nonsense", "not TOML"),
                ("zork = 1\n", "zork: unknown key"),
                (
                    'workers = 2\nname = "other"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n',
                    "name: 'other' instead of 'lbcore' requires a restart",
                ),
            ):
                file.write_text(broken)
                done = lb.cli("reload")
                assert (done.returncode, says in done.stderr) == (2, True), done.stderr
                lb.process.send_signal(signal.SIGHUP)
                wait_for(lambda says=says: f"not reloaded: {file}: {says}" in lb.stderr.read_text()
                         or says in lb.stderr.read_text(), "it is logged")  # fmt: skip
            with dial(lb.address) as client:
                assert read_exactly(client, 2) == b"hi"


def test_a_taken_port_on_reload_changes_nothing(tmp_path: Path) -> None:
    with Peer(named(b"hi")) as peer, Peer(echo) as holder:
        file = configuration(tmp_path / "lb.toml", {"a": "tcp://127.0.0.1:0"}, [peer.address])
        with command(tmp_path, "-c", str(file), "--workers", "2") as lb:
            configuration(file, {"a": "tcp://127.0.0.1:0", "b": f"tcp://{holder.address}"}, [])
            done = lb.cli("reload")
            assert (done.returncode, "the port is in use" in done.stderr) == (1, True)
            with dial(lb.address) as client:
                assert read_exactly(client, 2) == b"hi"


def test_no_file_no_reload(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0") as lb:
        assert lb.cli("reload").returncode == 2
