"""Root given up by `user`: whose processes, files and directories are whose, and that all goes on as it did."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Command, Peer, command, dial, echo, free_port, read_exactly, wait_for
from loads import Load, Server
from orphans import kill_control
from tls_peers import Authority, TlsClient, trusting
from users import EVERYWHERE, PYTHON, droppable, facts, forwards, offloads_for

from lbcore.config.settings import BalancerSettings
from lbcore.control import privileges, runtime
from lbcore.errors import ConfigError, LbcoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


NET_BIND = 1 << 10  # capabilities(7)
OFFLOADS = 1 << 12 | 1 << 38 | 1 << 39  # CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def capabilities(pid: int) -> set[int]:
    """All that it has or might get."""
    found = facts(pid)
    return {int(found[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def dropped(place: Path, *arguments: str) -> contextlib.AbstractContextManager[Command]:
    """`lbcore run` started by root, with a runtime directory of its own."""
    (place / "run").mkdir(mode=0o700, exist_ok=True)
    return command(place / "run", *arguments, python=PYTHON, env=EVERYWHERE)


def written(place: Path, backend: str, listen: str = "tcp://127.0.0.1:0", more: str = "", top: str = "") -> Path:
    path = place / "lb.toml"
    path.write_text(
        f'name = "shop"\nuser = "nobody"\nworkers = 2\n{top}\n[[listener]]\nbind = "{listen}"\n{more}\n'
        f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{backend}"\n'
    )
    return path


# --- root given up -----------------------------------------------------------------------------------------------------


@droppable
def test_control_plane_and_workers_run_as_the_user(place: Path) -> None:
    with Peer(echo) as peer, dropped(place, "-c", str(written(place, peer.address)), "--workers", "2") as lb:
        for pid in (lb.pid, *(worker["pid"] for worker in lb.status()["workers"])):
            found = facts(pid)
            assert found["Uid"].split() == found["Gid"].split() == ["65534"] * 4
            assert found["Groups"] in ("65534", "")
            assert found["NoNewPrivs"] == "1"
            if pid == lb.pid:
                assert capabilities(pid) == {NET_BIND}
            else:  # no_new_privs makes what is left of the bounding set mean nothing
                assert capabilities(pid) == {0, NET_BIND}
                assert facts(pid)["CapBnd"] == f"{NET_BIND:016x}"
        with dial(lb.address) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
        assert (place / "run").stat().st_uid == 65534
        assert stat.S_IMODE((place / "run").stat().st_mode) == 0o700
        for file in (place / "run").iterdir():
            if not file.name.startswith("stderr"):
                assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (65534, 0o600), file


def sets(pid: int) -> dict[str, int]:
    """Its capabilities by set: Inh, Prm, Eff, Bnd, Amb."""
    return {key[3:]: int(value, 16) for key, value in facts(pid).items() if key.startswith("Cap")}


@droppable
@forwards
@pytest.mark.parametrize("more", ['datapath = "offload"', "offload_local = true"])
def test_offload_goes_with_a_user_and_its_rights_rest(place: Path, more: str) -> None:
    """Root is given up, and yet every worker gets its program, one that is started later too; then it has no right left."""
    with Peer(echo) as peer, dropped(place, "-c", str(written(place, peer.address, top=more)), "--workers", "1") as lb:
        kept = NET_BIND | OFFLOADS
        assert sets(lb.pid) == {"Eff": NET_BIND, "Prm": kept, "Inh": kept, "Amb": kept, "Bnd": kept}
        for thread in Path(f"/proc/{lb.pid}/task").iterdir():
            assert facts(int(thread.name))["CapEff"] == f"{NET_BIND:016x}", "of every thread of it"
        for _ in range(2):
            worker = lb.status()["workers"][0]["pid"]
            assert facts(worker)["Uid"].split() == ["65534"] * 4
            assert facts(worker)["NoNewPrivs"] == "1"
            assert {name: rights for name, rights in sets(worker).items() if name != "Bnd"} == dict.fromkeys(
                ("Eff", "Prm", "Inh", "Amb"), 0
            )
            assert lb.status()["workers"][0]["forwards"] is True
            if "datapath" in more:
                assert offloads_for(lb) == 1
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda gone=worker: lb.status()["workers"][0]["pid"] not in (0, gone), "another worker")
            wait_for(lambda: lb.status()["workers"][0]["state"] == "serving", "it serves")
        assert "forwards nothing" not in lb.stderr.read_text()


@droppable
@forwards
def test_offload_goes_on_after_an_upgrade_as_the_user(place: Path) -> None:
    with Peer(echo) as peer:
        config = written(place, peer.address, f"tcp://127.0.0.1:{free_port()}", top='datapath = "offload"')
        with dropped(place, "-c", str(config), "--workers", "1") as lb:
            assert offloads_for(lb) == 1
            done = lb.cli("upgrade", "--name", "shop")
            assert done.returncode == 0, done.stdout + done.stderr + lb.stderr.read_text()
            assert sets(lb.pid)["Eff"] == NET_BIND, "what an exec brings back rests again"
            assert sets(lb.pid)["Amb"] == NET_BIND | OFFLOADS
            wait_for(lambda: offloads_for(lb) == 1, "the next worker forwards, too")


@droppable
@forwards
def test_rights_that_a_service_manager_gives_rest_in_the_control_plane(place: Path) -> None:
    """AmbientCapabilities of a unit: who is started as the user needs no root at all."""
    (place / "run").mkdir(mode=0o700)
    os.chown(place / "run", 65534, 65534)
    rights = "+net_admin,+bpf,+perfmon"
    words = ["setpriv", "--reuid", "65534", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    with Peer(echo) as peer:
        line = ["--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off", "--datapath", "offload"]
        with command(place / "run", *line, python=PYTHON, env=EVERYWHERE, through=words) as lb:
            assert sets(lb.pid)["Eff"] == 0
            assert sets(lb.pid)["Amb"] == OFFLOADS
            assert offloads_for(lb) == 1


@droppable
def test_commands_find_it_as_root_and_as_the_user(place: Path) -> None:
    with Peer(echo) as peer, dropped(place, "-c", str(written(place, peer.address)), "--workers", "2") as lb:
        assert "serving" in lb.cli("status", "--name", "shop").stdout
        words = [str(PYTHON), "-m", "lbcore"]
        for arguments in (["status"], ["why"], ["reload"]):
            done = subprocess.run(
                [*words, *arguments, "--name", "shop"],
                env=lb.env,
                user=65534,
                group=65534,
                extra_groups=[],
                capture_output=True,
            )
            assert done.returncode == 0, done.stderr


@droppable
def test_low_ports_are_bound_by_the_start_and_by_a_reload(place: Path) -> None:
    def low() -> int:
        for port in range(600, 1000):
            with contextlib.suppress(OSError), socket.socket() as trial:
                trial.bind(("127.0.0.1", port))
                return port
        pytest.skip("no low port is free")

    with Peer(echo) as peer:
        config = written(place, peer.address, f"tcp://127.0.0.1:{low()}")
        with dropped(place, "-c", str(config), "--workers", "2") as lb:
            second = low()
            config.write_text(config.read_text() + f'[[listener]]\nname = "two"\nbind = "tcp://127.0.0.1:{second}"\n')
            done = lb.cli("reload", "--name", "shop")
            assert done.returncode == 0, done.stderr
            for address in (lb.address, ("127.0.0.1", second)):
                with dial(address) as client:
                    client.sendall(b"x")
                    assert read_exactly(client, 1) == b"x"


@droppable
def test_upgrade_goes_on_as_the_user_and_loses_nothing(place: Path) -> None:
    (place / "origin").mkdir()
    with Server(place / "origin") as backend:
        config = written(place, backend.address, f"http://127.0.0.1:{free_port()}")
        with dropped(place, "-c", str(config), "--workers", "2") as lb:
            with Load(lb.address) as load:
                load.flows()
                done = lb.cli("upgrade", "--name", "shop")
                assert done.returncode == 0, done.stdout + done.stderr + lb.stderr.read_text()
                load.flows()
            assert load.bad == []
            assert facts(lb.pid)["Uid"].split() == ["65534"] * 4
            assert facts(lb.pid)["CapEff"] == f"{NET_BIND:016x}", "a reload may bind low ports still"
            serving = [worker["pid"] for worker in lb.status()["workers"] if worker["state"] == "serving"]
            assert all(facts(pid)["CapEff"] == "0" * 16 for pid in serving)


@droppable
def test_a_killed_control_plane_is_succeeded_by_one_of_root_that_becomes_the_user(place: Path) -> None:
    with Peer(echo) as peer:
        config = written(place, peer.address, f"tcp://127.0.0.1:{free_port()}")
        (place / "run").mkdir(mode=0o700)
        first = Command(
            place / "run", "-c", str(config), "--workers", "2", "--admin", "off", python=str(PYTHON), env=EVERYWHERE
        )
        workers = [worker["pid"] for worker in first.status()["workers"]]
        with dial(first.address) as client:
            client.sendall(b"before")
            assert read_exactly(client, 6) == b"before"
            kill_control(first, 2)
            assert first.process.stdout is not None
            first.process.stdout.close()
            with dropped(place, "-c", str(config), "--workers", "2") as second:
                assert [worker["pid"] for worker in second.status()["workers"]] == workers
                client.sendall(b"after")
                assert read_exactly(client, 5) == b"after"
                client.close()


@droppable
def test_a_key_that_the_user_cannot_read_is_one_clear_line(place: Path, site: Path) -> None:
    key = place / "site.pem"
    key.write_bytes(site.read_bytes())
    key.chmod(0o600)
    more = f'[[listener.certificate]]\ncert = "{key}"\n'
    config = written(place, "127.0.0.1:1", "https://127.0.0.1:0", more)
    env = {**os.environ, **EVERYWHERE, "LBCORE_RUNTIME_DIR": str(place / "run")}
    for words in (["check", str(config)], ["run", "-c", str(config), "--admin", "off"]):
        done = subprocess.run([str(PYTHON), "-m", "lbcore", *words], env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        said = done.stderr.strip().splitlines()
        assert len(said) in (1, 2), said
        assert f"'{key}' cannot be read (Permission denied for user nobody)" in said[0]
    os.chown(key, 65534, 65534)
    done = subprocess.run(
        [str(PYTHON), "-m", "lbcore", "check", str(config)], env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


@droppable
def test_a_renewed_key_that_the_user_cannot_read_leaves_the_old_in_force(place: Path, site: Path, authority: Authority) -> None:
    key, fresh = place / "site.pem", place / "fresh.pem"
    key.write_bytes(site.read_bytes())
    config = written(place, "127.0.0.1:1", "https://127.0.0.1:0", f'[[listener.certificate]]\ncert = "{key}"\n')
    with dropped(place, "-c", str(config), "--workers", "2") as lb:
        fresh.write_bytes(authority.issue("a.test").read_bytes())
        fresh.chmod(0o600)
        fresh.rename(key)
        said = "cannot be read (Permission denied for user nobody); what was read before stays in force"
        wait_for(lambda: said in lb.stderr.read_text(), "it is told")
        assert lb.stderr.read_text().count(said) <= 2, "of the certificate and of the key, once each"
        with TlsClient(lb.address, trusting(authority), "a.test") as client:
            assert client.get().status in (502, 503)


@needs_root
@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({"user": "nobody-of-that-name"}, "user: 'nobody-of-that-name' is not known on this machine"),
        ({"user": "root"}, "user: 'root' is root: name an account with fewer rights"),
        ({"user": "nobody", "group": "no-such-group"}, "group: 'no-such-group' is not known on this machine"),
    ],
)
def test_users_that_cannot_be_are_one_clear_line(top: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        privileges.wanted(BalancerSettings(**top))


def test_a_group_without_a_user_means_nothing() -> None:
    with pytest.raises(ConfigError, match="group: requires user"):
        BalancerSettings(group="nogroup")


@needs_root
def test_a_runtime_directory_where_another_users_balancers_run_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(place / "run"))
    (place / "run").mkdir(mode=0o700)
    with Peer(echo) as peer, command(place / "run", "--listen", "tcp://127.0.0.1:0", "--backend", peer.address):
        with pytest.raises(LbcoreError, match="balancers of another user run there"):
            runtime.settle(65534, 65534)
    runtime.settle(65534, 65534)
    assert (place / "run").stat().st_uid == 65534


@needs_root
def test_nobody_elses_directory_is_taken_unless_it_lies_in_roots(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "home").mkdir()
    os.chown(place / "home", 1000, 1000)
    (place / "home" / "run").mkdir(mode=0o700)
    os.chown(place / "home" / "run", 1000, 1000)
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(place / "home" / "run"))
    with pytest.raises(LbcoreError, match="lies in a directory that is not root's"):
        runtime.settle(65534, 65534)


@needs_root
def test_root_believes_no_word_of_another_users_process(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lbcore stop` by root must not signal whatever process a user's file names."""
    (place / "run").mkdir(mode=0o700)
    os.chown(place / "run", 65534, 65534)
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(place / "run"))
    word = {"name": "shop", "pid": os.getpid(), "segment": "/proc/self/fd/0", "workers": []}
    assert not runtime.is_alive(word)
    os.chown(place / "run", 0, 0)
    assert runtime.is_alive(word)


# --- what lies on disk, and who may reach it ---------------------------------------------------------------------------


def test_sockets_and_files_are_for_their_user_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    old = os.umask(0)
    try:
        with Peer(echo) as peer:
            state, admin = tmp_path / "state.json", tmp_path / "admin.sock"
            config = tmp_path / "lb.toml"
            config.write_text(
                f'state_file = "{state}"\nworkers = 1\n[admin]\nlisten = "unix:{admin}"\n'
                f'[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\n[[pool.backend]]\naddress = "{peer.address}"\n'
            )
            with running_command(tmp_path / "run", "-c", str(config), "--workers", "1") as lb:
                assert lb.call("/backends/add", address="127.0.0.1:1")[0] < 300
                wait_for(state.exists, "the state is saved")
                made = [state, admin, *(file for file in (tmp_path / "run").iterdir() if not file.name.startswith("stderr"))]
                assert {file.name for file in made} >= {"state.json", "admin.sock", "lbcore.json", "lbcore.sock", "lbcore.lock"}
                assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}
                segment = runtime._segment_path(lb.status()["workers"][0]["pid"]) or ""
                assert os.readlink(segment) == runtime.MEMORY, "it is on no disk"
                assert stat.S_IMODE(os.stat(segment).st_mode) == 0o600
                assert stat.S_IMODE(os.stat(f"/proc/{lb.pid}/fd").st_mode) == 0o500
    finally:
        os.umask(old)


@contextlib.contextmanager
def running_command(directory: Path, *arguments: str) -> Iterator[Command]:
    running = Command(directory, *arguments)
    try:
        yield running
    finally:
        assert running.stop() == 0
