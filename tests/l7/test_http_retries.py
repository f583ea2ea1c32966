"""Backends that cannot be reached, or close a kept connection: what is tried again, where, and what the client is told."""

from __future__ import annotations

import collections
import random
import socket
import threading
import time

import pytest
from harness import SLOWER, black_hole, free_port, settled, totals, wait_for
from http_balancers import OK, backend_of, figure, http
from http_peers import Backend, Client, answering, field


def test_refused_connects_go_to_another_backend_whatever_the_method() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with Backend() as alive, http(dead, alive, max_connect_failures=0) as lb, Client(lb.address) as client:
        for _ in range(6):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert client.answer().status == 200
        assert alive.bodies == [b"hi"] * 6
        assert figure(lb, "retries") > 0


def test_no_backend_that_can_be_reached_is_502() -> None:
    with http(f"127.0.0.1:{free_port()}", max_connect_failures=0) as lb, Client(lb.address) as client:
        for _ in range(2):
            answer = client.get()
            assert answer.status == 502
            assert b"no backend could be reached" in answer.body


def test_connect_time_out_is_504() -> None:
    with (
        black_hole() as hole,
        http(hole, connect_timeout="100ms", retries=0, max_connect_failures=0) as lb,
        Client(lb.address) as client,
    ):
        assert client.get().status == 504


def test_no_backend_at_all_is_503_with_retry_after() -> None:
    with http() as lb, Client(lb.address) as client:
        started = time.monotonic()
        answer = client.get()
        assert answer.status == 503
        assert int(field(answer.head, b"Retry-After") or 0) >= 1
        assert time.monotonic() - started < 1 * SLOWER
        assert client.get(method=b"HEAD").status == 503


class Fickle(Backend):
    """Answers `good` requests of a connection, then closes it in the face of the next."""

    def __init__(self, good: int = 1) -> None:
        self.good = good
        self.seen: collections.Counter[bytes] = collections.Counter()
        super().__init__()

    def _talk(self, connection: socket.socket) -> None:
        for _ in range(self.good):
            if not self._one(connection):
                return
        connection.recv(65536)  # a request that gets no answer

    def _one(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        self.seen[data.split(b" ")[0]] += 1
        connection.sendall(OK)
        return True


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"OPTIONS"])
def test_idempotent_request_on_a_connection_that_closes_is_sent_again(method: bytes) -> None:
    with Fickle() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        for _ in range(5):
            client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert client.answer().status == 200
        assert figure(lb, "replays") == 4
        assert figure(lb, "connections_stale") == 4
        assert backend_of(lb, backend.address)["failures"] == 0


def test_post_on_a_connection_that_closes_is_502_and_never_sent_twice() -> None:
    with Fickle() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert client.answer().status == 200
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert client.answer().status == 502
        assert figure(lb, "replays") == 0
        assert backend.connections == 1


def test_post_does_not_use_a_connection_that_has_ended() -> None:
    with (
        Backend(answering(OK, end=True)) as backend,
        http(backend, backend_idle_timeout="1h") as lb,
        Client(lb.address) as client,
    ):
        for _ in range(20):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert client.answer().status == 200
            wait_for(lambda: not figure(lb, "connections_kept"), "its end is seen")
        assert backend.connections == 20


def test_fresh_connection_that_closes_is_not_replayed() -> None:
    with (
        Backend(answering(b"", end=True)) as backend,
        http(backend, max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        assert client.get().status == 502
        assert len(backend.heads) == 1


def test_replays_stay_within_the_budget() -> None:
    with (
        Fickle() as backend,
        http(backend, backend_idle_timeout="1h", retry_budget=0, retry_floor=0) as lb,
        Client(lb.address) as client,
    ):
        assert client.get().status == 200
        assert client.get().status == 502
        assert figure(lb, "retries_denied") == 1


def test_keep_alive_races_give_no_502_on_idempotent_requests() -> None:
    """A backend that closes idle connections at random moments, under many clients for a while."""

    class Closing(Backend):
        def _talk(self, connection: socket.socket) -> None:
            dice = random.Random()
            connection.settimeout(10)  # for the first request: from then on the connection is a kept one
            while True:
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    return
                if not data:
                    return
                assert data.endswith(b"\r\n\r\n")
                connection.sendall(OK)
                if dice.random() < 0.1:
                    return
                connection.settimeout(dice.choice([0.0005, 0.002, 0.005, 0.02]))

    statuses: collections.Counter[int] = collections.Counter()

    def ask(address: tuple[str, int]) -> None:
        deadline = time.monotonic() + 4
        with Client(address) as client:
            while time.monotonic() < deadline:
                statuses[client.get().status] += 1
                time.sleep(random.choice([0, 0.0005, 0.002, 0.005]))  # about when a backend closes, or a little before or after

    with Closing() as one, Closing() as two, http(one, two, backend_idle_timeout="1h", policy="p2c", retry_budget=100) as lb:
        threads = [threading.Thread(target=ask, args=(lb.address,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}, (statuses, totals(settled(lb)))
        assert statuses[200] > 500
