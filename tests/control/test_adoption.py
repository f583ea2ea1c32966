"""A control plane that was killed: its workers go on, and the next one of that name takes them over as they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import Command, Peer, command, dial, echo, free_port, named, totals, wait_for
from loads import Load, Server
from orphans import kill_control, refuges, words

from lbcore.control import adoption

LEASED = {"server_ip": "127.0.0.1", "status": "ready"}


def test_sessions_workers_and_counters_go_on(tmp_path: Path) -> None:
    with Peer(echo) as peer:
        front = f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(front, peer.address))
        before = first.status()
        client = dial(first.address)
        client.sendall(b"before")
        assert client.recv(20) == b"before"
        kill_control(first, 2)
        with dial(first.address) as other:  # they serve meanwhile
            other.sendall(b"meanwhile")
            assert other.recv(20) == b"meanwhile"
        with command(tmp_path, *words(front, peer.address)) as second:
            after = second.status()
            assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]
            assert totals(after)["accepted"] == 2
            assert after["pools"][0]["backends"][0]["id"] == before["pools"][0]["backends"][0]["id"]
            assert after["uptime_s"] > before["uptime_s"]
            assert refuges(tmp_path) == []
            client.sendall(b"still here")
            assert client.recv(20) == b"still here"
            client.close()


@pytest.mark.parametrize("waited_for", [True, False], ids=["buried", "a zombie"])
def test_status_of_workers_that_a_crash_left(tmp_path: Path, waited_for: bool) -> None:
    """They are told from a balancer that runs, also where nobody buries the dead control plane, as in a container."""
    with Peer(echo) as peer:
        front = f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(front, peer.address))
        os.kill(first.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        if waited_for:
            first.process.wait()
        shown = first.cli("status", "--name", "shop")
        assert shown.stdout.startswith("shop: no control plane, its workers go on with the last table; serving for"), shown
        assert peer.address in shown.stdout
        refused = first.cli("reload", "--name", "shop")
        assert (refused.returncode, "no balancer named 'shop' is running" in refused.stderr) == (1, True), refused
        with command(tmp_path, *words(front, peer.address)):
            first.process.wait()
    assert first.process.stdout is not None
    first.process.stdout.close()


def test_no_request_fails_while_control_planes_are_killed_and_others_come(tmp_path: Path) -> None:
    with Server(tmp_path) as backend:
        front = f"http://127.0.0.1:{free_port()}"
        running = Command(tmp_path, *words(front, backend.address))
        pids = [worker["pid"] for worker in running.status()["workers"]]
        with Load(running.address) as load:
            for _ in range(3):
                kill_control(running, 2)
                load.flows()
                running = Command(tmp_path, *words(front, backend.address))
                load.flows()
        assert load.bad == []
        assert [worker["pid"] for worker in running.status()["workers"]] == pids
        assert running.stop() == 0


def test_states_leases_and_drains_are_known_again(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    with Peer(named(b"one")) as one, Peer(named(b"two")) as two:
        config.write_text(
            f"""
            name = "shop"
            workers = 1
            [admin]
            listen = "127.0.0.1:0"
            [[listener]]
            bind = "tcp://127.0.0.1:{free_port()}"
            [[pool]]
            [pool.probe]
            kind = "off"
            [pool.lease]
            heartbeat = "30s"
            [[pool.backend]]
            address = "{one.address}"
            weight = 3
            """
        )
        first = Command(tmp_path, "-c", str(config))
        assert first.call("/register", **LEASED, port=two.port)[0] == 201
        assert first.call("/backends/add", address="127.0.0.1:1")[0] < 300
        assert first.call("/backends/drain", address=one.address)[0] < 300
        before = {backend["address"]: backend for backend in first.status()["pools"][0]["backends"]}
        kill_control(first, 1)
        with command(tmp_path, "-c", str(config), "--workers", "1", "--admin", "127.0.0.1:0") as second:
            after = {backend["address"]: backend for backend in second.status()["pools"][0]["backends"]}
            for address in (one.address, two.address, "127.0.0.1:1"):
                for key in ("id", "state", "source", "weight"):
                    assert after[address][key] == before[address][key], (address, key)
            code, answer = second.call("/heartbeat", server_ip="127.0.0.1", port=two.port, status="alive")
            assert code == 200, answer
            assert second.call("/backends/ready", address=one.address)[0] < 300
            assert second.call("/backends/remove", address="127.0.0.1:1")[0] < 300


def test_one_of_two_instances_of_an_address_leaves_after_an_adoption(tmp_path: Path) -> None:
    """Neither has been heard by the control plane that adopted: it is known how many there are, and the other serves on."""
    listen, rest = f"tcp://127.0.0.1:{free_port()}", ("--name", "shop", "--workers", "1", "--health", "off")
    words = ("--listen", listen, *rest, "--admin", "127.0.0.1:0")
    with Peer(named(b"one")) as peer:
        me = {**LEASED, "port": peer.port}
        first = Command(tmp_path, *words)
        for instance in "ab":
            assert first.call("/register", **me, instance=instance)[0] in (200, 201)
        kill_control(first, 1)
        with command(tmp_path, *words) as second:
            assert second.call("/deregister", server_ip="127.0.0.1", port=peer.port, instance="a")[1]["instances"] == 1
            with dial(second.address) as client:
                assert client.recv(10) == b"one"
            assert second.call("/heartbeat", server_ip="127.0.0.1", port=peer.port, status="alive", instance="b")[0] == 200
            assert "instances" not in second.call("/deregister", server_ip="127.0.0.1", port=peer.port, instance="b")[1]
            (left,) = second.status()["pools"][0]["backends"]
            assert left["state"] == "draining"


def test_other_settings_are_followed_by_those_who_were_adopted(tmp_path: Path) -> None:
    with Peer(named(b"one")) as one, Peer(named(b"two")) as two:
        old, new = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(old, one.address))
        address = first.address
        kill_control(first, 2)
        with command(tmp_path, *words(new, two.address)) as second:
            with dial(second.address) as client:
                assert client.recv(10) == b"two"

            def refused() -> bool:
                with socket.socket() as trial:
                    return trial.connect_ex(address) != 0

            wait_for(refused, "the old listener is closed")


def test_a_worker_that_died_meanwhile_is_replaced(tmp_path: Path) -> None:
    with Peer(named(b"one")) as peer:
        front = f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(front, peer.address))
        pids = [worker["pid"] for worker in first.status()["workers"]]
        kill_control(first, 2)
        os.kill(pids[1], signal.SIGKILL)
        with command(tmp_path, *words(front, peer.address)) as second:
            workers = second.status()["workers"]
            assert workers[0]["pid"] == pids[0]
            assert workers[1]["pid"] != pids[1]
            for _ in range(8):
                with dial(second.address) as client:
                    assert client.recv(10) == b"one"
            os.kill(pids[0], signal.SIGKILL)  # an adopted one is looked after as any other

            def replaced() -> Any:
                found = second.status()["workers"][0]
                return found["pid"] != pids[0] and found["state"] == "serving"

            wait_for(replaced, "it is replaced")


def test_stop_ends_workers_that_nobody_adopted(tmp_path: Path) -> None:
    with Peer(named(b"one")) as peer:
        first = Command(tmp_path, *words(f"tcp://127.0.0.1:{free_port()}", peer.address))
        kill_control(first, 2)
        assert "2 workers stopped" in first.cli("stop", "--name", "shop").stdout


def test_a_strangers_knock_at_the_refuge_changes_nothing(tmp_path: Path) -> None:
    with Peer(named(b"one")) as peer:
        front = f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(front, peer.address))
        kill_control(first, 2)
        for name in refuges(tmp_path):
            assert os.stat(tmp_path / name).st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as knock:
                wait_for(lambda knock=knock, name=name: knock.connect_ex(str(tmp_path / name)) == 0, "it listens")
        wait_for(lambda: len(refuges(tmp_path)) == 2, "they wait again")
        with command(tmp_path, *words(front, peer.address)) as second, dial(second.address) as client:
            assert client.recv(10) == b"one"


def test_a_worker_that_just_begins_to_wait_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Between its bind and its listen it refuses connections, as a dead one does for good."""
    path = str(tmp_path / "lb.worker-0.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as refuge:
        refuge.bind(path)
        late = threading.Timer(0.1, refuge.listen)
        late.start()
        assert adoption.find(str(tmp_path / "lb"), print) is None, "it says nothing"
        late.join()
        assert os.path.exists(path)
    assert adoption.find(str(tmp_path / "lb"), print) is None
    assert not os.path.exists(path), "a dead one's goes"


def test_a_control_plane_that_cannot_start_leaves_the_workers_as_they_were(tmp_path: Path) -> None:
    with Peer(echo) as peer, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        front = f"tcp://127.0.0.1:{free_port()}"
        first = Command(tmp_path, *words(front, peer.address))
        with dial(first.address) as client:
            kill_control(first, 2)
            also = ["--listen", f"tcp://127.0.0.1:{taken.getsockname()[1]}"]
            done = first.cli("run", *words(front, peer.address), *also)
            assert done.returncode == 1
            assert "the port is in use" in done.stderr
            wait_for(lambda: len(refuges(tmp_path)) == 2, "they wait again")
            client.sendall(b"on and on")
            assert client.recv(20) == b"on and on"
            with command(tmp_path, *words(front, peer.address)):
                client.sendall(b"and on")
                assert client.recv(20) == b"and on"
                client.close()


def test_figures_go_on_although_a_reload_changed_the_order(tmp_path: Path) -> None:
    """Of listeners, pools and workers: who came by a reload has the number that he was given then, after a crash, too."""
    config = tmp_path / "lb.toml"
    with Peer(echo) as peer:
        ports = {name: free_port() for name in "abc"}

        def write(listeners: str, pools: str) -> None:
            text = 'name = "shop"\nworkers = 2\n'
            for name in listeners:
                text += f'[[listener]]\nname = "{name}"\nbind = "tcp://127.0.0.1:{ports[name]}"\npool = "{name}"\n'
            for name in pools:
                text += f'[[pool]]\nname = "{name}"\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{peer.address}"\n'
            config.write_text(text)

        def use(name: str, times: int) -> None:
            for _ in range(times):
                with dial(("127.0.0.1", ports[name])) as client:
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"

        def figures(running: Command) -> dict[str, Any]:
            status = running.status()
            listeners = {one["name"]: (one["tally"]["accepted"], one["tally"]["sessions"]) for one in status["listeners"]}
            return listeners | {f"pool {one['name']}": one["tally"]["sessions"] for one in status["pools"]}

        def settled(running: Command, **wanted: int) -> None:
            expected = {name: (count, count) for name, count in wanted.items()}
            expected |= {f"pool {name}": count for name, count in wanted.items()}
            wait_for(lambda: figures(running) == expected, f"{expected}")

        write("ab", "ab")
        first = Command(tmp_path, "-c", str(config), "--admin", "off")
        use("a", 3)
        use("b", 2)
        settled(first, a=3, b=2)
        write("cba", "cba")
        assert first.call("/reload")[0] == 200
        use("c", 1)
        settled(first, a=3, b=2, c=1)
        kill_control(first, 2)
        with command(tmp_path, "-c", str(config), "--workers", "2") as second:
            settled(second, a=3, b=2, c=1)
            write("ba", "ba")
            assert second.call("/reload")[0] == 200
            write("bac", "bac")
            assert second.call("/reload")[0] == 200
            use("a", 1)
            settled(second, a=4, b=2, c=0)  # another c than the one that was removed
            assert totals(second.status())["accepted"] == 7


def test_status_while_the_control_plane_becomes_another_by_exec(tmp_path: Path) -> None:
    """Its word says still where the segment was; there is something else now, here a socket. Its workers hold it as before."""
    with Peer(named(b"one")) as one, command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", one.address) as lb:
        word = tmp_path / f"{lb.name}.json"
        before = word.read_text()
        with socket.socket() as other:
            word.write_text(json.dumps({**json.loads(before), "segment": f"/proc/{os.getpid()}/fd/{other.fileno()}"}))
            try:
                for arguments in (["status", "--json"], ["backend", "list", "--json"]):
                    done = lb.cli(*arguments)
                    assert (done.returncode, done.stderr) == (0, "")
                    assert one.address in done.stdout
            finally:
                word.write_text(before)
