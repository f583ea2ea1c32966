"""Streams to backends that end at every stage, by either side: the books of `balanced` are right afterwards."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call, goaway, h2
from h2_frames import CANCEL, DATA, END_HEADERS, HEADERS, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, H2Client, frame, reset
from harness import wait_for
from http_balancers import figure

if TYPE_CHECKING:
    from collections.abc import Callable


def begin(call: Call) -> None:
    call.talk.send(call.talk.head(call.stream, (":status", "200")), frame(DATA, 0, call.stream, b"x" * 1000))


def broken(call: Call) -> None:
    begin(call)
    call.talk.send(reset(call.stream, INTERNAL_ERROR))


def ending(call: Call) -> bool:
    begin(call)
    return True


ACTS: list[Callable[[Call], Any]] = [
    answer_call,
    answer_call,
    begin,
    broken,
    ending,
    lambda call: None,
    lambda call: True,
    lambda call: call.talk.send(reset(call.stream, REFUSED_STREAM)),
    lambda call: call.talk.send(reset(call.stream, NO_ERROR)),
    lambda call: call.talk.send(reset(call.stream, CANCEL)),
    lambda call: call.talk.send(goaway(call.stream)),
    lambda call: call.talk.send(goaway(0)),
    lambda call: call.talk.send(call.talk.head(call.stream, ("a", "b"), end=True)),
]


def test_churn_leaves_nothing() -> None:
    drawn = random.Random(19)

    def script(call: Call) -> bool | None:
        return bool(drawn.choice(ACTS)(call))

    with H2Backend(script) as first, H2Backend(script) as second, h2(first, second, retries=2, max_failed_responses=0) as lb:
        for _ in range(12):
            with H2Client(lb.address) as client:
                for stream in range(1, 61, 2):
                    whole = drawn.random() < 0.7
                    if whole:
                        client.ask(stream, "/a.B/C", *CALL, method="POST", body=MESSAGE)
                    else:
                        client.send(frame(HEADERS, END_HEADERS, stream, client.head("/a.B/C", *CALL, method="POST")))
                        client.send(frame(DATA, 0, stream, b"x" * drawn.randrange(3000)))
                    if drawn.random() < 0.3:
                        client.send(reset(stream, CANCEL))
                assert client.ping()
        wait_for(lambda: figure(lb, "requests_active") == 0, "what clients left is over")
        assert figure(lb, "buffers") == 0
        assert figure(lb, "requests") > 100, "those that were not reset before they were looked at"
