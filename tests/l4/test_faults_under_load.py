"""Backends that stall, restart, lie, or leave without a word, under load: uvicorn, and every request counted.

Where a healthy backend exists no request fails, but for those that were under way on a backend when it was killed.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Command, balanced, free_port, wait_for
from loads import CLIENTS, Load, Server

from lbcore import Registration
from lbcore.config.settings import (
    AdminSettings,
    BalancerSettings,
    LeaseSettings,
    ListenerSettings,
    OutlierSettings,
    PoolSettings,
    ProbeSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore.api.balancer import Balancer


PROBE = {"kind": "http", "path": "/health", "interval": "100ms", "timeout": f"{100 * SLOWER}ms", "rise": 2, "fall": 3}


def settings(*servers: Server, admin: bool = False, **pool: Any) -> BalancerSettings:
    return BalancerSettings(
        workers=1,
        drain_timeout="2s",
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        pools=[
            PoolSettings(
                probe=ProbeSettings(**PROBE),
                lease=LeaseSettings(heartbeat="100ms", missed=3),
                backends=[server.address for server in servers],
                **pool,
            )
        ],
        admin=AdminSettings(listen="127.0.0.1:0") if admin else None,
    )


def states(lb: Balancer) -> dict[str, str]:
    return {backend.address: backend.state for backend in lb.pool().backends()}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with Server(tmp_path) as one, Server(tmp_path) as two:
        yield one, two


def test_a_backend_that_stalls_is_passed_by_and_comes_back(pair: tuple[Server, Server]) -> None:
    one, two = pair
    with balanced(settings=settings(one, two)) as lb, Load(lb.address) as load:
        one.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: states(lb)[one.address] != "up", "its stall is seen")
        one.process.send_signal(signal.SIGCONT)
        wait_for(lambda: states(lb)[one.address] == "up", "it is back")
        load.flows()
    assert load.bad == []


def test_a_backend_that_restarts_costs_no_request(pair: tuple[Server, Server]) -> None:
    one, two = pair
    with balanced(settings=settings(one, two)) as lb, Load(lb.address) as load:
        for _ in range(2):
            one.end(signal.SIGTERM)
            load.flows()
            one.restart()
            wait_for(lambda: states(lb)[one.address] == "up", "it is back")
            load.flows()
    assert load.bad == []


def test_a_backend_that_is_killed_costs_what_it_had_under_way(pair: tuple[Server, Server]) -> None:
    one, two = pair
    with balanced(settings=settings(one, two)) as lb, Load(lb.address) as load:
        killed = time.monotonic()
        one.end(signal.SIGKILL)
        wait_for(lambda: states(lb)[one.address] == "down", "its death is seen")
        load.flows(300)
    assert len(load.bad) <= CLIENTS, load.bad
    assert all(at < killed + 2 for at, _ in load.bad)


def test_leases_end_without_a_word_and_nobody_else_notices(pair: tuple[Server, Server]) -> None:
    one, two = pair
    with balanced(settings=settings(admin=True)) as lb, Registration(lb.admin_address, two.port):
        silent = Registration(lb.admin_address, one.port).start()
        wait_for(lambda: list(states(lb).values()) == ["up", "up"], "both are up")
        with Load(lb.address) as load:
            with silent.wake:  # as if its host were gone: no more beats, and no goodbye
                silent._running = False
                silent.wake.notify_all()
            wait_for(lambda: list(states(lb)) == [two.address], "its lease ends")
            load.flows()
        assert load.bad == []


def test_lies_about_load_move_work_and_fail_nobody(tmp_path: Path) -> None:
    """A slow one says that it is idle, a quick one that it is full: their own figures of requests under way speak, too."""
    with Server(tmp_path, slow=0.05) as slow, Server(tmp_path) as quick:
        with balanced(settings=settings(admin=True, policy="least_conn")) as lb:
            registrations = [
                Registration(lb.admin_address, slow.port, load=lambda: 0.0),
                Registration(lb.admin_address, quick.port, load=lambda: 1.0),
            ]
            with registrations[0], registrations[1]:
                wait_for(lambda: list(states(lb).values()) == ["up", "up"], "both are up")
                with Load(lb.address) as load:
                    load.flows(200)
                assert load.bad == []
                served = {backend["address"]: backend["sessions"] for backend in lb.status()["pools"][0]["backends"]}
                assert min(served.values()) > 0


def test_one_that_serves_but_answers_probes_late_is_busy_not_dead(tmp_path: Path) -> None:
    with Server(tmp_path, slow_health=1.0) as late, Server(tmp_path) as other:
        # with one client on each, its answers keep coming while its probes time out
        with balanced(settings=settings(late, other)) as lb, Load(lb.address) as load:
            wait_for(lambda: states(lb)[late.address] == "busy", "it is busy")
            reasons = {backend.address: backend.reason for backend in lb.pool().backends()}
            assert reasons[late.address] == "probes time out, but requests succeed"
            load.flows()
    assert load.bad == []


def test_one_that_fails_more_than_the_rest_is_ejected(tmp_path: Path) -> None:
    """Its probes are good, and no ten answers in a row fail: only beside the others it is bad."""
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(Server(tmp_path)) for _ in range(2)]
        bad = stack.enter_context(Server(tmp_path, status=500))
        rules = {"outlier": OutlierSettings(interval="300ms", ejection="1h"), "max_failed_responses": 0}
        with balanced(settings=settings(*good, bad, policy="round_robin", **rules)) as lb, Load(lb.address) as load:
            wait_for(lambda: states(lb)[bad.address] == "down", "it is ejected")
            reason = next(backend.reason for backend in lb.pool().backends() if backend.address == bad.address)
            assert reason == "ejected: 0% of its requests succeed, 100% of the rest's"
            seen = len(load.bad)
            load.flows()
            assert len(load.bad) <= seen + CLIENTS
        assert all(what.startswith("500") for _, what in load.bad)


def test_a_whole_pool_that_is_killed_and_comes_back(pair: tuple[Server, Server]) -> None:
    with balanced(settings=settings(*pair)) as lb, Load(lb.address) as load:
        for server in pair:
            server.end(signal.SIGKILL)
        wait_for(lambda: len(load.bad) > 20, "requests fail: nobody is there")
        for server in pair:
            server.restart()
        wait_for(lambda: list(states(lb).values()) == ["up", "up"], "both are up")
        load.flows(50)  # requests that began before are over
        back = time.monotonic()
        load.flows(300)
    assert [entry for entry in load.bad if entry[0] > back] == []


def test_requests_wait_in_the_queue_while_the_pool_is_gone(pair: tuple[Server, Server]) -> None:
    """With a queue, a rollout that leaves nobody for a moment costs time, not requests."""
    with balanced(settings=settings(admin=True, queue=100, queue_timeout="20s")) as lb:
        registrations = [Registration(lb.admin_address, server.port).start() for server in pair]
        wait_for(lambda: list(states(lb).values()) == ["up", "up"], "both are up")
        with Load(lb.address) as load:
            for registration in registrations:
                registration.stop()
            wait_for(lambda: lb.status()["pools"][0]["queued"] == CLIENTS, "all wait")
            with Registration(lb.admin_address, pair[0].port):
                load.flows()
                load._stop.set()
                for thread in load._threads:
                    thread.join()
        assert load.bad == []


def test_a_restarted_balancer_serves_its_first_request(tmp_path: Path, pair: tuple[Server, Server]) -> None:
    """With a state file: leases are known at once, and beats go on without a new registration."""
    one, two = pair
    config = tmp_path / "lb.toml"
    port, admin = free_port(), free_port()
    config.write_text(
        f'state_file = "state.json"\ndrain_timeout = "2s"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[[listener]]\nbind = "http://127.0.0.1:{port}"\n[[pool]]\n[pool.probe]\nkind = "http"\n'
    )
    running = Command(tmp_path, "-c", str(config), "--workers", "1")
    with Registration(f"http://127.0.0.1:{admin}", one.port), Registration(f"http://127.0.0.1:{admin}", two.port):
        known = lambda: [backend["state"] for backend in running.status()["pools"][0]["backends"]]  # noqa: E731
        wait_for(lambda: known() == ["up", "up"], "both are registered and up")
        with Load(("127.0.0.1", port)) as load:
            wait_for(lambda: (tmp_path / "state.json").read_text().count("address") == 2, "they are saved")
            assert running.stop() == 0
            running = Command(tmp_path, "-c", str(config), "--workers", "1")
            back = time.monotonic()
            load.flows(200)
        assert [entry for entry in load.bad if entry[0] > back] == []
        assert all("refused" in what or "Remote" in what or "reset" in what for _, what in load.bad), load.bad
    assert running.stop() == 0
