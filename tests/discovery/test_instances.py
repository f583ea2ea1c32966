"""Several processes that serve one address, each with a registration of its own; and what registrations say when they fail."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from children import in_child
from harness import SLOWER, Peer, echo, free_port, stays, wait_for
from memberships import Bench, address, adopted

from lbcore import Balancer, Registration
from lbcore.client.admin_client import AdminClient
from lbcore.config.settings import AdminSettings, BalancerSettings, LeaseSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.discovery.reports import MOST_INSTANCES, Report

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings(heartbeat: str = "200ms", token: str | None = None, **more: Any) -> BalancerSettings:
    return BalancerSettings(
        workers=1,
        drain_timeout="1s",
        admin=AdminSettings(listen="127.0.0.1:0", token=token),
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(probe=ProbeSettings(kind="off"), lease=LeaseSettings(heartbeat=heartbeat, **more))],
    )


@pytest.fixture(name="bench")
def _bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.table.close()


@pytest.fixture(name="later")
def _later() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.table.close()


@pytest.fixture
def lb() -> Iterator[Balancer]:
    with Balancer(settings=settings()) as running:
        yield running


def registration(lb: Balancer, port: int, **options: Any) -> Registration:
    assert lb.admin_address is not None
    return Registration(lb.admin_address, port, interval=0.1, **options)


def backend(lb: Balancer) -> dict[str, Any] | None:
    found = [one for one in lb.status()["pools"][0]["backends"] if one["state"] != "draining"]
    return found[0] if found else None


# --- several at one address ------------------------------------------------------------------------------------------


def test_an_address_serves_while_one_of_its_instances_does(lb: Balancer) -> None:
    with Peer(echo) as peer:
        first, second, third = (registration(lb, peer.port) for _ in range(3))
        assert first.start().wait(10)
        row = backend(lb)
        assert row is not None
        for joins, leaves in ((second, first), (third, second)):
            assert joins.start().wait(10)
            assert leaves.stop(drain_timeout=5)  # waits for nobody: the sessions may be the other's
            now = backend(lb)
            assert now is not None
            assert (now["id"], now["state"]) == (row["id"], "up")
        third.stop()
        assert backend(lb) is None


def test_one_that_dies_is_missed_by_nobody(lb: Balancer) -> None:
    admin = AdminClient(str(lb.admin_address))
    body = {"server_ip": "127.0.0.1", "port": 9, "status": "ready"}
    assert admin.call("POST", "/register", {**body, "instance": "dead", "load": 0.5})[0] == 201
    with registration(lb, 9, load=lambda: 0.25) as living:
        assert living.wait(10)
        wait_for(lambda: (backend(lb) or {}).get("load") == 0.75, "both count")
        wait_for(lambda: (backend(lb) or {}).get("load") == 0.25, "the dead one counts no more")
        assert admin.call("POST", "/deregister", {"server_ip": "127.0.0.1", "port": 9, "instance": "dead"})[1]["instances"] == 1
        assert backend(lb) is not None
    wait_for(lambda: backend(lb) is None, "the last one has left")


def said(instance: str | None, seq: int | None = None, status: str = "alive", **more: Any) -> Report:
    return Report(status=status, seq=seq, instance=instance, **more)


def test_older_beats_of_another_instance_are_no_old_news(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("new", seq=1_000, load=0.5))
    bench.membership.leases.heartbeat("p", address(1), said("old", seq=5, load=0.25))
    assert row.load == 0.75
    bench.membership.leases.heartbeat("p", address(1), said("old", seq=4, load=0.0))
    assert row.load == 0.75
    bench.membership.leases.heartbeat("p", address(1), said("old", seq=6, load=0.0))
    assert row.load == 0.5


def test_loads_add_up_to_one_at_most_and_an_unknown_one_adds_nothing(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("a", load=0.75, in_flight=3))
    bench.membership.leases.register("p", address(1), said("b", load=0.75, in_flight=4))
    assert (row.load, row.elsewhere) == (1.0, 7.0)
    bench.membership.leases.heartbeat("p", address(1), said("a"))
    assert (row.load, row.elsewhere) == (0.75, 4.0)
    bench.membership.leases.heartbeat("p", address(1), said("b"))
    assert row.load is None


@pytest.mark.parametrize(
    ("others", "state"), [("ready", "starting"), ("busy", "busy"), ("starting", "busy"), ("draining", "busy")]
)
def test_an_address_is_as_ready_as_its_readiest_instance(bench: Bench, others: str, state: str) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("a", status="busy", for_s=1000))
    bench.membership.leases.heartbeat("p", address(1), said("b", status=others, for_s=1000))
    assert row.state == state


def test_without_instances_everything_is_as_before(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said(None, seq=10))
    bench.membership.leases.heartbeat("p", address(1), said(None, seq=9, load=0.5))
    assert row.load is None
    bench.membership.leases.deregister("p", address(1))
    assert row.state == "draining"


def test_a_goodbye_without_an_instance_is_for_all(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("a"))
    bench.membership.leases.register("p", address(1), said("b"))
    bench.membership.leases.deregister("p", address(1))
    assert row.state == "draining"


def test_instances_of_an_address_are_bounded(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("first"))
    for number in range(2 * MOST_INSTANCES):
        bench.membership.leases.heartbeat("p", address(1), said(f"i{number}"))
    assert bench.membership.leases.instances(row) == MOST_INSTANCES


def test_instances_outlive_a_restart(bench: Bench, later: Bench) -> None:
    bench.membership.leases.register("p", address(1), said("a"))
    bench.membership.leases.register("p", address(1), said("b"))
    assert later.membership.restart.restore(bench.membership.restart.snapshot()) == 1
    later.membership.leases.deregister("p", address(1), "a")
    row = later.membership.find("p", address(1))
    assert row is not None
    later.membership.leases.deregister("p", address(1), "b")
    assert row.state == "draining"


def test_instances_are_counted_on_by_a_control_plane_that_adopts(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("a"))
    bench.membership.leases.register("p", address(1), said("b"))
    after = adopted(bench)
    assert after.membership.leases.instances(row) == 2
    after.membership.leases.heartbeat("p", address(1), said("b"))
    assert after.membership.leases.instances(row) == 2, "it is one of the two"
    after.membership.leases.register("p", address(1), said("c"))
    assert after.membership.leases.instances(row) == 3
    for gone, state in (("a", "starting"), ("b", "starting"), ("c", "draining")):
        after.membership.leases.deregister("p", address(1), gone)
        assert row.state == state, gone


def test_of_instances_that_are_not_heard_after_an_adoption_none_is_waited_for(bench: Bench) -> None:
    for name in "abc":
        row, _ = bench.membership.leases.register("p", address(1), said(name))
    after = adopted(bench)
    for _ in range(4):
        after.membership.leases.heartbeat("p", address(1), said("a"))
        after.later(5)
    assert after.membership.leases.instances(row) == 1
    after.membership.leases.deregister("p", address(1), "a")
    assert row.state == "draining"


def test_what_an_address_said_holds_until_its_instances_are_heard_again(bench: Bench) -> None:
    row, _ = bench.membership.leases.register("p", address(1), said("a", status="busy", for_s=100))
    bench.membership.leases.register("p", address(1), said("b", status="busy", for_s=100))
    after = adopted(bench)
    after.membership.leases.deregister("p", address(1), "a")
    assert row.state == "busy"
    after.membership.leases.heartbeat("p", address(1), said("b"))
    assert row.state != "busy"


@pytest.mark.parametrize("bad", ["", "x" * 65, "a b", 7, ["a"]])
def test_an_instance_that_is_no_name_is_refused(lb: Balancer, bad: Any) -> None:
    body = {"server_ip": "127.0.0.1", "port": 9, "status": "ready", "instance": bad}
    code, answer = AdminClient(str(lb.admin_address)).call("POST", "/register", body)
    assert (code, answer["error"].startswith("instance: ")) == (422, True), answer


def test_a_child_of_a_fork_registers_on_its_own(lb: Balancer) -> None:
    """As workers of a prefork server whose parent has loaded, and started, everything."""
    with registration(lb, 9) as parent:
        assert parent.wait(10)

        def child() -> None:
            assert parent.stop()  # it is the parent's
            assert parent.start().wait(10)
            parent.stop()

        assert in_child(child) == 0
        assert backend(lb) is not None
        wait_for(lambda: (backend(lb) or {}).get("state") == "up", "the parent beats on")
    assert backend(lb) is None


def test_no_request_fails_while_workers_are_recycled_and_restarted(lb: Balancer) -> None:
    """Two or three processes behind one socket, as of gunicorn or uvicorn: each registers, serves, and is replaced."""
    with Peer(echo) as peer:
        running = [registration(lb, peer.port).start() for _ in range(2)]
        assert all(one.wait(10) for one in running)
        failed, asked, over = [], [0], threading.Event()

        def load() -> None:
            while not over.is_set():
                try:
                    with socket.create_connection(lb.address, 5 * SLOWER) as client:
                        client.sendall(b"x")
                        if client.recv(1) != b"x":
                            failed.append("ended")
                except OSError as error:
                    failed.append(repr(error))
                asked[0] += 1

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(6):
                fresh = registration(lb, peer.port).start()
                running.pop(0).stop()
                running.append(fresh)
                assert fresh.wait(10)
                before = asked[0]
                wait_for(lambda before=before: asked[0] > before + 2, "requests went on")
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert failed == []
        for one in running:
            one.stop()


# --- figures that make no sense --------------------------------------------------------------------------------------


def cancelled() -> float:
    raise asyncio.CancelledError


def leaves() -> float:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("load", "sent"),
    [
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (-0.5, None),
        ("0.5", None),
        (True, None),
        ([1], None),
        (1j, None),
        (2**2000, None),
        (None, None),
        (cancelled, None),
        (leaves, None),
        (0, 0.0),
        (0.5, 0.5),
        (7, 1.0),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value))[:20],  # a function's repr differs from process to process
)
def test_a_load_that_makes_no_sense_is_unknown(load: Any, sent: float | None) -> None:
    lines: list[str] = []
    made = Registration("http://127.0.0.1:1", 9, load=load if callable(load) else lambda: load, log=lines.append)
    for _ in range(3):
        body = made.report("alive")
    assert body.get("load") == sent
    assert len(lines) == (sent is None and load is not None), lines


@pytest.mark.parametrize(("name", "value"), [("weight", -1), ("capacity", math.nan), ("capacity", 0), ("in_flight", -2)])
def test_other_figures_that_make_no_sense_are_left_out(name: str, value: Any) -> None:
    figures: dict[str, Any] = {name: lambda: value}
    assert name not in Registration("http://127.0.0.1:1", 9, **figures).report("alive")


@pytest.mark.parametrize("load", [cancelled, leaves])
def test_a_load_that_ends_threads_does_not_end_the_heartbeats(lb: Balancer, load: Any) -> None:
    with registration(lb, 9, load=load) as made:
        assert made.wait(10)
        stays(lambda: backend(lb) is not None, "it beats on for longer than its lease", 1.0)


def test_start_and_stop_from_several_threads(lb: Balancer) -> None:
    made = registration(lb, 9)
    over = time.monotonic() + 1.0

    def work(number: int) -> None:
        while time.monotonic() < over:
            made.start() if number % 2 else made.stop()

    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    made.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "lbcore-registration"] == []


def test_a_stop_by_the_load_function_itself(lb: Balancer) -> None:
    made: Registration = registration(lb, 9, load=lambda: float(made.stop()))
    made.start()
    wait_for(lambda: all(thread.name != "lbcore-registration" for thread in threading.enumerate()), "its thread ends")
    made.stop()


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_wrong_port_is_logged_once_and_so_is_the_recovery(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    caplog.set_level(logging.INFO, "lbcore.registration")

    def lines(level: int) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == level]

    with Registration(f"http://127.0.0.1:{port}", 9, interval=0.1) as made:
        wait_for(lambda: lines(logging.WARNING), "it is said")
        stays(lambda: len(lines(logging.WARNING)) == 1, "it is said once", 0.5)
        assert "Connection refused" in lines(logging.WARNING)[0]
        rules = settings()
        with Balancer(settings=rules.replace(admin=AdminSettings(listen=f"127.0.0.1:{port}"))):
            assert made.wait(15)
            wait_for(lambda: lines(logging.INFO), "that is said, too")
            made.stop()


def test_a_server_that_is_no_balancer_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    with Peer(answer) as peer, Registration(f"http://{peer.address}", 9, interval=0.1):
        wait_for(lambda: caplog.records, "it is said")
        stays(lambda: "lbcore-registration" in {thread.name for thread in threading.enumerate()}, "it goes on", 0.3)


def test_a_token_ends_open_registration_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with Balancer(settings=settings(token="a-secret-token")) as lb, registration(lb, 9) as made:
        wait_for(lambda: "open = true" in caplog.text, "it is said")
        assert "401" in caplog.text
        assert not made.wait(0)


def test_open_keeps_registration_open_beside_a_token() -> None:
    with Balancer(settings=settings(token="a-secret-token", open=True)) as lb, registration(lb, 9) as made:
        assert made.wait(10)
        wrong = AdminClient(str(lb.admin_address), "another-token")
        assert wrong.call("POST", "/register", {"server_ip": "127.0.0.1", "port": 8, "status": "ready"})[0] == 401
        assert AdminClient(str(lb.admin_address)).call("POST", "/backends/add", {"address": "127.0.0.1:7"})[0] == 401


def test_removing_one_that_beats_says_that_it_will_be_back(lb: Balancer) -> None:
    with registration(lb, 9) as made:
        assert made.wait(10)
        pool = lb.pool()
        with Balancer(settings=settings(token="a-secret-token", open=True)) as other, registration(other, 9) as too:
            assert too.wait(10)
            admin = AdminClient(str(other.admin_address), "a-secret-token")
            code, answer = admin.call("POST", "/backends/remove", {"address": "127.0.0.1:9"})
            assert (code, "will register again" in answer["note"]) == (200, True), answer
            wait_for(lambda: backend(other) is not None, "it is back")
            assert admin.call("POST", "/backends/add", {"address": "127.0.0.1:7"})[0] == 200
            assert "note" not in admin.call("POST", "/backends/remove", {"address": "127.0.0.1:7"})[1]
        assert len(pool.backends()) == 1
