"""The balancer as a Python object."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from harness import PATIENCE_S, Peer, balanced, dial, echo, is_refused, named, read_exactly, totals, wait_for

import lbcore
from lbcore import Balancer, ConfigError, NotRunning, PortTaken
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.control import workers

if TYPE_CHECKING:
    from collections.abc import Callable


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mappings() -> int:
    with open("/proc/self/maps") as file:
        return sum("memfd:lbcore" in line for line in file)


def test_the_documented_example() -> None:
    with Peer(named(b"1")) as one, Peer(named(b"2")) as two:
        with lbcore.Balancer(listen="tcp://127.0.0.1:0", backends=[one.address]) as lb:
            host, port = lb.address
            assert (host, port > 0) == ("127.0.0.1", True)
            pool = lb.pool()
            backend = pool.add(two.address, weight=2)
            assert lb.status()["pools"][0]["backends"][1]["weight"] == 2
            backend.drain()
            assert backend.state == "draining"
            pool.remove(backend)
            with dial(lb.address) as client:
                assert read_exactly(client, 1) == b"1"


def test_started_and_stopped_many_times_leaves_nothing_behind() -> None:
    with Peer(named(b"x")) as peer:
        lb = Balancer(listen="tcp://127.0.0.1:0", backends=[peer.address], admin="127.0.0.1:0", workers=2)
        with lb:
            pass  # what is loaded once is loaded now
        threads, descriptors = threading.active_count(), open_descriptors()
        for _ in range(10):
            lb.start()
            lb.start()
            with dial(lb.address) as client:
                assert read_exactly(client, 1) == b"x"
            lb.stop()
            lb.stop()
        assert threading.active_count() == threads
        assert open_descriptors() == descriptors
        assert mappings() == 0


def test_a_worker_that_is_started_anew_as_we_stop_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it stays: neither a process that waits for another control plane nor a zombie."""
    begun = threading.Event()

    class Slow(workers.ProcessWorker):
        def __init__(self, *arguments: Any) -> None:
            begun.set()
            time.sleep(0.2)  # `stop` comes now, and waits: nothing tells that it does
            super().__init__(*arguments)

    before = set(psutil.Process().children())
    with Peer(named(b"x")) as peer:
        lb = Balancer(listen="tcp://127.0.0.1:0", backends=[peer.address], health="off", workers=1, isolation="processes")
        lb.start()
        (victim,) = set(psutil.Process().children()) - before
        monkeypatch.setattr(lb._running().supervisor._workers, "_make", Slow)
        victim.kill()
        assert begun.wait(PATIENCE_S)
        lb.stop(0)
    assert set(psutil.Process().children()) <= before


def test_two_balancers_in_one_process() -> None:
    with Peer(named(b"1")) as one, Peer(named(b"2")) as two:
        with balanced(backends=[one.address]) as first, balanced(backends=[two.address]) as second:
            for lb, want in ((first, b"1"), (second, b"2"), (first, b"1")):
                with dial(lb.address) as client:
                    assert read_exactly(client, 1) == want
            assert totals(first.status())["accepted"] == 2
            assert totals(second.status())["accepted"] == 1


@pytest.mark.parametrize("staying", [("one", "two"), ("two", "one"), ("two",), ("one",)])
def test_listeners_of_one_url_are_told_apart_by_name_in_a_reload(staying: tuple[str, ...]) -> None:
    """Both of port 0: each keeps the port that it was given, whatever their order, and the right one leaves."""
    with Peer(named(b"1")) as one, Peer(named(b"2")) as two:
        pools = [
            PoolSettings(name=name, probe=ProbeSettings(kind="off"), backends=[peer.address])
            for name, peer in (("one", one), ("two", two))
        ]

        def settings(names: tuple[str, ...]) -> BalancerSettings:
            listeners = [ListenerSettings(bind="tcp://127.0.0.1:0", name=name, pool=name) for name in names]
            return BalancerSettings(workers=1, listeners=listeners, pools=pools)

        with balanced(settings=settings(("one", "two"))) as lb:
            before = lb.addresses
            lb.reload(settings(staying))
            assert lb.addresses == {name: before[name] for name in staying}
            for name, letter in (("one", b"1"), ("two", b"2")):
                if name in staying:
                    with dial(before[name]) as client:
                        assert read_exactly(client, 1) == letter
                else:
                    wait_for(lambda name=name: is_refused(before[name]), "it is closed")


def test_a_stopped_balancer_says_so() -> None:
    lb = Balancer(listen="tcp://127.0.0.1:0")
    for ask in (lambda: lb.address, lb.status, lb.pool, lb.reload):
        with pytest.raises(NotRunning):
            ask()
    assert not lb.running


def test_a_failed_start_leaves_nothing_and_can_be_repeated() -> None:
    with Peer(echo) as holder:
        lb = Balancer(listen=f"tcp://{holder.address}", workers=2)
        before = open_descriptors()
        for _ in range(3):
            with pytest.raises(PortTaken):
                lb.start()
        assert open_descriptors() == before
        assert mappings() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "nonsense"},
        {"listen": "https://127.0.0.1:0"},
        {"backends": ["nonsense"]},
        {"policy": "best"},
        {"health": "ping"},
        {"workers": 0},
        {"speed": 9},
        {"admin": "0.0.0.0:1"},
        {"isolation": "fibres"},
    ],
)
def test_wrong_arguments_are_value_errors_with_one_line(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Balancer(**wrong)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, lbcore.LbcoreError)
    assert len(caught.value.problems) == 1


def test_pool_refuses_what_is_wrong() -> None:
    with balanced() as lb:
        pool = lb.pool()
        with pytest.raises(ValueError, match="weight"):
            pool.add("127.0.0.1:1", weight=300)
        with pytest.raises(ValueError, match="HOST:PORT"):
            pool.add("127.0.0.1")
        pool.add("127.0.0.1:1")
        with pytest.raises(ValueError, match="already"):
            pool.add("127.0.0.1:1")
        with pytest.raises(ValueError, match="not in pool"):
            pool.remove("127.0.0.1:2")
        with pytest.raises(KeyError, match="nope"):
            lb.pool("nope")


def test_from_file(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    with Peer(named(b"f")) as peer:
        file.write_text(
            '[[listener]]\nbind = "tcp://127.0.0.1:0"\npool = "app"\n'
            f'[[pool]]\nname = "app"\n[[pool.backend]]\naddress = "{peer.address}"\n'
        )
        with Balancer.from_file(file) as lb:
            with dial(lb.address) as client:
                assert read_exactly(client, 1) == b"f"
            assert lb.pool().name == "app"
            file.write_text(file.read_text() + 'weight = 9\n[[pool]]\nname = "other"\n')
            lb.reload()
            assert lb.pool("app").get(peer.address).weight == 9
            assert lb.pool("other").backends() == []


def test_admin_of_an_embedded_balancer() -> None:
    with balanced(admin="127.0.0.1:0") as lb:
        assert str(lb.admin_address).startswith("http://127.0.0.1:")


def test_what_is_loaded_and_how_long_it_takes() -> None:
    """A balancer without admin loads none of the heavy packages."""
    code = (
        "import sys, lbcore\n"
        "lbcore.Balancer(listen='tcp://127.0.0.1:0', backends=['127.0.0.1:1'])\n"
        "heavy = {'aiohttp', 'typer', 'rich', 'pydantic', 'asyncio', 'psutil', 'prometheus_client'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_worker_process_loads_only_the_engine() -> None:
    code = (
        "import sys, lbcore.control.worker\n"
        "ours = {name for name in sys.modules if name.startswith('lbcore')}\n"
        "control = {'lbcore.control', 'lbcore.control.worker', 'lbcore.control.signals'}\n"
        "sys.exit(0 if ours == {'lbcore', 'lbcore._engine', *control} else str(ours))\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True, timeout=60, cwd=Path(lbcore.__file__).parents[1])


def test_public_names() -> None:
    for name in lbcore.__all__:
        assert getattr(lbcore, name)
    with pytest.raises(AttributeError, match="zork"):
        lbcore.zork  # noqa: B018


def test_status_while_another_thread_stops_is_an_answer_or_not_running() -> None:
    """Never a look at memory that is gone."""
    done = threading.Event()
    strange: list[BaseException] = []

    def ask(lb: Balancer) -> None:
        while not done.is_set():
            try:
                lb.status()
            except NotRunning:
                continue
            except BaseException as error:
                strange.append(error)

    lb = Balancer(listen="tcp://127.0.0.1:0", backends=["127.0.0.1:1"], health="off", workers=1)
    threads = [threading.Thread(target=ask, args=(lb,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    # they take turns often: more places to meet, and the three that ask hold up the one that starts and stops less
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        for _ in range(30):
            lb.start()
            lb.stop(0)
    finally:
        sys.setswitchinterval(before)
    done.set()
    for thread in threads:
        thread.join()
    assert not strange


def test_a_broken_pipe_in_a_program_that_does_not_ignore_it() -> None:
    """A client that resets in the middle of a spliced stream raises SIGPIPE nowhere but in the worker, where it is blocked."""
    code = (
        "import signal, socket, sys, time; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from harness import Peer, balanced, dial, reset\n"
        "with Peer(lambda connection: connection.sendall(bytes(50_000_000))) as peer:\n"
        "    with balanced(backends=[peer.address], datapath='splice') as lb:\n"
        "        for _ in range(20):\n"
        "            client = dial(lb.address); client.recv(100_000); reset(client)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[1] / "support")], check=True, timeout=60)


def test_a_balancer_from_a_dict() -> None:
    with Peer(named(b"1")) as one:
        document = {
            "workers": 1,
            "listener": [{"bind": "tcp://127.0.0.1:0"}],
            "pool": [{"name": "app", "probe": {"kind": "off"}, "backend": [{"address": one.address}]}],
        }
        with Balancer.from_dict(document) as lb, dial(lb.address) as client:
            assert read_exactly(client, 1) == b"1"
            assert lb.status()["pools"][0]["name"] == "app"
        assert document["pool"][0]["backend"] == [{"address": one.address}]  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"wrokers: unknown key \(did you mean 'workers'\?\)"):
        Balancer.from_dict({"wrokers": 1})


def test_an_event_loop_is_free_while_a_balancer_starts_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(method: Callable[[Balancer], Any]) -> Callable[[Balancer], Any]:
        def slowly(lb: Balancer) -> Any:
            time.sleep(0.2)  # as where a name is looked up
            return method(lb)

        return slowly

    async def main(backend: str) -> list[int]:
        turns = [0]

        async def count() -> None:
            while True:
                turns[-1] += 1
                await asyncio.sleep(0.001)  # a turn of the loop, which is what is counted

        counting = asyncio.create_task(count())
        async with Balancer(listen="tcp://127.0.0.1:0", backends=[backend], workers=1) as lb:
            turns.append(0)
            reader, writer = await asyncio.open_connection(*lb.address)
            assert await reader.readexactly(1) == b"1"
            writer.close()
            turns.append(0)
        assert not lb.running
        counting.cancel()
        return turns

    monkeypatch.setattr(Balancer, "start", slow(Balancer.start))
    monkeypatch.setattr(Balancer, "stop", slow(Balancer.stop))
    with Peer(named(b"1")) as one:
        starting, _, stopping = asyncio.run(main(one.address))
    assert starting > 20
    assert stopping > 20


def test_all_that_is_public_is_there_and_documented() -> None:
    for name in lbcore.__all__:
        value = getattr(lbcore, name)
        assert isinstance(value, str) or value.__doc__, name
    for name in ("WorkerFailed", "NameTaken", "Attached", "Pick"):
        assert name in lbcore.__all__
