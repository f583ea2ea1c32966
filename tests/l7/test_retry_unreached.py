"""A response sends its request to another backend, which cannot be reached: the client is told the first status."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import H2Backend
from harness import free_port, settled, wait_for
from http_balancers import figure, http
from http_peers import Backend, Client, answering, field
from refusing import BUSY, CLIENTS, refused, statuses_by_http1

if TYPE_CHECKING:
    import socket

    from lbcore.api.balancer import Balancer


def unreachable() -> str:
    return f"127.0.0.1:{free_port()}"


PLAIN: dict[str, Any] = {"retry_on": [404, 429, 503], "max_failed_responses": 0, "max_connect_failures": 0}
"""Nobody is passed over for failures, so that both orders come."""


def made_by_lbcore(lb: Balancer) -> int:
    settled(lb)
    return int(lb.status()["pools"][0]["tally"]["local_responses"])


LOCAL = b"no other backend could be reached after this status"


@pytest.mark.parametrize("client", ["http/1.1", "h2"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("status", [404, 429, 503])
def test_neighbour_that_cannot_be_reached_leaves_the_first_status(client: str, protocol: str, status: int) -> None:
    bad: Any
    if protocol == "h2":
        bad = H2Backend(refused(str(status), ("retry-after", "7")))
    else:
        bad = Backend(answering(b"HTTP/1.1 %d X\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy" % status))
    with bad, http(bad.address, unreachable(), protocol=protocol, **PLAIN) as lb:
        assert CLIENTS[client](lb.address, b"GET", None, 20) == [status] * 20
        assert len(bad.heads) == 20
        assert 0 < figure(lb, "responses_retried") <= 20
        assert figure(lb, "responses_4xx") + figure(lb, "responses_5xx") == 20
        assert made_by_lbcore(lb) == figure(lb, "responses_retried")


@pytest.mark.parametrize("pause", [b"", b"Retry-After: 7\r\n", b"Retry-After: 99999999\r\n"])
def test_client_is_told_the_first_pause_too(pause: bytes) -> None:
    raw = b"HTTP/1.1 429 X\r\n%bContent-Length: 4\r\n\r\nbusy" % pause
    with Backend(answering(raw)) as bad, http(bad, unreachable(), **PLAIN) as lb, Client(lb.address) as client:
        found = [client.get() for _ in range(8)]
        made_here = [answer for answer in found if LOCAL in answer.body]
        expected = {b"": None, b"Retry-After: 7\r\n": b"7", b"Retry-After: 99999999\r\n": b"65535"}[pause]
        assert made_here
        assert {field(answer.head, b"Retry-After") for answer in made_here} == {expected}
        assert {answer.status for answer in found} == {429}


def test_a_third_backend_is_tried_before_the_client_is_told_anything() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, unreachable(), good, **PLAIN) as lb:
        assert statuses_by_http1(lb.address, b"GET", None, 30) == [200] * 30
        assert made_by_lbcore(lb) == 0


def test_first_status_counts_while_nobody_else_may_have_acted_on_a_post() -> None:
    def breaks(connection: socket.socket, head: bytes, body: bytes) -> bool:
        return True

    rules = {**PLAIN, "retry_post": True}
    with Backend(answering(BUSY)) as bad:
        with http(bad, unreachable(), **rules) as lb:
            assert statuses_by_http1(lb.address, b"POST", b"hi", 8) == [503] * 8
        with Backend(breaks) as broken, http(bad, broken, **rules) as lb:
            for _ in range(4):  # a POST that is lost is sent to nobody else: the older status would say that nothing happened
                assert statuses_by_http1(lb.address, b"POST", b"hi", 1) == [502]


def test_a_queue_that_runs_out_after_a_status_leaves_it_too() -> None:
    hold = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if b"/hold" in head:
            hold.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return False

    missing = answering(b"HTTP/1.1 404 X\r\nX-From: bad\r\nContent-Length: 0\r\n\r\n")
    limits: dict[str, Any] = {"max_active": 1, "queue": 10, "queue_timeout": "200ms"}
    with Backend(missing) as bad, Backend(script) as slow, http(bad, unreachable(), slow, **limits, **PLAIN) as lb:
        with Client(lb.address) as first, Client(lb.address) as client:
            first.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: slow.heads, "the only backend that serves is full")
            found = [client.get() for _ in range(6)]
            assert {answer.status for answer in found} == {404}
            assert [answer for answer in found if LOCAL in answer.body]
            hold.set()
            assert first.answer().status == 200
