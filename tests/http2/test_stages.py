"""A stream to a backend of HTTP/2 that ends at each of its stages, by either side: others go on, nothing is left of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from h2_backends import Call, H2Backend, Talk, goaway, h2
from h2_frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INTERNAL_ERROR,
    REFUSED_STREAM,
    H2Client,
    frame,
    reset,
)
from harness import wait_for
from http_balancers import figure

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES = ["request's head", "request's body", "request's end", "response's head", "response's body", "response's trailers"]


class Stage:
    """Both ends of stream 1, moved on step by step. The backend serves all other streams at once."""

    def __init__(self) -> None:
        self.at_backend = threading.Event()
        self.talk: Talk | None = None
        self.stream = 0

    def on_head(self, talk: Talk, stream: int) -> None:
        """Only the first request is held."""
        if self.talk is None:
            self.talk, self.stream = talk, stream
            self.at_backend.set()

    def script(self, call: Call) -> None:
        """The first waits for what the test says."""
        if (call.talk, call.stream) != (self.talk, self.stream):
            call.talk.answer(call.stream)

    def move_to(self, stage: str, client: H2Client) -> None:
        """All frames of this stage and of those before."""
        reached = STAGES.index(stage)
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/held", method="POST")))
        assert self.at_backend.wait(10)
        assert self.talk
        if reached >= 1:
            client.send(frame(DATA, 0, 1, b"x" * 5000))
        if reached >= 2:
            client.send(frame(DATA, END_STREAM, 1, b"x"))
        if reached >= 3:
            self.talk.send(self.talk.head(self.stream, (":status", "200")))
            assert client.until(lambda got: got.stream == 1 and got.kind == HEADERS)
        if reached >= 4:
            self.talk.send(frame(DATA, 0, self.stream, b"y" * 5000))
            assert client.until(lambda got: got.stream == 1 and got.kind == DATA)
        if reached >= 5:
            self.talk.send(self.talk.head(self.stream, ("x-sum", "1"), end=True))
            assert client.until(lambda got: got.stream == 1 and bool(got.flags & END_STREAM))


def both_reset(stage: Stage, client: H2Client) -> None:
    """Each before it knows of the other's."""
    assert stage.talk
    client.send(reset(1, CANCEL))
    stage.talk.send(reset(stage.stream, CANCEL))


ENDS: dict[str, Callable[[Stage, H2Client], object]] = {
    "client resets": lambda stage, client: client.send(reset(1, CANCEL)),
    "client breaks a rule": lambda stage, client: client.send(frame(HEADERS, END_HEADERS, 1, client.block(("Bad", "1")))),
    "client closes": lambda stage, client: client.sock.close(),
    "backend resets": lambda stage, client: stage.talk and stage.talk.send(reset(stage.stream, INTERNAL_ERROR)),
    "backend refuses": lambda stage, client: stage.talk and stage.talk.send(reset(stage.stream, REFUSED_STREAM)),
    "backend goes away": lambda stage, client: stage.talk and stage.talk.send(goaway(0)),
    "backend breaks a rule": lambda stage, client: (
        stage.talk and stage.talk.send(stage.talk.head(stage.stream, (":status", "abc")))
    ),
    "backend closes": lambda stage, client: stage.talk and stage.talk.sock.shutdown(2),
    "both at once": both_reset,
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stream_ends(stage: str, how: str) -> None:
    held = Stage()
    with H2Backend(held.script, on_head=held.on_head) as backend, h2(backend, retries=1, max_failed_responses=0) as lb:
        with H2Client(lb.address) as client:
            held.move_to(stage, client)
            ENDS[how](held, client)
            if how not in ("client closes", "client breaks a rule"):
                client.ask(3)
                assert client.until(lambda got: got.stream == 3 and bool(got.flags & END_STREAM))
                assert client.ping()
        with H2Client(lb.address) as other:
            other.ask(1)
            assert other.response(1).body == b"ok"
        wait_for(lambda: figure(lb, "requests_active") == 0, "nothing is under way")
        assert (figure(lb, "buffers"), figure(lb, "http2_streams_active")) == (0, 0)
