"""Faults of clients, and what a server has to say of each (RFC 9113; 5.3.1 and 6.3: RFC 7540)."""

from __future__ import annotations

import struct

from h2_cases_accepted import EXCLUSIVE, LONG, TEST, priority
from h2_conformance import CLOSED, WHOLE, Case, Talker, connection, stream
from h2_frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    frame,
    reset,
    settings,
    window_update,
)

PROTOCOL, STREAM = connection(PROTOCOL_ERROR), stream(PROTOCOL_ERROR)
SIZE = connection(FRAME_SIZE_ERROR)
FLOW = connection(FLOW_CONTROL_ERROR)
ENDED = stream(STREAM_CLOSED)
ENDED_OR_PROTOCOL = stream(STREAM_CLOSED, PROTOCOL_ERROR)
MOST = (1 << 31) - 1


def _continuation(c: Talker, number: int = 1, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, number, c.block(("x-long", LONG)))


def _closed(c: Talker) -> None:
    c.send(c.ask_for())
    c.ended()


def _behind_the_end(c: Talker, more: bytes) -> bytes:
    _closed(c)
    return more


def _headers_behind_the_end(c: Talker) -> bytes:
    _closed(c)
    return c.ask_for()


def _continuation_behind_the_end(c: Talker) -> bytes:
    _closed(c)
    return _continuation(c)


def _twice(c: Talker) -> bytes:
    return c.ask_for() + c.ask_for()


def _too_many(c: Talker) -> bytes:
    announced = [got for got in c.all_of(SETTINGS) if not got.flags & ACK]
    pairs = [struct.unpack_from(">HI", got.payload, at) for got in announced for at in range(0, len(got.payload), 6)]
    most = dict(pairs)[MAX_CONCURRENT_STREAMS]
    c.acknowledged((INITIAL_WINDOW_SIZE, 0))
    return b"".join(c.ask_for(stream=1 + 2 * at) for at in range(most + 1))


def _malformed(c: Talker, *more: tuple[str, str], without: str = "") -> bytes:
    return frame(HEADERS, WHOLE, 1, c.fields(*more, without=without))


def _trailers(c: Talker, *fields: tuple[str, str], flags: int = END_HEADERS) -> bytes:
    return c.post() + frame(DATA, 0, 1, b"test") + frame(HEADERS, flags, 1, c.block(*fields))


def _without_path(c: Talker) -> bytes:
    return frame(HEADERS, WHOLE, 1, c.block(*c.base[:2], (":path", ""), c.base[3]))


def _pseudo_behind(c: Talker) -> bytes:
    return frame(HEADERS, WHOLE, 1, c.block(("x-test", "ok"), *c.base))


def _depends(c: Talker, flags: int = WITH_PRIORITY, of: int = 1) -> bytes:
    return frame(HEADERS, WHOLE | flags, 1, struct.pack(">IB", of, 255) + c.fields())


def _large_head(c: Talker) -> bytes:
    return c.ask_for(*((f"x-long-{at}", LONG) for at in range(5)))


FRAMES = [
    Case("3.4", "no preface", lambda c: b"INVALID CONNECTION PREFACE\r\n\r\n", (CLOSED, *PROTOCOL), greets=False),
    Case("4.2", "DATA of 16385 bytes", lambda c: c.post() + frame(DATA, END_STREAM, 1, bytes(16385)), stream(FRAME_SIZE_ERROR)),
    Case("4.2", "HEADERS of more than 16384 bytes", _large_head, SIZE),
    Case("4.3", "half a field", lambda c: frame(HEADERS, WHOLE, 1, b"\x40"), connection(COMPRESSION_ERROR)),
    Case("4.3", "PRIORITY within a block", lambda c: c.ask_for(flags=0) + priority(1) + _continuation(c), PROTOCOL),
    Case("4.3", "another block within it", lambda c: c.ask_for(flags=0) + c.ask_for(stream=3) + _continuation(c), PROTOCOL),
    Case("5.1", "idle: DATA", lambda c: TEST, PROTOCOL),
    Case("5.1", "idle: RST_STREAM", lambda c: reset(1), PROTOCOL),
    Case("5.1", "idle: WINDOW_UPDATE", lambda c: window_update(1, 100), PROTOCOL),
    Case("5.1", "idle: CONTINUATION", lambda c: frame(CONTINUATION, END_HEADERS, 1, c.fields()), PROTOCOL),
    Case("5.1", "half closed: DATA", lambda c: c.ask_for() + TEST, ENDED),
    Case("5.1", "half closed: HEADERS", _twice, ENDED),
    Case("5.1", "half closed: CONTINUATION", lambda c: c.ask_for() + _continuation(c), ENDED_OR_PROTOCOL),
    Case("5.1", "reset: DATA", lambda c: c.ask_for(flags=END_HEADERS) + reset(1) + TEST, ENDED),
    Case("5.1", "reset: HEADERS", lambda c: c.ask_for(flags=END_HEADERS) + reset(1) + c.ask_for(), ENDED),
    Case(
        "5.1",
        "reset: CONTINUATION",
        lambda c: c.ask_for(flags=END_HEADERS) + reset(1) + _continuation(c),
        ENDED_OR_PROTOCOL,
    ),
    Case("5.1", "closed: DATA", lambda c: _behind_the_end(c, TEST), ENDED),
    Case("5.1", "closed: HEADERS", _headers_behind_the_end, connection(STREAM_CLOSED)),
    Case("5.1", "closed: CONTINUATION", _continuation_behind_the_end, connection(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("5.1.1", "an even number", lambda c: c.ask_for(stream=2), PROTOCOL),
    Case("5.1.1", "a lower number", lambda c: c.ask_for(stream=5) + c.ask_for(stream=3), PROTOCOL),
    Case("5.1.2", "more streams than announced", _too_many, stream(PROTOCOL_ERROR, REFUSED_STREAM)),
    Case("5.3.1", "HEADERS that depend on themselves", _depends, STREAM),
    Case("5.3.1", "exclusively", lambda c: _depends(c, of=1 | EXCLUSIVE), STREAM),
    Case("5.3.1", "PRIORITY that depends on itself", lambda c: priority(1, 1), STREAM),
    Case("5.4.1", "the connection is closed", lambda c: frame(PING, 0, 3, bytes(8)), (CLOSED,)),
    Case("5.4.1", "GOAWAY comes first", lambda c: frame(PING, 0, 3, bytes(8)), PROTOCOL),
    Case("5.5", "an extension within a block", lambda c: c.ask_for(flags=END_STREAM) + frame(0x16, 0, 0, bytes(8)), PROTOCOL),
    Case("6.1", "DATA of stream 0", lambda c: frame(DATA, END_STREAM, 0, b"test"), PROTOCOL),
    Case("6.1", "DATA on a half closed stream", lambda c: c.ask_for(method="POST") + TEST, ENDED),
    Case(
        "6.1",
        "padding as long as DATA",
        lambda c: c.post(("content-length", "4")) + frame(DATA, PADDED | END_STREAM, 1, b"\x06Test"),
        PROTOCOL,
    ),
    Case("6.2", "PRIORITY behind HEADERS", lambda c: c.ask_for(flags=0) + priority(1) + _continuation(c), PROTOCOL),
    Case("6.2", "HEADERS of stream 0", lambda c: c.ask_for(stream=0), PROTOCOL),
    Case(
        "6.2",
        "padding longer than the block",
        lambda c: frame(HEADERS, WHOLE | PADDED, 1, b"\xf0" + c.fields()),
        STREAM,
    ),
    Case(
        "6.2", "no room for a priority", lambda c: frame(HEADERS, WHOLE | WITH_PRIORITY, 1, b"abcd"), stream(FRAME_SIZE_ERROR)
    ),
    Case("6.3", "PRIORITY of stream 0", lambda c: priority(0), PROTOCOL),
    Case(
        "6.3", "PRIORITY of four bytes", lambda c: c.ask_for() + frame(PRIORITY, 0, 1, b"\x80\0\0\1"), stream(FRAME_SIZE_ERROR)
    ),
    Case("6.4", "RST_STREAM of stream 0", lambda c: reset(0), PROTOCOL),
    Case("6.4", "RST_STREAM of an idle stream", lambda c: reset(1), PROTOCOL),
    Case("6.4", "RST_STREAM of three bytes", lambda c: c.ask_for(flags=END_HEADERS) + frame(RST_STREAM, 0, 1, bytes(3)), SIZE),
    Case("6.5", "SETTINGS with ACK and a payload", lambda c: frame(SETTINGS, ACK, 0, b"\0"), SIZE),
    Case("6.5", "SETTINGS of a stream", lambda c: frame(SETTINGS, 0, 1, bytes([0, 3, 0, 0, 0, 100])), PROTOCOL),
    Case(
        "6.5",
        "SETTINGS of nine bytes",
        lambda c: frame(SETTINGS, 0, 0, bytes(9))[:-1],
        stream(PROTOCOL_ERROR, FRAME_SIZE_ERROR),
    ),
    Case("6.5.2", "ENABLE_PUSH of 2", lambda c: settings((ENABLE_PUSH, 2)), PROTOCOL),
    Case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", lambda c: settings((INITIAL_WINDOW_SIZE, MOST + 1)), FLOW),
    Case("6.5.2", "MAX_FRAME_SIZE of 16383", lambda c: settings((MAX_FRAME_SIZE, 16383)), PROTOCOL),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^24", lambda c: settings((MAX_FRAME_SIZE, 1 << 24)), PROTOCOL),
    Case("6.7", "PING of a stream", lambda c: frame(PING, 0, 1, bytes(8)), PROTOCOL),
    Case("6.7", "PING of six bytes", lambda c: frame(PING, 0, 0, bytes(6)), SIZE),
    Case("6.8", "GOAWAY of a stream", lambda c: frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    Case("6.8", "GOAWAY of seven bytes", lambda c: frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    Case("6.9", "WINDOW_UPDATE of 0", lambda c: window_update(0, 0), PROTOCOL),
    Case("6.9", "of a stream", lambda c: c.ask_for(flags=END_HEADERS) + window_update(1, 0), STREAM),
    Case("6.9", "WINDOW_UPDATE of three bytes", lambda c: frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), SIZE),
    Case("6.9.1", "a window over 2^31-1", lambda c: window_update(0, MOST) * 2, FLOW),
    Case(
        "6.9.1",
        "that of a stream",
        lambda c: c.ask_for(flags=END_HEADERS) + window_update(1, MOST) * 2,
        stream(FLOW_CONTROL_ERROR)[:1],
    ),
    Case("6.9.2", "an initial window over 2^31-1", lambda c: settings((INITIAL_WINDOW_SIZE, MOST + 1)), FLOW),
    Case(
        "6.10",
        "DATA behind CONTINUATION",
        lambda c: c.ask_for(flags=0, method="POST") + _continuation(c, flags=0) + TEST,
        PROTOCOL,
    ),
    Case("6.10", "CONTINUATION of stream 0", lambda c: c.ask_for(flags=END_STREAM) + _continuation(c, 0), PROTOCOL),
    Case("6.10", "behind HEADERS with END_HEADERS", lambda c: c.ask_for() + _continuation(c), PROTOCOL),
    Case(
        "6.10",
        "behind CONTINUATION with END_HEADERS",
        lambda c: c.ask_for(flags=END_STREAM) + _continuation(c) + _continuation(c),
        PROTOCOL,
    ),
    Case("6.10", "behind DATA", lambda c: c.ask_for(flags=0, method="POST") + TEST + _continuation(c, flags=0), PROTOCOL),
    Case("8.4", "PUSH_PROMISE", lambda c: frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 3) + c.fields()), PROTOCOL),
]

MESSAGES = [
    Case("8.1", "HEADERS that do not end the stream", lambda c: _trailers(c, ("x-test", "ok")), STREAM),
    Case("8.1", "a pseudo-header in trailers", lambda c: _trailers(c, (":method", "POST")), STREAM),
    Case("8.1", "that end the stream", lambda c: _trailers(c, (":method", "POST"), flags=WHOLE), STREAM),
    Case("8.1.1", "content-length of a longer body", lambda c: c.post(("content-length", "1")) + TEST, STREAM),
    Case(
        "8.1.1",
        "of two DATA frames",
        lambda c: c.post(("content-length", "1")) + frame(DATA, 0, 1, b"test") + TEST,
        STREAM,
    ),
    Case("8.1.1", "of a shorter body", lambda c: c.post(("content-length", "8")) + TEST, STREAM),
    Case("8.2.1", "a name in upper case", lambda c: _malformed(c, ("X-TEST", "ok")), STREAM),
    Case("8.2.1", "a line break in a value", lambda c: _malformed(c, ("x-test", "a\r\nb")), STREAM),
    Case("8.2.1", "a NUL in a value", lambda c: _malformed(c, ("x-test", "a\0b")), STREAM),
    Case("8.2.2", "connection", lambda c: _malformed(c, ("connection", "keep-alive")), STREAM),
    Case("8.2.2", "te", lambda c: _malformed(c, ("trailers", "test"), ("te", "trailers, deflate")), STREAM),
    Case("8.3", "an unknown pseudo-header", lambda c: _malformed(c, (":test", "ok")), STREAM),
    Case("8.3", "one of responses", lambda c: _malformed(c, (":status", "200")), STREAM),
    Case("8.3", "one behind other fields", _pseudo_behind, STREAM),
    Case("8.3.1", "an empty :path", _without_path, STREAM),
    Case("8.3.1", "no :method", lambda c: _malformed(c, without=":method"), STREAM),
    Case("8.3.1", "no :scheme", lambda c: _malformed(c, without=":scheme"), STREAM),
    Case("8.3.1", "no :path", lambda c: _malformed(c, without=":path"), STREAM),
    Case("8.3.1", "two of :method", lambda c: _malformed(c, (":method", "GET")), STREAM),
    Case("8.3.1", "two of :scheme", lambda c: _malformed(c, c.base[1]), STREAM),
    Case("8.3.1", "two of :path", lambda c: _malformed(c, (":path", "/")), STREAM),
]

FAULTS = [*FRAMES, *MESSAGES]
