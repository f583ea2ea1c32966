"""A fresh connection that ends before a response: which requests go to another backend, and which are risked once."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from harness import free_port, reset, settled
from http_balancers import GET, POST, backend_of, figure, http
from http_peers import Backend, Client, answering

from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from collections.abc import Callable


def resetting(connection: socket.socket, head: bytes, body: bytes) -> bool:
    """Resets instead of answering."""
    reset(connection)
    return True


CLOSING: dict[str, Callable[[socket.socket, bytes, bytes], bool]] = {"closed": answering(b"", end=True), "reset": resetting}


@pytest.mark.parametrize("how", CLOSING)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE"])
def test_idempotent_request_on_a_fresh_connection_that_ends_goes_to_another_backend(how: str, method: bytes) -> None:
    with (
        Backend(CLOSING[how]) as bad,
        Backend() as good,
        http(bad, good, max_failed_responses=0, max_connect_failures=0) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(10):
            client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert client.answer(to_head=method == b"HEAD").status == 200
        assert good.bodies == [b"hi"] * 10
        assert figure(lb, "replays") == len(bad.heads) == figure(lb, "retries")
        assert backend_of(lb, bad.address)["failures"] == len(bad.heads) > 0
        assert backend_of(lb, good.address)["failures"] == 0


def test_the_record_and_the_decisions_tell_of_the_second_try() -> None:
    with Backend(answering(b"", end=True)) as bad, Backend() as good:
        with http(bad, good, max_failed_responses=0) as lb, Client(lb.address) as client:
            for _ in range(2):
                assert client.get().status == 200
            settled(lb)
            seen = [(one["backend"], one["outcome"], one["tried"]) for one in decisions(lb._running().table.segment)]
            assert seen[0] == (bad.address, "failed", 0)
            assert seen[1] == (good.address, "done", 1)


@pytest.mark.parametrize("how", CLOSING)
def test_post_on_a_fresh_connection_that_ends_is_502(how: str) -> None:
    with Backend(CLOSING[how]) as bad, Backend() as good:
        with http(bad, good, max_failed_responses=0) as lb, Client(lb.address) as client:
            statuses = []
            for _ in range(4):
                client.send(POST)
                statuses.append(client.answer().status)
            # one that ends fresh connections may be passed over from then on, but what it took is lost
            assert statuses.count(502) == len(bad.heads) >= 1
            assert statuses.count(200) == len(good.heads) >= 2
            assert figure(lb, "replays") == 0


def test_only_backend_that_closes_fresh_connections_is_asked_once() -> None:
    with (
        Backend(answering(b"", end=True)) as backend,
        http(backend, max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        answer = client.get()
        assert answer.status == 502
        assert b"closed the connection before it answered" in answer.body
        assert len(backend.heads) == 1


def test_two_backends_that_close_fresh_connections_are_asked_once_each() -> None:
    end = answering(b"", end=True)
    with Backend(end) as one, Backend(end) as two, Backend(end) as three:
        with http(one, two, three, max_failed_responses=0, retries=5) as lb, Client(lb.address) as client:
            assert client.get().status == 502
            assert len(one.heads) + len(two.heads) + len(three.heads) == 2


@pytest.mark.parametrize("limits", [{"retries": 0}, {"retry_budget": 0, "retry_floor": 0}])
def test_second_try_stays_within_the_budget(limits: dict[str, Any]) -> None:
    with Backend(answering(b"", end=True)) as one, Backend(answering(b"", end=True)) as two:
        with http(one, two, max_failed_responses=0, **limits) as lb, Client(lb.address) as client:
            assert client.get().status == 502
            assert len(one.heads) + len(two.heads) == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"nonsense\r\n\r\n"])
def test_no_second_try_after_a_byte_of_a_response(begun: bytes) -> None:
    with Backend(answering(begun, end=True)) as one, Backend(answering(begun, end=True)) as two:
        with http(one, two, max_failed_responses=0) as lb, Client(lb.address) as client:
            client.send(GET)
            while (answer := client.answer()).status < 200:
                pass
            assert answer.status == 502
            assert len(one.heads) + len(two.heads) == 1


def test_dead_neighbour_of_one_that_closes_leaves_a_502() -> None:
    with Backend(answering(b"", end=True)) as bad:
        with (
            http(bad, f"127.0.0.1:{free_port()}", max_failed_responses=0, max_connect_failures=0) as lb,
            Client(lb.address) as client,
        ):
            for _ in range(4):
                assert client.get().status == 502
