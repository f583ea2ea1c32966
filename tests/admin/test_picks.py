"""Picking without the proxy: from this process, from others, over HTTP; and what is left when such a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from admin_calls import client, settings
from harness import Peer, balanced, command, dial, echo, wait_for

import lbcore
from lbcore.config.settings import BackendSettings, OutlierSettings

if TYPE_CHECKING:
    from pathlib import Path


def actives(lb: lbcore.Balancer) -> list[int]:
    return [backend["active"] for backend in lb.status()["pools"][0]["backends"]]


def test_picks_count_beside_proxied_sessions() -> None:
    with Peer(echo) as one, Peer(echo) as two, balanced(backends=[one.address, two.address], policy="least_conn") as lb:
        with dial(lb.address) as session:
            session.sendall(b"x")
            assert session.recv(1) == b"x"
            busy = one if one.connections else two
            idle = two if busy is one else one
            with lb.pool().pick() as picked:
                assert picked.address == idle.address
                assert actives(lb) == [1, 1]
            assert sum(actives(lb)) == 1
        wait_for(lambda: sum(actives(lb)) == 0, "the session ends")


def test_what_a_pick_came_to_is_evidence_for_its_backend() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        pool = lb.pool()
        for outcome in ("ok", "failed", "left", "refused"):
            pool.pick().release(outcome)
        backend = lb.status()["pools"][0]["backends"][0]
        assert (backend["sessions"], backend["failures"]) == (2, 2)
        with pytest.raises(ValueError, match="outcome: 'good' is not allowed"):
            pool.pick().release("good")
        assert actives(lb) == [0]


def test_refused_picks_take_a_backend_out() -> None:
    backends = [BackendSettings(address=f"127.0.0.1:{port}") for port in (9, 10)]
    with balanced(settings=settings(outlier=OutlierSettings(interval="100ms"), backends=backends)) as lb:
        pool = lb.pool()

        def fail() -> bool:
            picked = pool.pick()
            picked.release("refused" if picked.address == "127.0.0.1:9" else "ok")
            states = {backend.address: backend.state for backend in pool.backends()}
            return states == {"127.0.0.1:9": "down", "127.0.0.1:10": "up"}

        wait_for(fail, "it is taken out")


def test_a_dropped_pick_is_given_back() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        picked = lb.pool().pick()
        assert actives(lb) == [1]
        del picked
        assert actives(lb) == [0]


def test_a_block_that_raises_speaks_by_its_exception() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        for error, failures in ((ConnectionRefusedError, 1), (TimeoutError, 2), (ValueError, 2)):
            with pytest.raises(error), lb.pool().pick():
                raise error
            assert lb.status()["pools"][0]["backends"][0]["failures"] == failures


def test_nobody_to_pick_is_named() -> None:
    with balanced() as lb, pytest.raises(lbcore.NoBackend, match="pool default"):
        lb.pool().pick()
    with balanced(backends=["127.0.0.1:9"]) as lb, pytest.raises(ValueError, match="cost"):
        lb.pool().pick(cost=0)


def test_a_key_stays_together() -> None:
    backends = [f"127.0.0.1:{port}" for port in range(9001, 9021)]
    with balanced(backends=backends, policy="maglev") as lb:
        for key in ("a", "tenant-7", b"\0"):
            assert len({lb.pool().pick(key).address for _ in range(50)}) == 1
        assert len({lb.pool().pick(str(number)).address for number in range(200)}) > 10


def test_threads_pick_at_once() -> None:
    with balanced(backends=["127.0.0.1:9", "127.0.0.1:10"]) as lb:
        pool = lb.pool()

        def work() -> None:
            for _ in range(3000):
                pool.pick().release()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert actives(lb) == [0, 0]
        assert sum(backend["sessions"] for backend in lb.status()["pools"][0]["backends"]) == 12_000


def test_a_child_of_a_fork_takes_a_section_of_its_own() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        pool, (reading, writing) = lb.pool(), os.pipe()
        held = pool.pick()
        child = os.fork()
        if not child:
            try:
                pool.pick().release()
                os.write(writing, b"ok")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 2) == b"ok"
        os.close(reading)
        os.close(writing)
        assert actives(lb) == [1]
        held.release()
        wait_for(lambda: actives(lb) == [0], "the child's section is free")


PICKER = """
import sys, time, lbcore
with lbcore.attach(sys.argv[1]) as shop:
    pool = shop.pool()
    held = [pool.pick() for _ in range(5)]
    print(*(pick.address for pick in held), flush=True)
    sys.stdin.read()
"""


def test_another_process_picks_and_its_death_frees_what_it_held(tmp_path: Path) -> None:
    with Peer(echo) as peer, command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address) as running:
        picker = subprocess.Popen(
            [sys.executable, "-c", PICKER, running.name],
            env=running.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert picker.stdout is not None
        assert picker.stdin is not None
        assert picker.stdout.readline().split() == [peer.address] * 5

        def active() -> int:
            return int(running.status()["pools"][0]["backends"][0]["active"])

        assert active() == 5
        assert f"pid {picker.pid}" in running.cli("why").stdout
        picker.send_signal(signal.SIGKILL)
        picker.wait()
        picker.stdin.close()
        picker.stdout.close()
        wait_for(lambda: active() == 0, "what it held is free")


def test_no_balancer_to_attach_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(lbcore.NotRunning, match="'shop'"):
        lbcore.attach("shop")


def test_more_processes_than_sections_are_refused_by_name() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        table = lb._running().table
        from lbcore.api.picks import Picking

        others = [Picking(table.memory) for _ in range(5)]
        for picking in others[:4]:
            picking.picks()
        with pytest.raises(OSError, match="engine"):
            others[4].picks()
        others[0].close()
        others[4].picks()
        for picking in others:
            picking.close()


# --- over HTTP ----------------------------------------------------------------------------------------------------------


def test_get_pick_is_counted_while_it_is_held() -> None:
    rules = settings(backends=[BackendSettings(address=f"127.0.0.1:{port}") for port in (9, 10)])
    with balanced(settings=rules) as lb:
        admin = client(lb)
        status, answer = admin.call("POST", "/pick")
        assert (status, set(answer)) == (200, {"address", "id", "pool"})
        assert sum(actives(lb)) == 0
        status, held = admin.call("POST", "/pick?hold_s=60&key=a")
        assert sum(actives(lb)) == 1
        assert admin.call("POST", "/release", {"pick": held["pick"], "outcome": "ok"})[0] == 200
        assert sum(actives(lb)) == 0
        assert admin.call("POST", "/release", {"pick": held["pick"]})[0] == 404
        admin.call("POST", "/pick?hold_s=0.05")
        wait_for(lambda: sum(actives(lb)) == 0, "its time is over")
        addresses = Counter(admin.call("POST", "/pick")[1]["address"] for _ in range(40))
        assert len(addresses) == 2


@pytest.mark.parametrize(("query", "status"), [("hold_s=x", 422), ("hold_s=-1", 422), ("cost=99999999", 422), ("pool=no", 422)])
def test_bad_queries_of_pick_are_named(query: str, status: int) -> None:
    with balanced(settings=settings()) as lb:
        code, answer = client(lb).call("POST", f"/pick?{query}")
        assert (code, answer["key"]) == (status, query.partition("=")[0])
        assert client(lb).call("POST", "/pick")[0] == 503
