"""Requests whose response is late go to a second backend as well: who wins, what becomes of the other, and how many may."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import Call, H2Backend
from h2_frames import RST_STREAM, H2Client
from harness import wait_for
from http_balancers import POST, backend_of, figure, http
from http_peers import Backend, Client, answering

from lbcore.config.settings import PoolSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    import socket

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RULES: dict[str, Any] = {"hedge_after": "30ms", "hedge_budget": 100}


class Held:
    """Backends that answer when they are told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def http1(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        self.go.wait(30)
        connection.sendall(OK)

    def h2(self, call: Call) -> None:
        """Never: the thread of a connection reads on, so that its resets are seen."""


def asked(client: str, address: tuple[str, int], count: int) -> list[int]:
    if client == "h2":
        with H2Client(address) as two:
            found = []
            for number in range(count):
                two.ask(2 * number + 1)
                found.append(int(two.response(2 * number + 1).status))
            return found
    with Client(address) as one:
        return [one.get().status for _ in range(count)]


@pytest.mark.parametrize("client", ["http/1.1", "h2"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_second_backend_answers_for_one_that_hangs(client: str, protocol: str) -> None:
    held = Held()
    slow: Any = Backend(held.http1) if protocol == "http/1.1" else H2Backend(held.h2)
    fast: Any = Backend(answering(OK)) if protocol == "http/1.1" else H2Backend()
    with slow, fast, http(slow.address, fast.address, protocol=protocol, **RULES) as lb:
        assert asked(client, lb.address, 10) == [200] * 10
        assert figure(lb, "hedges") == figure(lb, "hedges_won") == len(slow.heads) > 0
        assert figure(lb, "responses_2xx") == figure(lb, "requests") == 10
        if protocol == "h2":
            wait_for(lambda: len(slow.all_of(RST_STREAM)) == len(slow.heads), "its streams are reset")
        held.go.set()


def test_first_backend_that_answers_late_wins_against_one_that_hangs() -> None:
    first, second = Held(), Held()
    with Backend(first.http1) as one, Backend(second.http1) as two, http(one, two, **RULES) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: len(one.heads) + len(two.heads) == 2, "both are asked")
        asked_first = first if figure(lb, "hedges") and one.heads else second
        asked_first.go.set()
        assert client.answer().status == 200
        first.go.set()
        second.go.set()
        assert client.get().status == 200


def test_client_that_leaves_ends_both() -> None:
    held = Held()
    with Backend(held.http1) as one, Backend(held.http1) as two, http(one, two, **RULES) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: len(one.heads) + len(two.heads) == 2, "both are asked")
        wait_for(lambda: backend_of(lb, one.address)["active"] == backend_of(lb, two.address)["active"] == 0, "both are left")
        held.go.set()


def test_second_backend_that_fails_leaves_the_first() -> None:
    """Whichever is asked first, the client gets what the slow one says, or the failure alone, if that came first."""
    held = Held()
    bad = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    with Backend(held.http1) as slow, Backend(answering(bad)) as failing, http(slow, failing, **RULES) as lb:
        for _ in range(2):
            with Client(lb.address) as client:
                seen = len(slow.heads)
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: figure(lb, "hedges") > 0 or figure(lb, "responses_5xx") > 0, "the first is asked")
                held.go.set()
                assert client.answer().status == (200 if len(slow.heads) > seen else 500)
                held.go.clear()
        assert (figure(lb, "hedges"), figure(lb, "hedges_won")) == (1, 0)


def test_what_must_not_be_sent_twice_is_not() -> None:
    held = Held()
    with Backend(held.http1) as one, Backend(held.http1) as two, http(one, two, **RULES) as lb, Client(lb.address) as client:
        client.send(POST)
        wait_for(lambda: len(one.heads) + len(two.heads) == 1, "one is asked")
        held.go.wait(0.3)
        assert len(one.heads) + len(two.heads) == 1
        held.go.set()
        assert client.answer().status == 200


def test_share_of_the_requests() -> None:
    held = Held()
    held.go.set()

    def slow(connection: socket.socket, head: bytes, body: bytes) -> None:
        threading.Event().wait(0.03)
        connection.sendall(OK)

    with Backend(slow) as one, Backend(slow) as two, http(one, two, hedge_after="2ms", hedge_budget=10) as lb:
        assert asked("http/1.1", lb.address, 100) == [200] * 100
        assert 1 <= figure(lb, "hedges") <= 10
        assert figure(lb, "hedges_denied") >= 80


def test_percentile_of_the_response_times() -> None:
    slow_now = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if slow_now.is_set():
            threading.Event().wait(5)
        connection.sendall(OK)

    with Backend(script) as one, Backend() as two, http(one, two, hedge_after="p90", hedge_budget=100) as lb:
        assert asked("http/1.1", lb.address, 150) == [200] * 150
        slow_now.set()
        before = figure(lb, "hedges_won")
        assert asked("http/1.1", lb.address, 4) == [200] * 4
        assert figure(lb, "hedges_won") > before


@pytest.mark.parametrize("value", ["p0", "p100", "p5", "0s", "2h", "x", "p9x"])
def test_bad_value_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(ConfigError, match="hedge_after: ") as refused:
        PoolSettings(hedge_after=value)
    assert str(refused.value).count("\n") == 0


def test_pools_that_bind_clients_are_refused() -> None:
    with pytest.raises(ConfigError, match="hedge_after: not with sticky"):
        PoolSettings(hedge_after="p95", sticky="lb")
