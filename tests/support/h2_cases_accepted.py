"""What a server has to take and to answer (RFC 9113; PRIORITY: RFC 7540)."""

from __future__ import annotations

import struct

from h2_conformance import (
    FIRST_SETTINGS,
    PONG,
    PONGED,
    PONGED_OR_CLOSED,
    SETTLED,
    WHOLE,
    Case,
    Talker,
    data,
    responds,
)
from h2_frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    WITH_PRIORITY,
    frame,
    reset,
    settings,
    window_update,
)

TEST = frame(DATA, END_STREAM, 1, b"test")
LONG = "x" * 4000
EXCLUSIVE = 1 << 31


def priority(stream: int, depends: int = 0, weight: int = 255) -> bytes:
    """A PRIORITY frame."""
    return frame(PRIORITY, 0, stream, struct.pack(">IB", depends, weight))


def goaway(error: int, debug: bytes = b"") -> bytes:
    """A client's GOAWAY."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", 0, error) + debug)


def _in_a_closed_window(c: Talker, *frames: bytes) -> bytes:
    """A request whose response cannot end before the window opens by one byte."""
    c.acknowledged((INITIAL_WINDOW_SIZE, 0))
    return c.ask_for() + b"".join(frames) + window_update(1, 1)


def _to_a_closed_stream(c: Talker) -> bytes:
    c.send(c.ask_for())
    c.ended()
    return priority(1) + PONG


def _continued(c: Talker, *pieces: bytes) -> bytes:
    head = c.ask_for(flags=END_STREAM)
    last = len(pieces) - 1
    return head + b"".join(frame(CONTINUATION, END_HEADERS if i == last else 0, 1, piece) for i, piece in enumerate(pieces))


def _window_of_one(c: Talker, *pairs: tuple[int, int]) -> bytes:
    c.acknowledged(*pairs)
    return c.ask_for()


def _window_changed(c: Talker) -> bytes:
    c.acknowledged((INITIAL_WINDOW_SIZE, 0))
    return c.ask_for() + settings((INITIAL_WINDOW_SIZE, 1))


def _window_turned_negative(c: Talker) -> bytes:
    c.acknowledged((INITIAL_WINDOW_SIZE, 3))
    c.send(c.ask_for())
    assert c.until(lambda got: got.kind == DATA)
    c.acknowledged((INITIAL_WINDOW_SIZE, 2))
    return window_update(1, 2)


def _with_trailers(c: Talker) -> bytes:
    head = c.post(("trailer", "x-test")) + frame(DATA, 0, 1, b"test")
    return head + frame(HEADERS, WHOLE, 1, c.block(("x-test", "ok")))


ALL_SETTINGS = settings(
    (HEADER_TABLE_SIZE, 4096),
    (ENABLE_PUSH, 1),
    (MAX_CONCURRENT_STREAMS, 100),
    (INITIAL_WINDOW_SIZE, 65535),
    (MAX_FRAME_SIZE, 16384),
    (MAX_HEADER_LIST_SIZE, 100),
)

ACCEPTED = [
    Case("3.4", "SETTINGS is the first of a server", lambda c: PREFACE + settings(), FIRST_SETTINGS, greets=False),
    Case("4.1", "a frame of an unknown type", lambda c: frame(0x16, 0, 0, bytes(8)) + PONG, PONGED),
    Case("4.1", "undefined flags", lambda c: frame(PING, 0x16, 0, PONG[9:]), PONGED),
    Case("4.1", "the reserved bit", lambda c: frame(PING, 0x16, 1 << 31, PONG[9:]), PONGED),
    Case("4.2", "DATA of 16384 bytes", lambda c: c.post() + frame(DATA, END_STREAM, 1, bytes(16384)), responds()),
    Case("5.1", "idle: PRIORITY", lambda c: priority(1) + PONG, PONGED),
    Case("5.1", "half closed: WINDOW_UPDATE", _in_a_closed_window, data(1)),
    Case("5.1", "half closed: PRIORITY", lambda c: _in_a_closed_window(c, priority(1)), data(1)),
    Case("5.1", "half closed: RST_STREAM", lambda c: c.ask_for() + reset(1) + PONG, PONGED_OR_CLOSED),
    Case("5.1", "closed: PRIORITY", _to_a_closed_stream, PONGED),
    Case("5.5", "an extension's frame", lambda c: frame(0xF0, 1, 0, bytes(8)) + PONG, PONGED),
    Case("6.1", "DATA", lambda c: c.post() + TEST, responds()),
    Case("6.1", "DATA in two frames", lambda c: c.post() + frame(DATA, 0, 1, b"test") + TEST, responds()),
    Case(
        "6.1",
        "DATA with padding",
        lambda c: c.post() + frame(DATA, PADDED | END_STREAM, 1, b"\x05test" + bytes(5)),
        responds(),
    ),
    Case("6.2", "HEADERS", lambda c: c.ask_for(), responds()),
    Case(
        "6.2",
        "HEADERS with padding",
        lambda c: frame(HEADERS, WHOLE | PADDED, 1, b"\x08" + c.fields() + bytes(8)),
        responds(),
    ),
    Case(
        "6.2",
        "HEADERS with a priority",
        lambda c: frame(HEADERS, WHOLE | WITH_PRIORITY, 1, struct.pack(">IB", 0, 255) + c.fields()),
        responds(),
    ),
    Case("6.3", "a priority of 1", lambda c: priority(1, 0, 0) + c.ask_for(), responds()),
    Case("6.3", "a priority of 256", lambda c: priority(1) + c.ask_for(), responds()),
    Case("6.3", "a dependency", lambda c: priority(3, 1, 0) + c.ask_for(), responds()),
    Case("6.3", "an exclusive one", lambda c: priority(1, EXCLUSIVE, 0) + c.ask_for(), responds()),
    Case("6.3", "that of an idle stream, then HEADERS of a lower one", lambda c: priority(3) + c.ask_for(), responds()),
    Case("6.4", "RST_STREAM", lambda c: c.ask_for(flags=END_HEADERS) + reset(1, CANCEL) + PONG, PONGED_OR_CLOSED),
    Case("6.5", "SETTINGS", lambda c: ALL_SETTINGS, SETTLED),
    Case("6.5.2", "an unknown setting", lambda c: settings((0xFF, 1)) + PONG, PONGED),
    Case(
        "6.5.3",
        "values in their order",
        lambda c: _window_of_one(c, (INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)),
        data(1),
    ),
    Case("6.5.3", "SETTINGS are acknowledged", lambda c: settings((ENABLE_PUSH, 0)), SETTLED),
    Case("6.7", "PING", lambda c: PONG, PONGED),
    Case("6.7", "PING with ACK", lambda c: frame(PING, ACK, 0, b"invalid\0") + PONG, PONGED),
    Case("6.8", "GOAWAY", lambda c: goaway(0, b"debug") + PONG, PONGED_OR_CLOSED),
    Case("6.9", "WINDOW_UPDATE of the connection", lambda c: window_update(0, 1) + PONG, PONGED),
    Case("6.9", "WINDOW_UPDATE of a stream", lambda c: c.ask_for() + window_update(1, 1), responds()),
    Case("6.9.1", "a window of one byte", lambda c: _window_of_one(c, (INITIAL_WINDOW_SIZE, 1)), data(1)),
    Case("6.9.2", "a new initial window", _window_changed, data(1)),
    Case("6.9.2", "a window that turned negative", _window_turned_negative, data(1)),
    Case("6.10", "CONTINUATION", lambda c: _continued(c, c.block(("x-long", LONG))), responds()),
    Case("6.10", "two of them", lambda c: _continued(c, c.block(("x-a", LONG)), c.block(("x-b", LONG))), responds()),
    Case("6.10", "one of nothing", lambda c: _continued(c, b""), responds()),
    Case("7", "GOAWAY with an unknown error", lambda c: goaway(0xFF) + PONG, PONGED_OR_CLOSED),
    Case("7", "RST_STREAM with an unknown error", lambda c: c.post() + reset(1, 0xFF) + PONG, PONGED),
    Case("8.1", "GET", lambda c: c.ask_for(), responds()),
    Case("8.1", "HEAD", lambda c: c.ask_for(method="HEAD"), responds()),
    Case("8.1", "OPTIONS", lambda c: c.ask_for(method="OPTIONS"), responds()),
    Case("8.1", "POST", lambda c: c.post() + TEST, responds()),
    Case("8.1", "POST with trailers", _with_trailers, responds()),
]
