"""Responses that retry_on keeps from clients: whose request goes to another backend, and what becomes of the first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import Call, H2Backend
from h2_frames import RST_STREAM
from harness import balanced, settled, wait_for
from http_balancers import OFF, POST, backend_of, cookie_of, figure, http
from http_peers import Backend, Client, answering, field
from refusing import BUSY, CLIENTS, refused, statuses_by_http1

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

RULES: dict[str, Any] = {"retry_on": [502, 503, 429], "max_failed_responses": 0}


def unchunked(raw: bytes) -> bytes:
    """The body of a client of HTTP/2, which says no length, as HTTP/1.1 carries it: the data of one or two chunks."""
    if not raw.endswith(b"0\r\n\r\n"):
        return raw
    data = b""
    while raw != b"0\r\n\r\n":
        size, _, raw = raw.partition(b"\r\n")
        data, raw = data + raw[: int(size, 16)], raw[int(size, 16) + 2 :]
    return data


BODIES = {"none": None, "short": b"x" * 20, "long": b"y" * 15_000}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize(
    ("method", "body"),
    [("GET", "none"), ("HEAD", "none"), ("PUT", "short"), ("POST", "none"), ("POST", "short"), ("POST", "long")],
)
def test_backend_that_always_refuses_costs_no_client_anything(client: str, protocol: str, method: str, body: str) -> None:
    head = method == "HEAD"
    raw = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n" + (b"" if head else b"busy")

    def head_only(call: Call, status: str) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", status), end=True))

    bad: Any
    good: Any
    if protocol == "h2":
        bad = H2Backend((lambda call: head_only(call, "503")) if head else refused())
        good = H2Backend((lambda call: head_only(call, "200")) if head else None)
    else:
        bad = Backend(answering(raw))
        good = Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"" if head else b"ok")))
    with bad, good, http(bad.address, good.address, protocol=protocol, retry_post=True, **RULES) as lb:
        assert CLIENTS[client](lb.address, method.encode(), BODIES[body], 120) == [200] * 120
        asked = len(bad.heads)
        assert asked > 0
        assert figure(lb, "responses_retried") == figure(lb, "retries") == asked
        assert figure(lb, "retries_denied") == 0
        assert figure(lb, "responses_5xx") == 0
        assert figure(lb, "responses_2xx") == 120
        assert backend_of(lb, bad.address)["failures"] == asked
        assert backend_of(lb, good.address)["failures"] == 0
        bodies = [call.body for call in good.calls] if isinstance(good, H2Backend) else [unchunked(raw) for raw in good.bodies]
        assert bodies == [BODIES[body] or b""] * 120


def test_connections_to_a_backend_that_refuses_are_kept() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        for _ in range(4):
            assert client.get().status == 200
        assert len(bad.heads) > 1
        assert bad.connections == 1


def test_a_refusal_whose_body_is_not_there_yet_ends_its_connection() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\nbegun")

    with Backend(script) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        for _ in range(4):
            assert client.get().status == 200
        assert bad.connections == len(bad.heads) > 1


def test_without_retry_on_clients_get_every_response() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, good, max_failed_responses=0) as lb:
        found = statuses_by_http1(lb.address, b"GET", None, 20)
        assert found.count(503) == 10
        assert figure(lb, "responses_retried") == 0


def test_post_is_not_repeated_unless_the_pool_says_so() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, good, **RULES) as lb:
        found = statuses_by_http1(lb.address, b"POST", b"hi", 8)
        assert found.count(503) == len(bad.heads) > 0
        assert found.count(200) == len(good.heads) > 0


def test_client_gets_the_last_response_whole_when_all_refuse() -> None:
    def busy(name: bytes) -> Backend:
        return Backend(answering(b"HTTP/1.1 503 Busy\r\nX-From: %b\r\nContent-Length: 7\r\n\r\nbody %b" % (name, name + b"!")))

    with busy(b"a") as one, busy(b"b") as two, http(one, two, **RULES) as lb, Client(lb.address) as client:
        answer = client.get()
        assert answer.status == 503
        assert answer.body == b"body " + (field(answer.head, b"X-From") or b"") + b"!"
        assert (len(one.heads), len(two.heads)) == (1, 1)
        assert client.get().status == 503
        assert figure(lb, "responses_5xx") == 2


def test_retries_bound_the_backends_that_are_asked() -> None:
    busy = answering(BUSY)
    with Backend(busy) as one, Backend(busy) as two, Backend(busy) as three, Backend(busy) as four:
        with http(one, two, three, four, retries=2, **RULES) as lb, Client(lb.address) as client:
            assert client.get().status == 503
            assert sum(len(backend.heads) for backend in (one, two, three, four)) == 3


@pytest.mark.parametrize("limits", [{"retries": 0}, {"retry_budget": 0, "retry_floor": 0}])
def test_the_budget_holds_for_responses_too(limits: dict[str, Any]) -> None:
    with Backend(answering(BUSY)) as one, Backend(answering(BUSY)) as two:
        with http(one, two, **RULES, **limits) as lb, Client(lb.address) as client:
            assert client.get().body == b"busy"
            assert len(one.heads) + len(two.heads) == 1


def test_only_backend_is_asked_once() -> None:
    with Backend(answering(BUSY)) as bad, http(bad, **RULES) as lb, Client(lb.address) as client:
        assert client.get().body == b"busy"
        assert len(bad.heads) == 1
        assert figure(lb, "retries") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_backend_that_says_retry_after_is_left_alone(status: int) -> None:
    raw = b"HTTP/1.1 %d Later\r\nRetry-After: 50\r\nContent-Length: 0\r\n\r\n" % status
    with Backend(answering(raw)) as bad, Backend() as good, http(bad, good, **RULES) as lb:
        assert statuses_by_http1(lb.address, b"GET", None, 50) == [200] * 50
        assert len(bad.heads) == 1
        assert backend_of(lb, bad.address)["avoided_by"] == 1


def test_a_pause_ends_with_its_time() -> None:
    seen: list[bytes] = []

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        seen.append(head)
        later = b"HTTP/1.1 429 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(later if len(seen) == 1 else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Backend(script) as shy, Backend() as good, http(shy, good, **RULES) as lb, Client(lb.address) as client:
        assert [client.get().status for _ in range(10)] == [200] * 10
        assert len(seen) == 1
        wait_for(lambda: client.get().status == 200 and len(seen) > 3, "it is asked again")


def test_backend_that_refuses_again_and_again_is_tried_by_single_requests() -> None:
    busy = threading.Event()
    busy.set()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(BUSY if busy.is_set() else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Backend(script) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        assert [client.get().status for _ in range(100)] == [200] * 100
        assert len(bad.heads) == 3
        wait_for(lambda: client.get().status == 200 and len(bad.heads) > 3, "a trial comes")
        busy.clear()
        before = len(bad.heads)
        wait_for(lambda: client.get().status == 200 and len(bad.heads) > before + 10, "it takes turns again")
        assert figure(lb, "responses_5xx") == 0


def test_refusals_take_a_backend_out_as_without_retry_on() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good:
        with http(bad, good, retry_on=[503], max_failed_responses=3, retry_after="1h") as lb, Client(lb.address) as client:
            assert [client.get().status for _ in range(20)] == [200] * 20
            wait_for(lambda: backend_of(lb, bad.address)["state"] == "down", "it is taken out")
            assert "3 responses failed in a row: status 503" in str(backend_of(lb, bad.address)["reason"])


def test_missing_page_of_one_backend_is_no_failure() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with Backend(answering(raw)) as bad, Backend() as good, http(bad, good, retry_on=[404]) as lb:
        assert statuses_by_http1(lb.address, b"GET", None, 20) == [200] * 20
        assert len(bad.heads) >= 10
        assert backend_of(lb, bad.address)["failures"] == 0


@pytest.mark.parametrize(("size", "repeated"), [(30_000, True), (100_000, False)])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_body_that_comes_in_parts_is_repeated_as_far_as_it_is_held(protocol: str, size: int, repeated: bool) -> None:
    body = bytes(range(256)) * (size // 256)
    bad: Any = H2Backend(refused()) if protocol == "h2" else Backend(answering(BUSY))
    good: Any = H2Backend() if protocol == "h2" else Backend()
    with bad, good, http(bad.address, good.address, protocol=protocol, retry_post=True, **RULES) as lb:
        for _ in range(2):
            with Client(lb.address) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:100])
                wait_for(lambda: figure(lb, "requests_active") == 1, "it is on its way")
                for at in range(100, len(body), 7000):
                    client.send(body[at : at + 7000])
                answer = client.answer()
                assert answer.status == 200 or not repeated
        bodies = [call.body for call in good.calls] if protocol == "h2" else good.bodies
        assert bodies == [body] * (2 if repeated else 1)


def test_request_that_is_refused_early_takes_its_body_elsewhere() -> None:
    """The first backend answers the head alone: what comes of the body later goes to the second."""

    def early(connection: socket.socket, head: bytes, body: bytes) -> bool:
        return True

    class Early(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.recv(65536)
            self.heads.append(b"")
            connection.sendall(BUSY)
            connection.recv(65536)

    with Early(early) as bad, Backend() as good, http(bad, good, **RULES) as lb:
        for _ in range(2):
            with Client(lb.address) as client:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfirst")
                wait_for(lambda: len(good.heads) + len(bad.heads) > 0, "it is asked")
                if not good.heads:
                    wait_for(lambda: figure(lb, "responses_retried") == 1, "it is refused")
                client.send(b"last")
                assert client.answer().status == 200
        assert good.bodies == [b"firstlast"] * 2
        assert bad.heads


def test_stream_that_is_refused_early_is_reset() -> None:
    def early(talk: Any, stream: int) -> None:
        talk.send(talk.head(stream, (":status", "503"), end=True))

    def nothing_more(call: Any) -> None:
        """It has answered; a second response on its stream would break the rules."""

    with (
        H2Backend(nothing_more, on_head=early) as bad,
        H2Backend() as good,
        http(bad.address, good.address, protocol="h2", **RULES) as lb,
    ):
        for turn in range(2):
            with Client(lb.address) as client:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfirst")
                wait_for(lambda before=turn: len(good.heads) > before, "its head is where it will be answered")
                client.send(b"last")
                assert client.answer().status == 200
        assert [call.body for call in good.calls] == [b"firstlast"] * 2
        assert bad.heads
        wait_for(lambda: len(bad.all_of(RST_STREAM)) == len(bad.heads), "the stream whose request was not whole is reset")


def test_chunked_bodies_are_repeated_once_they_are_whole() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        for _ in range(4):
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            assert client.answer().status == 200
        assert len(bad.heads) > 1
        assert all(body.startswith((b"5\r\nabcde\r\n", b"3\r\nabc\r\n")) for body in good.bodies)


def test_request_behind_one_that_is_repeated_waits() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good:
        with http(bad, good, retry_post=True, **RULES) as lb, Client(lb.address) as client:
            client.send(POST + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n" + POST)
            assert [client.answer().status for _ in range(3)] == [200] * 3
            assert good.bodies == [b"hi", b"", b"hi"]
            assert bad.heads


def test_interim_responses_do_not_hinder_another_try() -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + BUSY
    with Backend(answering(raw)) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while (answer := client.answer()).status == 100:
                pass
            assert answer.status == 200
        assert bad.heads


@pytest.mark.parametrize(
    ("pool", "route", "repeated"),
    [
        ({}, {"retry_on": [503]}, True),
        ({"retry_on": [503]}, {"retry_on": []}, False),
        ({"retry_on": [502]}, {"retry_on": [503], "retry_post": True}, True),
        ({"retry_on": [503]}, {"retry_on": [502]}, False),
        ({"retry_on": [503]}, {}, True),
    ],
)
def test_routes_override_their_pool(pool: dict[str, Any], route: dict[str, Any], repeated: bool) -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good:
        addresses = [bad.address, good.address]
        settings = BalancerSettings(
            workers=1,
            listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
            routes=[RouteSettings(path_prefix="/r", pool="p", **route)],
            pools=[PoolSettings(name="p", probe=OFF, backends=addresses, policy="round_robin", max_failed_responses=0, **pool)],
        )
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            found = [client.get("/r").status for _ in range(8)]
            assert found.count(200) == (8 if repeated else 4)
            if route.get("retry_post"):
                client.send(POST.replace(b" / ", b" /r "))
                assert client.answer().status == 200


def test_clients_that_are_bound_move_to_another_backend() -> None:
    with Backend() as one, Backend() as two:
        with http(one, two, sticky="lb", **RULES) as lb, Client(lb.address) as client:
            first = client.get()
            bound, other = (one, two) if one.heads else (two, one)
            bound.script = answering(BUSY)
            answer = client.get(extra=b"Cookie: " + cookie_of(first.head) + b"\r\n")
            assert answer.status == 200
            assert cookie_of(answer.head) != cookie_of(first.head)
            assert len(other.heads) == 1


def test_decisions_tell_of_both() -> None:
    with Backend(answering(BUSY)) as bad, Backend() as good, http(bad, good, **RULES) as lb, Client(lb.address) as client:
        for _ in range(2):
            assert client.get().status == 200
        settled(lb)
        seen = [(one["backend"], one["outcome"], one["status"], one["tried"]) for one in decisions(lb._running().table.segment)]
        assert (bad.address, "failed", 503, 0) in seen
        assert (good.address, "done", 200, 1) in seen


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: PoolSettings(retry_on=[200]), r"retry_on: \[200\] is not allowed \(allowed: a list of statuses, out of 403"),
        (lambda: PoolSettings(retry_on="503"), "retry_on: '503' is not allowed"),
        (lambda: PoolSettings(retry_on=[True]), "retry_on: "),
        (lambda: PoolSettings(retry_post="yes"), "retry_post: 'yes' is not allowed"),
        (lambda: RouteSettings(deny=True, retry_on=[503]), "retry_on: requires pool"),
        (lambda: RouteSettings(deny=True, retry_post=False), "retry_post: requires pool"),
        (lambda: RouteSettings(pool="p", retry_on=[99]), "retry_on: "),
    ],
)
def test_bad_values_are_refused_in_one_line(made: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        made()
    assert str(caught.value).count("\n") == 0
