"""The flight recorder: what was decided, why, and what came of it; also of a balancer whose control plane is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import Command, Peer, balanced, dial, echo, free_port, is_refused, wait_for
from http_balancers import http
from http_peers import Backend, Client

from lbcore.observe.why import RING, decisions

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore.api.balancer import Balancer


def recorded(lb: Balancer) -> list[dict[str, Any]]:
    table = lb._running().table
    return decisions(table.segment)


def ask(lb: Balancer, path: str = "/", extra: bytes = b"") -> None:
    with Client(lb.address) as client:
        client.get(path, extra)


@pytest.mark.parametrize(
    ("policy", "why", "scored"),
    [
        ("round_robin", "its turn", 0),
        ("random", "its turn", 0),
        ("p2c", "the better of two", 2),
        ("least_conn", "the least loaded of all", 2),
        ("ewma", "the better of two", 2),
        ("maglev", "the key is its", 0),
        ("prefix", "the better of two", 2),
    ],
)
def test_each_policy_says_why(policy: str, why: str, scored: int) -> None:
    with Backend() as one, Backend() as two, Backend() as three, http(one, two, three, policy=policy) as lb:
        ask(lb)
        last = wait_for(lambda: [entry for entry in recorded(lb) if entry["outcome"] == "done"], "it is done")[-1]
        assert (last["policy"], last["why"], last["status"], last["cost"]) == (policy, why, 200, 1)
        assert last["backend"] in (one.address, two.address, three.address)
        assert len([entry for entry in last["candidates"] if entry["score"] is not None]) == scored
        assert last["took_ms"] > 0


def test_failures_are_seen_attempt_by_attempt() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with Backend() as alive, http(dead, alive, policy="round_robin", max_connect_failures=0) as lb:
        for _ in range(4):
            ask(lb)
        found = recorded(lb)
        first = next(at for at, entry in enumerate(found) if entry["backend"] == dead)
        assert (found[first]["outcome"], found[first]["tried"]) == ("unreachable", 0)
        assert (found[first + 1]["backend"], found[first + 1]["tried"]) == (alive.address, 1)


def test_failed_answers_and_clients_that_left_are_told_apart() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if b"/broken" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            return True
        if b"/silent" in head:
            connection.recv(1)
        connection.sendall(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
        return False

    with Backend(script) as backend, http(backend, max_failed_responses=0) as lb:
        ask(lb, "/")
        with Client(lb.address) as client:
            client.send(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                client.answer()
        with Client(lb.address) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: any(b"/silent" in head for head in backend.heads), "it is asked")
        wait_for(lambda: recorded(lb)[-1]["outcome"] == "client left", "it leaves")
        assert [(entry["outcome"], entry["status"]) for entry in recorded(lb)] == [
            ("done", 503),
            ("failed", 200),
            ("client left", None),
        ]


def test_nobody_to_pick_is_a_decision_too() -> None:
    with balanced() as lb:
        assert is_refused(lb.address)
        (only,) = recorded(lb)
        assert (only["backend"], only["why"], only["outcome"]) == (None, "nobody could be picked", "nobody")


def test_the_ring_holds_the_last_ones() -> None:
    with balanced(backends=["127.0.0.1:9"]) as lb:
        for _ in range(RING + 100):
            lb.pool().pick().release()
        found = recorded(lb)
        assert RING - 2 <= len(found) <= RING
        assert [entry["at"] for entry in found] == sorted(entry["at"] for entry in found)


def test_why_filters_and_outlives_the_control_plane(tmp_path: Path) -> None:
    options = ("--listen", "tcp://127.0.0.1:0", "--admin", "off", "--workers", "1")
    with Peer(echo) as peer:
        running = Command(tmp_path, *options, "--backend", peer.address)
        with dial(running.address) as session:
            session.sendall(b"x")
            assert session.recv(1) == b"x"
        done = wait_for(lambda: running.cli("why", "--outcome", "done", "--json").stdout, "it is recorded")
        assert json.loads(done.splitlines()[-1])["backend"] == peer.address
        assert running.cli("why", "--backend", "10.0.0.1:1", "--json").stdout == ""
        assert "no second candidate" in running.cli("why", "--pool", "default").stdout
        workers = [worker["pid"] for worker in running.status()["workers"]]
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait()
        assert peer.address in running.cli("why").stdout
        assert running.cli("stop").returncode == 0
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "its workers end")
        assert "no balancer is running" in running.cli("why").stderr
