"""A backend that is stopping may still accept connections: signs of it keep away what must not be lost, and a false one costs
nothing. Real servers that stop: test_servers.py."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from harness import balanced, wait_for
from http_peers import Backend, Client, answering
from pace import paced

from lbcore.config.settings import BackendSettings, BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    import socket

    from lbcore.api.balancer import Balancer

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept"
CLOSED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nclosed"


def settings(*backends: Backend, **pool: object) -> BalancerSettings:
    rules = {"probe": ProbeSettings(kind="off"), "policy": "round_robin", "max_failed_responses": 0} | pool
    named = [BackendSettings(address=backend.address) for backend in backends]
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        pools=[PoolSettings(name="default", backends=named, **rules)],
    )


def suspects(lb: Balancer) -> list[int]:
    return [backend["avoided_by"] for backend in lb.status()["pools"][0]["backends"]]


def post(client: Client) -> bytes:
    client.send(POST)
    return client.answer().body


class Turning(Backend):
    """Keeps connections until `turn` is set, and then says close."""

    def __init__(self) -> None:
        self.turned = threading.Event()
        super().__init__(self._serve)

    def _serve(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(CLOSED if self.turned.is_set() else KEPT)
        return self.turned.is_set()


def test_idle_connections_that_end_early_keep_posts_away() -> None:
    with Backend(answering(KEPT), name=b"a") as a, Backend(name=b"other") as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in range(8):
                client.get()
            for connection in list(a.open):
                connection.shutdown(2)
            wait_for(lambda: suspects(lb) == [1, 0], "it is suspected")
            before = len(a.heads)
            assert [post(client) for _ in range(6)] == [b"other"] * 6
            assert len(a.heads) == before
            assert {client.get().body for _ in range(4)} == {b"kept", b"other"}  # a GET may try it
            assert suspects(lb) == [0, 0]
            assert {post(client) for _ in range(4)} == {b"kept", b"other"}


def test_a_response_that_suddenly_says_close_keeps_posts_away() -> None:
    with Turning() as a, Backend(name=b"other") as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in range(24):
                client.get()
            a.turned.set()
            for _ in range(2):
                client.get()
            assert suspects(lb) == [1, 0]
            before = len(a.heads)
            assert [post(client) for _ in range(6)] == [b"other"] * 6
            assert len(a.heads) == before
            for _ in range(2):
                client.get()
            assert suspects(lb) == [0, 0]  # it answers: it closes its connections by habit now


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_close_behind_an_error_speaks_of_the_request(status: int) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        bad = b"/bad" in head
        line = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
        connection.sendall(line if bad else KEPT)
        return bad

    with Backend(script) as a, Backend(script) as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in range(24):
                client.get()
            for _ in range(4):
                client.get("/bad")
            assert suspects(lb) == [0, 0]


def test_servers_that_close_by_habit_are_never_suspected() -> None:
    with Backend(answering(CLOSED, end=True)) as a, Backend(answering(CLOSED, end=True)) as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in range(20):
                assert client.get().body == post(client) == b"closed"
                assert suspects(lb) == [0, 0]
            assert len(a.heads) == len(b.heads) == 20


def test_servers_that_close_without_a_word_after_each_response_are_never_suspected() -> None:
    with Backend(answering(KEPT, end=True)) as a, Backend(answering(KEPT, end=True)) as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in paced(10, 0.01):
                assert client.get().body == b"kept"
            assert suspects(lb) == [0, 0]


def test_a_fresh_connection_that_brings_nothing_keeps_posts_away() -> None:
    deaf, release = threading.Event(), threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if deaf.is_set():
            release.wait(10)
        connection.sendall(CLOSED)
        return True

    with Backend(script) as a, Backend(name=b"other") as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as first, Client(lb.address) as client:
            for _ in range(6):
                client.get()
            deaf.set()
            before = len(a.heads)
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if len(a.heads) == before:  # it was the other's turn
                with contextlib.suppress(AssertionError):
                    wait_for(lambda: len(a.heads) > before, "it is asked", 0.3)
            if len(a.heads) == before:
                first.answer()
                first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: suspects(lb) == [1, 0], "it is suspected")
            assert [post(client) for _ in range(6)] == [b"other"] * 6
            release.set()
            assert first.answer().status == 200


def test_a_single_backend_is_used_whatever_it_looks_like() -> None:
    with Turning() as a, balanced(settings=settings(a)) as lb, Client(lb.address) as client:
        for _ in range(12):
            client.get()
        a.turned.set()
        client.get()
        assert suspects(lb) == [1]
        assert [post(client) for _ in range(3)] == [b"closed"] * 3


def test_posts_alone_come_back_in_time() -> None:
    """Nobody sends anything that could be repeated: after a while a single POST tries it."""
    with Backend(answering(KEPT), name=b"a") as a, Backend(name=b"other") as b:
        with balanced(settings=settings(a, b)) as lb, Client(lb.address) as client:
            for _ in range(8):
                post(client)
            for connection in list(a.open):
                connection.shutdown(2)
            wait_for(lambda: suspects(lb) == [1, 0], "it is suspected")
            assert [post(client) for _ in range(4)] == [b"other"] * 4
            wait_for(lambda: post(client) == b"kept", "it is tried again")
            assert suspects(lb) == [0, 0]
