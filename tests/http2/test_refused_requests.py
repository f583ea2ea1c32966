"""Requests that a backend of HTTP/2 gives no response to: which go to another one, and which must not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call, goaway, h2
from h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    REFUSED_STREAM,
    H2Client,
    frame,
    reset,
)
from http_balancers import GET, POST, figure
from http_peers import Client

if TYPE_CHECKING:
    from collections.abc import Callable


def refusing(act: Callable[[Call], None]) -> H2Backend:
    return H2Backend(act)


REFUSALS: dict[str, Callable[[Call], Any]] = {
    "REFUSED_STREAM": lambda call: call.talk.send(reset(call.stream, REFUSED_STREAM)),
    "NO_ERROR before a response": lambda call: call.talk.send(reset(call.stream, NO_ERROR)),
    "above the last of GOAWAY": lambda call: call.talk.send(goaway(0)),
    "a call CANCELLED after GOAWAY": lambda call: call.talk.send(
        goaway(0x7FFFFFFF), call.talk.head(call.stream, (":status", "200"), ("grpc-status", "1"), end=True)
    ),
}


def test_a_request_that_meets_goaway_and_then_a_closed_connection_goes_to_another_backend() -> None:
    """hypercorn 0.18.0 still accepts when it stops: the second trial is lost as well."""

    def stops(call: Call) -> bool:
        if len(call.talk.backend.talks) > 1:
            return True
        call.talk.send(goaway(0))
        return False

    with H2Backend(stops) as first, H2Backend() as second, h2(first, second, retries=3) as lb:
        for _ in range(4):
            with Client(lb.address) as client:
                client.send(GET)
                assert (client.answer().status, client.get().status) == (200, 200)
        assert len(first.talks) > 1
        assert len(second.calls) == 8


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_request_goes_to_another_backend_post_too(name: str) -> None:
    with (
        refusing(REFUSALS[name]) as first,
        H2Backend(answer_call) as second,
        h2(first, second, retries=3) as lb,
        H2Client(lb.address) as client,
    ):
        for stream in (1, 3, 5, 7):
            client.ask(stream, "/a.B/C", *CALL, method="POST", body=MESSAGE)
            response = client.response(stream)
            assert (response.body, response.heads[-1]["grpc-status"]) == (MESSAGE, "0")
        assert first.calls
        assert {call.body for call in second.calls} == {MESSAGE}
        assert len(second.calls) == 4
        assert figure(lb, "calls_refused") >= 1


def test_a_request_whose_body_came_in_parts_goes_to_another_backend_whole() -> None:
    came = threading.Semaphore(0)
    with (
        H2Backend(REFUSALS["REFUSED_STREAM"], on_head=lambda talk, stream: came.release()) as first,
        H2Backend(answer_call, on_head=lambda talk, stream: came.release()) as second,
        h2(first, second, retries=3) as lb,
        H2Client(lb.address) as client,
    ):
        for stream in (1, 3):
            client.send(frame(HEADERS, END_HEADERS, stream, client.head("/a.B/C", *CALL, method="POST")))
            assert came.acquire(timeout=10)
            client.send(frame(DATA, 0, stream, MESSAGE[:3]))
            client.send(frame(DATA, END_STREAM, stream, MESSAGE[3:]))
            assert client.response(stream).body == MESSAGE
            while came.acquire(blocking=False):
                pass
        assert first.calls
        assert {call.body for call in second.calls} == {MESSAGE}


def test_a_request_that_was_looked_at_is_not_repeated() -> None:
    with (
        H2Backend(lambda call: call.talk.send(reset(call.stream, INTERNAL_ERROR))) as first,
        H2Backend(lambda call: call.talk.send(reset(call.stream, INTERNAL_ERROR))) as second,
        h2(first, second) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        assert client.response(1).heads[0]["grpc-status"] == "14"
        assert len(first.calls) + len(second.calls) == 1
        assert figure(lb, "calls_reset") == 1


@pytest.mark.parametrize(("repeat", "status", "asked"), [("lost", "0", 2), ("refused", "14", 1)])
def test_a_call_whose_connection_breaks(repeat: str, status: str, asked: int) -> None:
    """A kill -9 of one of two servers: grpcio fails calls that are under way."""
    lost = threading.Event()

    def script(call: Call) -> bool:
        if lost.is_set():
            answer_call(call)
            return False
        lost.set()
        return True

    with (
        H2Backend(script) as first,
        H2Backend(script) as second,
        h2(first, second, repeat_calls=repeat) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        assert client.response(1).heads[-1]["grpc-status"] == status
        assert len(first.calls) + len(second.calls) == asked


def test_a_plain_post_whose_connection_breaks_is_not_repeated() -> None:
    with (
        H2Backend(lambda call: True) as first,
        H2Backend(lambda call: True) as second,
        h2(first, second) as lb,
        Client(lb.address) as client,
    ):
        client.send(POST)
        assert client.answer().status == 502
        assert len(first.calls) + len(second.calls) == 1


def test_a_stream_below_the_last_of_goaway_is_finished() -> None:
    def script(call: Call) -> None:
        call.talk.send(goaway(call.stream))
        call.talk.answer(call.stream)

    with H2Backend(script) as backend, h2(backend) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(GET)
            assert client.answer().body == b"ok"
        assert len(backend.talks) == 3, "nothing new on a connection that is to go"
        assert figure(lb, "goaways") == 3
