"""What RFC 9113 and RFC 7541 ask of a server, section by section: each fault of a client, and what is to be said of it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
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
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    H2Client,
    frame,
    reset,
    settings,
    window_update,
)
from http_balancers import http
from http_peers import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbcore import Balancer

LARGE = 16385
"""One byte more than the frames that we announce."""


@pytest.fixture(scope="module")
def lb() -> Iterator[Balancer]:
    with Backend(name=b"hello") as backend, http(backend) as balancer:
        yield balancer


@pytest.fixture
def client(lb: Balancer) -> Iterator[H2Client]:
    with H2Client(lb.address) as connection:
        yield connection


def opened(client: H2Client) -> None:
    """Stream 1 is open: its request goes on."""
    client.send(frame(HEADERS, END_HEADERS, 1, client.head(method="POST")))


def half_closed(client: H2Client) -> None:
    """Stream 1 is half closed, and its response cannot end: there is no window for it."""
    client.send(settings((INITIAL_WINDOW_SIZE, 0)))
    client.ask(1)


def closed(client: H2Client) -> None:
    """Stream 1 has ended on both sides."""
    client.ask(1)
    client.response(1)


def cancelled(client: H2Client) -> None:
    """Stream 1 was reset by its client."""
    opened(client)
    client.send(reset(1))


def heads(client: H2Client, *fields: tuple[str, str], flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, 1, client.block(*fields))


REQUEST = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example"))


def with_body(client: H2Client, length: str, *bodies: bytes) -> bytes:
    """A request with this content-length, and DATA frames of which the last ends it."""
    last = len(bodies) - 1
    head = client.head("/", ("content-length", length), method="POST")
    data = [frame(DATA, END_STREAM if i == last else 0, 1, body) for i, body in enumerate(bodies)]
    return frame(HEADERS, END_HEADERS, 1, head) + b"".join(data)


Fault = tuple[str, "Callable[[H2Client], None] | None", "Callable[[H2Client], bytes]", str, int]

FAULTS: list[Fault] = [
    ("4.2 DATA larger than announced", opened, lambda c: frame(DATA, 0, 1, bytes(LARGE)), "connection", FRAME_SIZE_ERROR),
    (
        "4.2 HEADERS larger than announced",
        None,
        lambda c: frame(HEADERS, END_HEADERS | END_STREAM, 1, c.head("/", ("x", "y" * LARGE * 2))),
        "connection",
        FRAME_SIZE_ERROR,
    ),
    ("4.3 a block that HPACK does not know", None, lambda c: frame(HEADERS, 5, 1, b"\x40"), "connection", COMPRESSION_ERROR),
    (
        "4.3 PRIORITY between HEADERS and CONTINUATION",
        None,
        lambda c: frame(HEADERS, END_STREAM, 1, c.head()) + frame(PRIORITY, 0, 1, bytes([0, 0, 0, 0, 255])),
        "connection",
        PROTOCOL_ERROR,
    ),
    (
        "4.3 HEADERS of another stream between HEADERS and CONTINUATION",
        None,
        lambda c: frame(HEADERS, END_STREAM, 1, c.head()) + frame(HEADERS, 5, 3, c.head()),
        "connection",
        PROTOCOL_ERROR,
    ),
    ("5.1 idle: DATA", None, lambda c: frame(DATA, END_STREAM, 1, b"x"), "connection", PROTOCOL_ERROR),
    ("5.1 idle: RST_STREAM", None, lambda c: reset(1), "connection", PROTOCOL_ERROR),
    ("5.1 idle: WINDOW_UPDATE", None, lambda c: window_update(1, 100), "connection", PROTOCOL_ERROR),
    ("5.1 idle: CONTINUATION", None, lambda c: frame(CONTINUATION, END_HEADERS, 1, c.head()), "connection", PROTOCOL_ERROR),
    ("5.1 half closed: DATA", half_closed, lambda c: frame(DATA, END_STREAM, 1, b"x"), "stream", STREAM_CLOSED),
    ("5.1 half closed: HEADERS", half_closed, lambda c: frame(HEADERS, 5, 1, c.head()), "stream", STREAM_CLOSED),
    ("5.1 half closed: CONTINUATION", half_closed, lambda c: frame(CONTINUATION, 4, 1, c.head()), "connection", PROTOCOL_ERROR),
    ("5.1 closed by END_STREAM: DATA", closed, lambda c: frame(DATA, END_STREAM, 1, b"x"), "stream", STREAM_CLOSED),
    ("5.1 closed by END_STREAM: HEADERS", closed, lambda c: frame(HEADERS, 5, 1, c.head()), "connection", STREAM_CLOSED),
    ("5.1 closed: CONTINUATION", closed, lambda c: frame(CONTINUATION, 4, 1, c.head()), "connection", PROTOCOL_ERROR),
    ("5.1 closed by RST_STREAM: DATA", cancelled, lambda c: frame(DATA, END_STREAM, 1, b"x"), "stream", STREAM_CLOSED),
    ("5.1 closed by RST_STREAM: HEADERS", cancelled, lambda c: frame(HEADERS, 5, 1, c.head()), "connection", STREAM_CLOSED),
    ("5.1.1 an even number", None, lambda c: frame(HEADERS, 5, 2, c.head()), "connection", PROTOCOL_ERROR),
    (
        "5.1.1 a number lower than one before",
        None,
        lambda c: frame(HEADERS, 5, 5, c.head()) + frame(HEADERS, 5, 3, c.head()),
        "connection",
        PROTOCOL_ERROR,
    ),
    (
        "5.3.1 HEADERS that depend on themselves",
        None,
        lambda c: frame(HEADERS, 5 | WITH_PRIORITY, 1, struct.pack(">IB", 1, 15) + c.head()),
        "stream",
        PROTOCOL_ERROR,
    ),
    (
        "5.3.1 PRIORITY that depends on itself",
        opened,
        lambda c: frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 15)),
        "stream",
        PROTOCOL_ERROR,
    ),
    ("6.1 DATA on stream 0", None, lambda c: frame(DATA, 0, 0, b"x"), "connection", PROTOCOL_ERROR),
    ("6.1 padding longer than DATA", opened, lambda c: frame(DATA, PADDED, 1, b"\x06hello"), "connection", PROTOCOL_ERROR),
    ("6.2 HEADERS on stream 0", None, lambda c: frame(HEADERS, 5, 0, c.head()), "connection", PROTOCOL_ERROR),
    ("6.2 padding longer than HEADERS", None, lambda c: frame(HEADERS, 5 | PADDED, 1, b"\xff" + c.head()), "connection", 1),
    ("6.3 PRIORITY on stream 0", None, lambda c: frame(PRIORITY, 0, 0, bytes(5)), "connection", PROTOCOL_ERROR),
    ("6.3 PRIORITY of four bytes", opened, lambda c: frame(PRIORITY, 0, 1, bytes(4)), "stream", FRAME_SIZE_ERROR),
    ("6.4 RST_STREAM on stream 0", None, lambda c: reset(0), "connection", PROTOCOL_ERROR),
    ("6.4 RST_STREAM of three bytes", opened, lambda c: frame(RST_STREAM, 0, 1, b"abc"), "connection", FRAME_SIZE_ERROR),
    ("6.5 SETTINGS with ACK and a payload", None, lambda c: frame(SETTINGS, ACK, 0, bytes(6)), "connection", FRAME_SIZE_ERROR),
    ("6.5 SETTINGS on a stream", None, lambda c: frame(SETTINGS, 0, 1), "connection", PROTOCOL_ERROR),
    ("6.5 SETTINGS of five bytes", None, lambda c: frame(SETTINGS, 0, 0, bytes(5)), "connection", FRAME_SIZE_ERROR),
    ("6.5.2 ENABLE_PUSH 2", None, lambda c: settings((ENABLE_PUSH, 2)), "connection", PROTOCOL_ERROR),
    ("6.5.2 a window over 2^31-1", None, lambda c: settings((INITIAL_WINDOW_SIZE, 1 << 31)), "connection", FLOW_CONTROL_ERROR),
    ("6.5.2 frames of 16383 bytes", None, lambda c: settings((MAX_FRAME_SIZE, 16383)), "connection", PROTOCOL_ERROR),
    ("6.5.2 frames of 16777216 bytes", None, lambda c: settings((MAX_FRAME_SIZE, 16777216)), "connection", PROTOCOL_ERROR),
    ("6.6 PUSH_PROMISE of a client", opened, lambda c: frame(PUSH_PROMISE, 4, 1, bytes(4)), "connection", PROTOCOL_ERROR),
    ("6.7 PING on a stream", None, lambda c: frame(PING, 0, 1, bytes(8)), "connection", PROTOCOL_ERROR),
    ("6.7 PING of six bytes", None, lambda c: frame(PING, 0, 0, bytes(6)), "connection", FRAME_SIZE_ERROR),
    ("6.8 GOAWAY on a stream", None, lambda c: frame(GOAWAY, 0, 1, bytes(8)), "connection", PROTOCOL_ERROR),
    ("6.9 WINDOW_UPDATE of 0", None, lambda c: window_update(0, 0), "connection", PROTOCOL_ERROR),
    ("6.9 WINDOW_UPDATE of 0 on a stream", opened, lambda c: window_update(1, 0), "stream", PROTOCOL_ERROR),
    ("6.9 WINDOW_UPDATE of three bytes", None, lambda c: frame(WINDOW_UPDATE, 0, 0, b"abc"), "connection", FRAME_SIZE_ERROR),
    (
        "6.9.1 the connection's window over 2^31-1",
        None,
        lambda c: window_update(0, (1 << 31) - 1),
        "connection",
        FLOW_CONTROL_ERROR,
    ),
    ("6.9.1 a stream's window over 2^31-1", opened, lambda c: window_update(1, (1 << 31) - 1), "stream", FLOW_CONTROL_ERROR),
    (
        "6.9.2 a new initial window that makes a stream's too large",
        opened,
        lambda c: window_update(1, (1 << 31) - 65536) + settings((INITIAL_WINDOW_SIZE, 65536)),
        "connection",
        FLOW_CONTROL_ERROR,
    ),
    (
        "6.10 CONTINUATION behind END_HEADERS",
        half_closed,
        lambda c: frame(CONTINUATION, END_HEADERS, 1, c.block(("x", "y"))),
        "connection",
        PROTOCOL_ERROR,
    ),
    ("6.10 CONTINUATION on stream 0", None, lambda c: frame(HEADERS, 1, 1, c.head()) + frame(CONTINUATION, 4), "connection", 1),
    ("6.10 CONTINUATION behind DATA", opened, lambda c: frame(DATA, 0, 1, b"x") + frame(CONTINUATION, 4, 1), "connection", 1),
    ("8.1 trailers without END_STREAM", opened, lambda c: heads(c, ("x", "y"), flags=END_HEADERS), "stream", PROTOCOL_ERROR),
    ("8.1 a pseudo-header in trailers", opened, lambda c: heads(c, (":method", "GET")), "stream", PROTOCOL_ERROR),
    ("8.1.1 content-length too large", None, lambda c: with_body(c, "5", b"test"), "stream", PROTOCOL_ERROR),
    ("8.1.1 content-length too small", None, lambda c: with_body(c, "3", b"test"), "stream", PROTOCOL_ERROR),
    ("8.1.1 content-length of two frames", None, lambda c: with_body(c, "5", b"te", b"st"), "stream", PROTOCOL_ERROR),
    ("8.1.1 content-length and no body", None, lambda c: heads(c, *REQUEST, ("content-length", "4")), "stream", PROTOCOL_ERROR),
    ("8.2 a name in upper case", None, lambda c: heads(c, *REQUEST, ("X-Test", "ok")), "stream", PROTOCOL_ERROR),
    ("8.2.1 a line break in a value", None, lambda c: heads(c, *REQUEST, ("x", "a\r\nb: c")), "stream", PROTOCOL_ERROR),
    ("8.2.1 a colon in a name", None, lambda c: heads(c, *REQUEST, ("x:y", "z")), "stream", PROTOCOL_ERROR),
    ("8.2.2 connection", None, lambda c: heads(c, *REQUEST, ("connection", "keep-alive")), "stream", PROTOCOL_ERROR),
    ("8.2.2 transfer-encoding", None, lambda c: heads(c, *REQUEST, ("transfer-encoding", "chunked")), "stream", PROTOCOL_ERROR),
    (
        "8.2.2 te that is not trailers",
        None,
        lambda c: heads(c, *REQUEST, ("te", "trailers, deflate")),
        "stream",
        PROTOCOL_ERROR,
    ),
    ("8.3 an unknown pseudo-header", None, lambda c: heads(c, *REQUEST, (":test", "ok")), "stream", PROTOCOL_ERROR),
    ("8.3 one of responses", None, lambda c: heads(c, *REQUEST, (":status", "200")), "stream", PROTOCOL_ERROR),
    ("8.3 one behind other fields", None, lambda c: heads(c, *REQUEST[:3], ("x", "y"), REQUEST[3]), "stream", PROTOCOL_ERROR),
    ("8.3.1 an empty :path", None, lambda c: heads(c, *REQUEST[:2], (":path", "")), "stream", PROTOCOL_ERROR),
    ("8.3.1 no :method", None, lambda c: heads(c, *REQUEST[1:]), "stream", PROTOCOL_ERROR),
    ("8.3.1 no :scheme", None, lambda c: heads(c, REQUEST[0], *REQUEST[2:]), "stream", PROTOCOL_ERROR),
    ("8.3.1 no :path", None, lambda c: heads(c, *REQUEST[:2], REQUEST[3]), "stream", PROTOCOL_ERROR),
    ("8.3.1 :method twice", None, lambda c: heads(c, REQUEST[0], *REQUEST), "stream", PROTOCOL_ERROR),
    ("8.3.1 :path twice", None, lambda c: heads(c, *REQUEST, REQUEST[2]), "stream", PROTOCOL_ERROR),
    ("7541 2.3.3 an index that is not there", None, lambda c: frame(HEADERS, 5, 1, b"\xc6"), "connection", COMPRESSION_ERROR),
    (
        "7541 4.2 a table's size behind a field",
        None,
        lambda c: frame(HEADERS, 5, 1, c.head() + b"\x3f\xe1\x1f"),
        "connection",
        COMPRESSION_ERROR,
    ),
    (
        "7541 6.3 a table larger than announced",
        None,
        lambda c: frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + c.head()),
        "connection",
        COMPRESSION_ERROR,
    ),
    ("7541 5.2 Huffman padding over 7 bits", None, lambda c: frame(HEADERS, 5, 1, b"\x00\x01x\x82\x1f\xff"), "connection", 9),
    ("7541 5.2 Huffman padding of zeros", None, lambda c: frame(HEADERS, 5, 1, b"\x00\x01x\x81\x18"), "connection", 9),
]


@pytest.mark.parametrize(("before", "fault", "kind", "error"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_fault(
    client: H2Client, before: Callable[[H2Client], None] | None, fault: Callable[[H2Client], bytes], kind: str, error: int
) -> None:
    if before:
        before(client)
    client.send(fault(client))
    assert client.fault() == (kind, error)
    if kind == "stream":  # the connection goes on
        client.ask(101)
        client.send(window_update(101, 65535))
        assert client.response(101).body == b"hello"


def test_the_first_frame_is_no_settings(lb: Balancer) -> None:
    with H2Client(lb.address, greet=False) as client:
        client.send(PREFACE, frame(PING, payload=bytes(8)))
        assert client.fault() == ("connection", PROTOCOL_ERROR)


def test_a_wrong_preface_ends_the_connection(lb: Balancer) -> None:
    with H2Client(lb.address, greet=False) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        client.until(lambda got: False)
        assert client.closed


# --- what is well, and is easily taken for wrong ------------------------------------------------------------------------


def test_settings_come_before_anything_is_asked(lb: Balancer) -> None:
    with H2Client(lb.address, greet=False) as client:
        client.send(PREFACE)
        got = client.receive()
        assert got is not None
        assert (got.kind, got.flags, got.stream) == (SETTINGS, 0, 0)


def test_settings_and_pings_are_acknowledged(client: H2Client) -> None:
    client.send(settings((INITIAL_WINDOW_SIZE, 100)))
    assert client.until(lambda got: got.kind == SETTINGS and got.flags == ACK)
    assert client.ping()


@pytest.mark.parametrize("kind", [0x16, 0xFF])
def test_frames_of_unknown_types_are_passed_over(client: H2Client, kind: int) -> None:
    client.send(frame(kind, 0xFF, 0, bytes(8)), frame(PING, 0x16, 0, b"8 bytes!"))
    assert client.until(lambda got: got.kind == PING)


def test_unknown_settings_are_passed_over(client: H2Client) -> None:
    client.send(settings((0xFF, 1), (0xFE03, 1)))
    assert client.ping()


def test_priorities_are_read_and_mean_nothing(client: H2Client) -> None:
    client.send(frame(PRIORITY, 0, 7, struct.pack(">IB", 3, 15)))
    client.send(frame(HEADERS, 5 | WITH_PRIORITY, 9, struct.pack(">IB", 0x80000000, 255) + client.head()))
    assert client.response(9).body == b"hello"


def test_padding_is_not_part_of_the_body(client: H2Client) -> None:
    client.send(frame(HEADERS, END_HEADERS | PADDED, 1, b"\x04" + client.head(method="POST") + bytes(4)))
    client.send(frame(DATA, PADDED | END_STREAM, 1, b"\x03body" + bytes(3)))
    assert client.response(1).status == "200"


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_header_block_in_many_continuations(client: H2Client, size: int) -> None:
    block = client.head("/", ("x-long", "y" * 500), ("cookie", "a=b"))
    pieces = [block[at : at + size] for at in range(0, len(block), size)]
    frames = [frame(HEADERS, END_STREAM, 1, pieces[0])]
    frames += [frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:]]
    client.send(*frames, frame(CONTINUATION, END_HEADERS, 1))
    assert client.response(1).body == b"hello"


def test_every_frame_byte_by_byte(client: H2Client) -> None:
    head, data = frame(HEADERS, END_HEADERS, 1, client.head(method="POST")), frame(DATA, END_STREAM, 1, b"body")
    for byte in settings((INITIAL_WINDOW_SIZE, 65535)) + head + data:
        client.send(bytes([byte]))
    assert client.response(1).body == b"hello"


def test_a_window_of_nothing_lets_the_head_pass(lb: Balancer) -> None:
    with H2Client(lb.address, (INITIAL_WINDOW_SIZE, 0)) as client:
        client.ask(1)
        assert client.until(lambda got: got.kind == HEADERS)
        assert client.ping()
        assert not client.all_of(DATA)
        client.send(window_update(1, 1))
        assert client.until(lambda got: got.kind == DATA).payload == b"h"  # type: ignore[union-attr]
        client.send(settings((INITIAL_WINDOW_SIZE, 2)))
        assert client.until(lambda got: got.kind == DATA).payload == b"el"  # type: ignore[union-attr]
        client.send(window_update(1, 100))
        assert client.until(lambda got: got.kind == DATA) == (DATA, END_STREAM, 1, b"lo")


def test_a_window_that_turned_negative(lb: Balancer) -> None:
    with H2Client(lb.address, (INITIAL_WINDOW_SIZE, 3)) as client:
        client.ask(1)
        assert client.until(lambda got: got.kind == DATA).payload == b"hel"  # type: ignore[union-attr]
        client.send(settings((INITIAL_WINDOW_SIZE, 1)), window_update(1, 2))
        assert client.ping()
        assert len(client.all_of(DATA)) == 1
        client.send(window_update(1, 1))
        assert client.until(lambda got: got.kind == DATA).payload == b"l"  # type: ignore[union-attr]


def test_no_more_streams_than_announced(lb: Balancer) -> None:
    with H2Client(lb.address, (INITIAL_WINDOW_SIZE, 0)) as client:
        for stream in range(1, 205, 2):
            client.ask(stream)
        assert client.ping()
        refused = [got.stream for got in client.all_of(RST_STREAM) if got.number == REFUSED_STREAM]
        assert refused == [201, 203]


def test_what_came_before_our_reset_was_known_is_passed_over(client: H2Client) -> None:
    client.send(heads(client, *REQUEST, ("connection", "close"), flags=END_HEADERS))
    client.send(frame(DATA, 0, 1, b"x"), frame(HEADERS, 5, 1, client.block(("x", "y"))))
    assert client.fault() == ("stream", PROTOCOL_ERROR)
    assert client.ping()
    assert len(client.all_of(RST_STREAM)) == 1
    client.ask(3)
    assert client.response(3).body == b"hello"
