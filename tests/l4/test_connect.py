"""Reaching a backend: failures are met by another backend, never by one already tried, and within the budget."""

from __future__ import annotations

import socket
import threading
import time

from harness import (
    PATIENCE_S,
    SLOWER,
    Peer,
    balanced,
    black_hole,
    connections,
    dial,
    echo,
    free_port,
    is_refused,
    named,
    read_exactly,
    settled,
    totals,
    wait_for,
)

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings


def settings(backends: list[str], **pool: object) -> BalancerSettings:
    """One listener, one pool without probes."""
    rules = {"probe": ProbeSettings(kind="off"), "policy": "round_robin", "retry_after": "1h"} | pool
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")],
        pools=[PoolSettings(backends=backends, **rules)],
    )


def test_refused_backend_is_passed_over() -> None:
    with Peer(named(b"alive")) as peer:
        rules = settings([f"127.0.0.1:{free_port()}", peer.address], max_connect_failures=0)
        with balanced(settings=rules) as lb:
            for _ in range(10):
                with dial(lb.address) as client:
                    assert read_exactly(client, 5) == b"alive"
            figures = totals(settled(lb))
            assert figures["retries"] == figures["connect_failures"] > 0
            assert figures["refused"] == 0


def test_black_holed_backend_costs_one_time_limit() -> None:
    with black_hole() as hole, Peer(named(b"alive")) as peer:
        with balanced(settings=settings([hole, peer.address], connect_timeout="200ms")) as lb:
            for _ in range(2):
                began = time.monotonic()
                with dial(lb.address) as client:
                    assert read_exactly(client, 5) == b"alive"
                assert time.monotonic() - began < 1.0 * SLOWER
            assert 1 <= totals(settled(lb))["connect_timeouts"] <= 2


def test_no_backend_at_all_is_a_reset_and_no_failure_to_start() -> None:
    with balanced() as lb:
        assert is_refused(lb.address)
        assert totals(settled(lb))["refused_no_backend"] == 1
        with Peer(named(b"late")) as peer:
            lb.pool().add(peer.address)
            with dial(lb.address) as client:
                assert read_exactly(client, 4) == b"late"


def test_never_one_already_tried() -> None:
    """Three dead backends and two retries: each is tried once, then the client is told."""
    dead = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    for policy in ("round_robin", "least_conn", "p2c", "random"):
        with balanced(settings=settings(dead, policy=policy, retries=7, max_connect_failures=0)) as lb:
            assert is_refused(lb.address)
            backends = lb.status()["pools"][0]["backends"]
            assert [backend["failures"] for backend in backends] == [1, 1, 1], policy
            assert totals(settled(lb))["refused_connect"] == 1


def test_retries_are_limited_for_each_session() -> None:
    dead = [f"127.0.0.1:{free_port()}" for _ in range(5)]
    with balanced(settings=settings(dead, retries=1, max_connect_failures=0)) as lb:
        assert is_refused(lb.address)
        assert totals(settled(lb))["connects"] == 2


def test_retries_stay_within_the_budget() -> None:
    """With a budget of 10 percent and no floor, a hundred failing sessions make ten retries, not two hundred."""
    dead = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    rules = settings(dead, retries=2, retry_budget=10, retry_floor=0, max_connect_failures=0)
    with balanced(settings=rules) as lb:
        for _ in range(100):
            is_refused(lb.address)
        figures = totals(settled(lb))
        assert 5 <= figures["retries"] <= 12
        assert figures["retries_denied"] >= 80


def test_connect_failures_in_a_row_take_a_backend_out_and_time_brings_it_back() -> None:
    port = free_port()
    rules = settings([f"127.0.0.1:{port}"], max_connect_failures=3, retry_after="1s")
    with Peer(named(b"other")) as other, balanced(settings=rules) as lb:
        lb.pool().add(other.address)
        dead = lb.pool().get(f"127.0.0.1:{port}")
        assert dead is not None

        def served_by_the_other() -> bool:
            with dial(lb.address) as client:
                return read_exactly(client, 5) == b"other"

        wait_for(lambda: served_by_the_other() and dead.state == "down", "it is out")
        assert dead.reason == "3 connects failed in a row: connection refused"
        with Peer(named(b"again"), port=port):
            wait_for(lambda: dead.state == "up", "it is tried again")

            def served() -> bool:
                with dial(lb.address) as client:
                    return read_exactly(client, 5) == b"again"

            wait_for(served, "it serves again")


def test_the_last_backend_is_kept_whatever_fails() -> None:
    port = free_port()
    with balanced(settings=settings([f"127.0.0.1:{port}"], max_connect_failures=2)) as lb:
        backend = lb.pool().backends()[0]
        for _ in range(4):
            is_refused(lb.address)
        wait_for(lambda: backend.reason.startswith("kept: "), "the floor holds it")
        assert backend.state == "up"
        with Peer(named(b"back"), port=port), dial(lb.address) as client:
            assert read_exactly(client, 4) == b"back"


def test_client_leaves_while_a_backend_is_being_reached() -> None:
    with black_hole() as hole, balanced(settings=settings([hole], connect_timeout="10s")) as lb:
        client = dial(lb.address)
        wait_for(lambda: totals(settled(lb))["active"] == 1, "the session is there")
        client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: close resets
        client.close()
        wait_for(lambda: totals(settled(lb))["refused_client_aborts"] == 1, "it ends at once", 2)


def test_a_removed_backend_finishes_its_sessions_then_its_row_is_free() -> None:
    with Peer(echo) as one, Peer(echo) as two, balanced(backends=[one.address]) as lb:
        client = dial(lb.address)
        client.sendall(b"before")
        assert read_exactly(client, 6) == b"before"
        first = lb.pool().backends()[0]
        lb.pool().add(two.address)
        lb.pool().remove(first, drain_timeout=30)
        for _ in range(5):
            with dial(lb.address) as other:
                other.sendall(b"x")
                assert read_exactly(other, 1) == b"x"
        assert (one.connections, two.connections) == (1, 5)
        client.sendall(b"after")
        assert read_exactly(client, 5) == b"after"
        client.close()
        wait_for(lambda: len(lb.status()["pools"][0]["backends"]) == 1, "its row is free", 5)
        again = lb.pool().add(one.address)
        assert again.generation > first.generation
        assert lb.pool().get(one.address).id != first.id


def test_a_removed_backend_is_cut_at_its_deadline() -> None:
    with Peer(echo) as peer, balanced(backends=[peer.address]) as lb, dial(lb.address) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        lb.pool().remove(peer.address, drain_timeout=0.2)
        client.settimeout(5 * SLOWER)
        assert client.recv(1) == b""
        wait_for(lambda: totals(settled(lb))["closed_cut"] == 1, "it is counted")


def test_a_drained_backend_gets_nothing_new_until_it_is_ready() -> None:
    with Peer(named(b"1")) as one, Peer(named(b"2")) as two, balanced(backends=[one.address, two.address]) as lb:
        first = lb.pool().get(one.address)
        first.drain()
        assert (first.state, first.reason) == ("draining", "drained by an operator")
        for _ in range(6):
            with dial(lb.address) as client:
                assert read_exactly(client, 1) == b"2"
        first.ready()
        seen = set()
        for _ in range(40):
            with dial(lb.address) as client:
                seen.add(read_exactly(client, 1))
        assert seen == {b"1", b"2"}


def test_localhost_by_name() -> None:
    with Peer(named(b"hi")) as peer, balanced(backends=[f"localhost:{peer.port}"]) as lb, dial(lb.address) as client:
        assert read_exactly(client, 2) == b"hi"


def keep_alive_idle_s(port: int) -> int:
    """Of the connection to this port: after how long it asks whether its peer is there; 0: never."""
    with connections() as found:
        (ours,) = [one for one in found if one.getpeername()[1] == port]
        on = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) if on else 0


def test_a_session_that_lasts_has_keep_alive_towards_its_backend() -> None:
    with Peer(echo) as peer, balanced(settings=settings([peer.address], tcp_keepalive="7s")) as lb, dial(lb.address) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        wait_for(lambda: keep_alive_idle_s(peer.port) == 7, "keep-alive is on")


def test_a_session_that_is_half_over_for_long_has_keep_alive() -> None:
    seen = threading.Event()

    def sink(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass
        connection.sendall(b"rest")
        seen.wait(PATIENCE_S)

    with Peer(sink) as peer:
        rules = settings([peer.address], tcp_keepalive="7s")
        rules.listeners[0].half_closed_timeout_ms = 3_600_000
        with balanced(settings=rules) as lb, dial(lb.address) as client:
            client.shutdown(socket.SHUT_WR)
            assert read_exactly(client, 4) == b"rest"
            assert keep_alive_idle_s(peer.port) == 7
            seen.set()
