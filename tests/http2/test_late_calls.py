"""Calls that reach a server while it begins to stop: grpcio 1.85.1 answers CANCELLED, before or behind its GOAWAY."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call, goaway
from h2_frames import ACK, NO_ERROR, PING, H2Client, frame, reset
from harness import wait_for
from http_balancers import figure, http

if TYPE_CHECKING:
    from collections.abc import Callable

LAST = 0x7FFFFFFF


def cancelled(call: Call, words: str = "CANCELLED") -> bytes:
    """What grpcio says of a call that it has not looked at."""
    fields = ((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "1"), ("grpc-message", words))
    return call.talk.head(call.stream, *fields, end=True) + reset(call.stream, NO_ERROR)


def overtaking(then: Callable[[Call], object]) -> Callable[[Call], None]:
    """CANCELLED; and this when the balancer has read it, which it shows by the answer to a PING."""

    def script(call: Call) -> None:
        def explain() -> None:
            wait_for(lambda: any(got.flags & ACK for got in call.talk.backend.all_of(PING)), "it has read what came")
            then(call)

        call.talk.send(cancelled(call), frame(PING, 0, 0, b"8 bytes!"))
        threading.Thread(target=explain).start()

    return script


def asked(client: H2Client) -> dict[str, str]:
    """The last head of a call's response."""
    client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
    return client.response(1).heads[-1]


@pytest.mark.parametrize("how", ["goaway", "end"])
def test_cancelled_that_overtakes_the_goaway_is_asked_elsewhere(how: str) -> None:
    def goes(call: Call) -> None:
        call.talk.send(goaway(LAST)) if how == "goaway" else call.talk.sock.shutdown(2)

    with (
        H2Backend(overtaking(goes)) as stopping,
        H2Backend(answer_call) as other,
        http(stopping.address, other.address, retries=2) as lb,
        H2Client(lb.address) as client,
    ):
        assert asked(client)["grpc-status"] == "0"
        assert len(stopping.calls) >= 1
        assert len(other.calls) == 1
        assert figure(lb, "calls_refused") >= 1


def test_cancelled_behind_the_goaway_is_asked_elsewhere() -> None:
    with (
        H2Backend(lambda call: call.talk.send(goaway(LAST), cancelled(call))) as stopping,
        H2Backend(answer_call) as other,
        http(stopping.address, other.address, retries=2) as lb,
        H2Client(lb.address) as client,
    ):
        assert asked(client)["grpc-status"] == "0"


@pytest.mark.parametrize("repeat_calls", ["lost", "refused"])
def test_a_server_that_has_stopped_sweeps_calls_away(repeat_calls: str) -> None:
    """grpcio 1.85.1 at the end of its stop; a pool that repeats only what was refused passes it on."""

    def swept(call: Call) -> None:
        words = (("grpc-status", "14"), ("grpc-message", "Cancelling all calls"))
        call.talk.send(goaway(LAST), call.talk.head(call.stream, (":status", "200"), *words, end=True))

    with (
        H2Backend(swept) as stopping,
        H2Backend(answer_call) as other,
        http(stopping.address, other.address, retries=2, repeat_calls=repeat_calls) as lb,
        H2Client(lb.address) as client,
    ):
        assert asked(client)["grpc-status"] == ("0" if repeat_calls == "lost" else "14")


def test_cancelled_without_a_goaway_is_the_response() -> None:
    """The application has cancelled the call by itself."""
    with (
        H2Backend(lambda call: call.talk.send(cancelled(call))) as one,
        H2Backend(lambda call: call.talk.send(cancelled(call))) as two,
        http(one.address, two.address, retries=2) as lb,
        H2Client(lb.address) as client,
    ):
        assert (asked(client)["grpc-status"], len(one.calls) + len(two.calls)) == ("1", 1)


def test_cancelled_in_an_applications_own_words_waits_for_nothing() -> None:
    with (
        H2Backend(overtaking(lambda call: call.talk.send(goaway(call.stream)))) as one,
        http(one.address, retries=2) as lb,
        H2Client(lb.address) as client,
    ):
        one.script = lambda call: call.talk.send(cancelled(call, "the user has left"))
        got = asked(client)
        assert (got["grpc-status"], got["grpc-message"]) == ("1", "the user has left")


def test_a_client_that_leaves_while_a_response_waits_leaves_nothing_behind() -> None:
    with (
        H2Backend(lambda call: call.talk.send(cancelled(call), frame(PING, 0, 0, b"8 bytes!"))) as one,
        http(one.address, retries=2) as lb,
        H2Client(lb.address) as client,
    ):
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        wait_for(lambda: any(got.flags & ACK for got in one.all_of(PING)), "the response has come")
        client.send(reset(1))
        wait_for(lambda: figure(lb, "requests_active") == 0, "the call is over")
