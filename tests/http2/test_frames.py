"""HTTP/2 frames (csrc/h2): beside pip's hyperframe over generated frames, and rule by rule of RFC 9113."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import h2_codec
import pytest
from h2_codec import Codec, Event
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 1, 3, 6
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def raw(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame, however wrong."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


FIRST = raw(SETTINGS)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codec]:
    with Codec(h2_codec.build(tmp_path_factory.mktemp("h2"))) as codec:
        yield codec


# --- beside hyperframe ------------------------------------------------------------------------------------------------

STREAMS = st.integers(1, 2**31 - 1)
CODES = st.integers(0, 2**32 - 1)
PADS = st.none() | st.integers(0, 40)


def padded(kind: type[frames.DataFrame | frames.HeadersFrame], stream: int, data: bytes, pad: int | None) -> frames.Frame:
    made = kind(stream, data)
    if pad is not None:
        made.flags.add("PADDED")
        made.pad_length = pad
    return made


@st.composite
def data_frames(draw: st.DrawFn) -> frames.Frame:
    made = padded(frames.DataFrame, draw(STREAMS), draw(st.binary(max_size=60)), draw(PADS))
    if draw(st.booleans()):
        made.flags.add("END_STREAM")
    return made


@st.composite
def header_frames(draw: st.DrawFn) -> list[frames.Frame]:
    """HEADERS and what continues it, nothing in between."""
    stream = draw(STREAMS)
    first = padded(frames.HeadersFrame, stream, draw(st.binary(max_size=60)), draw(PADS))
    if draw(st.booleans()):
        first.flags.add("PRIORITY")
        first.depends_on, first.stream_weight, first.exclusive = (stream + 1) % 2**31, 7, draw(st.booleans())
    if draw(st.booleans()):
        first.flags.add("END_STREAM")
    more = [frames.ContinuationFrame(stream, data) for data in draw(st.lists(st.binary(max_size=20), max_size=3))]
    (more[-1] if more else first).flags.add("END_HEADERS")
    return [first, *more]


@st.composite
def other_frames(draw: st.DrawFn) -> frames.Frame:
    kind = draw(st.sampled_from(["settings", "ack", "ping", "pong", "goaway", "window", "reset", "priority", "extension"]))
    stream = draw(STREAMS)
    if kind == "settings":
        return frames.SettingsFrame(0, draw(st.dictionaries(st.integers(1, 255), CODES, max_size=4)))
    if kind == "ack":
        return frames.SettingsFrame(0, flags=["ACK"])
    if kind in {"ping", "pong"}:
        return frames.PingFrame(0, draw(st.binary(min_size=8, max_size=8)), flags=["ACK"] if kind == "pong" else [])
    if kind == "goaway":
        return frames.GoAwayFrame(0, stream, draw(CODES), draw(st.binary(max_size=20)))
    if kind == "window":
        return frames.WindowUpdateFrame(draw(st.just(0) | STREAMS), draw(STREAMS))
    if kind == "reset":
        return frames.RstStreamFrame(stream, draw(CODES))
    if kind == "priority":
        return frames.PriorityFrame(stream, (stream + 1) % 2**31, 3, exclusive=True)
    made = frames.ExtensionFrame(draw(st.integers(16, 255)), stream, draw(st.integers(0, 255)))
    made.parse_body(memoryview(draw(st.binary(max_size=20))))  # else 6.1.0 writes a length of 0
    return made


CONVERSATIONS = st.lists(
    st.one_of(data_frames().map(lambda one: [one]), header_frames(), other_frames().map(lambda one: [one]))
)


def expected(sent: list[frames.Frame]) -> list[tuple[object, ...]]:
    """What a frame means, in a few words, written apart from csrc/h2/frame_read.c."""
    said: list[tuple[object, ...]] = []
    for one in sent:
        match one:
            case frames.DataFrame():
                charge = len(one.data) + (one.pad_length + 1 if "PADDED" in one.flags else 0)
                said.append(("data", one.stream_id, one.data, charge, "END_STREAM" in one.flags))
            case frames.HeadersFrame() | frames.ContinuationFrame():
                begins = isinstance(one, frames.HeadersFrame)
                if begins:
                    said.append(("headers", one.stream_id, "END_STREAM" in one.flags, b""))
                name, stream, end, block = said.pop()
                assert isinstance(block, bytes)
                said.append((name, stream, end, block + one.data))
            case frames.SettingsFrame():
                said.append(("ack",) if "ACK" in one.flags else ("settings", dict(one.settings)))
            case frames.PingFrame():
                said.append(("pong" if "ACK" in one.flags else "ping", one.opaque_data))
            case frames.GoAwayFrame():
                said.append(("goaway", one.last_stream_id, one.error_code))
            case frames.WindowUpdateFrame():
                said.append(("window", one.stream_id, one.window_increment))
            case frames.RstStreamFrame():
                said.append(("reset", one.stream_id, one.error_code))
    return said


def understood(events: list[Event]) -> list[tuple[object, ...]]:
    """The events of the codec in the same words."""
    said: list[tuple[object, ...]] = []
    settings_so_far: dict[int, int] = {}
    block = data = None
    for one in events:
        match one.kind:
            case "headers":
                block = (one.stream, bool(one.end_stream), b"")
            case "block":
                assert block
                block = (*block[:2], block[2] + one.data)
            case "end_headers":
                assert block
                said.append(("headers", *block))
            case "data" | "end_data":
                data = (one.stream, one.kind == "end_data", one.data, one.charge)
                said.append(("data part", *data))
            case "setting":
                settings_so_far[one.number] = one.value
            case "settings":
                said.append(("settings", settings_so_far))
                settings_so_far = {}
            case "settings_ack":
                said.append(("ack",))
            case "ping" | "pong":
                said.append((one.kind, one.data))
            case "goaway":
                said.append(("goaway", one.number, one.value))
            case "window" | "reset":
                said.append((one.kind, one.stream, one.value))
            case "cheap":
                pass
            case _:
                said.append(("fault", one))
    return said


def joined(said: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Pieces of DATA as one run of a stream; a frame of nothing at all is nothing."""
    runs: list[tuple[object, ...]] = []
    for one in said:
        if one[0] == "data":
            _, stream, content, charge, end = one
        elif one[0] == "data part":
            _, stream, end, content, charge = one
        else:
            runs.append(one)
            continue
        assert isinstance(content, bytes)
        assert isinstance(charge, int)
        last = runs[-1] if runs else ()
        if last and last[0] == "run" and last[1] == stream and not last[4]:
            assert isinstance(last[2], bytes)
            assert isinstance(last[3], int)
            runs[-1] = ("run", stream, last[2] + content, last[3] + charge, end)
        elif content or charge or end:
            runs.append(("run", stream, content, charge, end))
    return runs


@settings(max_examples=300, deadline=None)
@given(CONVERSATIONS, st.integers(0, 12))
def test_frames_as_hyperframe_writes_them(codec: Codec, parts: list[list[frames.Frame]], cut: int) -> None:
    """Every type, padded or not, cut anywhere: byte by byte too."""
    sent = [one for part in parts for one in part]
    data = FIRST + b"".join(one.serialize() for one in sent)
    events = codec.frames(data, cut=cut)
    assert events[0].kind == "settings"
    assert joined(understood(events[1:])) == joined(expected(sent))


def test_every_split_of_one_of_each(codec: Codec) -> None:
    """The events are the same wherever the bytes are cut, but for how bodies and blocks are pieced together."""
    data = (
        PREFACE
        + raw(SETTINGS, 0, 0, struct.pack(">HIHI", 3, 100, 4, 65535))
        + raw(SETTINGS, ACK)
        + raw(PING, 0, 0, b"12345678")
    )
    data += raw(HEADERS, PADDED | WITH_PRIORITY, 1, b"\x03" + struct.pack(">IB", 0, 9) + b"block" + b"\0\0\0")
    data += raw(CONTINUATION, END_HEADERS, 1, b"more") + raw(DATA, PADDED | END_STREAM, 1, b"\x02body\0\0")
    data += raw(WINDOW_UPDATE, 0, 1, struct.pack(">I", 7)) + raw(RST_STREAM, 0, 1, struct.pack(">I", 8))
    data += raw(GOAWAY, 0, 0, struct.pack(">II", 1, 0) + b"debug") + raw(99, 255, 7, b"x" * 20)
    whole = understood(codec.frames(data, server=True))
    assert ("headers", 1, False, b"blockmore") in whole
    for cut in range(1, len(data)):
        assert joined(understood(codec.frames(data, server=True, cut=cut))) == joined(whole)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.sampled_from([0, 1, 3]), st.binary(max_size=24)), max_size=6)
)
def test_no_frames_at_random_are_read_behind_a_fault(codec: Codec, parts: list[tuple[int, int, int, bytes]]) -> None:
    events = codec.frames(FIRST + b"".join(raw(*part) for part in parts), cut=5)
    kinds = [event.kind for event in events]
    assert "fault" not in kinds[:-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(7, 64))
def test_blocks_in_frames(codec: Codec, count: int, frame_bytes: int) -> None:
    block = bytes(i % 251 for i in range(count))
    data = codec.framed(block, frame_bytes)
    assert understood(codec.frames(FIRST + data))[1:] == [("headers", 1, False, block)]
    sizes = []
    while data:
        sizes.append(int.from_bytes(data[:3], "big"))
        data = data[9 + sizes[-1] :]
    assert max(sizes) <= frame_bytes


# --- rule by rule -----------------------------------------------------------------------------------------------------

CONNECTION_FAULTS = {
    "3.4: a preface that is none": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PROTOCOL_ERROR),
    "3.4: a preface that is not followed by SETTINGS": (PREFACE + raw(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "3.4: a preface that is followed by an acknowledgement": (PREFACE + raw(SETTINGS, ACK), PROTOCOL_ERROR),
    "4.2: larger than announced": (PREFACE + FIRST + raw(DATA, 0, 1, bytes(16385)), FRAME_SIZE_ERROR),
    "6.1: DATA on the connection": (PREFACE + FIRST + raw(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "6.1: padding as long as the payload": (PREFACE + FIRST + raw(DATA, PADDED, 1, b"\x02x"), PROTOCOL_ERROR),
    "6.1: no room for the padding's length": (PREFACE + FIRST + raw(DATA, PADDED, 1), FRAME_SIZE_ERROR),
    "6.2: HEADERS on the connection": (PREFACE + FIRST + raw(HEADERS, END_HEADERS, 0, b"x"), PROTOCOL_ERROR),
    "6.2: padding over the block": (PREFACE + FIRST + raw(HEADERS, END_HEADERS | PADDED, 1, b"\x09x"), PROTOCOL_ERROR),
    "6.2: no room for the priority": (
        PREFACE + FIRST + raw(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"1234"),
        FRAME_SIZE_ERROR,
    ),
    "6.2: another frame within a block": (
        PREFACE + FIRST + raw(HEADERS, 0, 1, b"x") + raw(PING, 0, 0, bytes(8)),
        PROTOCOL_ERROR,
    ),
    "5.5: an extension within a block": (PREFACE + FIRST + raw(HEADERS, 0, 1, b"x") + raw(99, 0, 1), PROTOCOL_ERROR),
    "6.2: HEADERS of another stream within a block": (
        PREFACE + FIRST + raw(HEADERS, 0, 1, b"x") + raw(HEADERS, END_HEADERS, 3),
        PROTOCOL_ERROR,
    ),
    "6.3: PRIORITY on the connection": (PREFACE + FIRST + raw(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "6.4: RST_STREAM on the connection": (PREFACE + FIRST + raw(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "6.4: RST_STREAM of five bytes": (PREFACE + FIRST + raw(RST_STREAM, 0, 1, bytes(5)), FRAME_SIZE_ERROR),
    "6.5: SETTINGS on a stream": (PREFACE + raw(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "6.5: an acknowledgement that says something": (PREFACE + FIRST + raw(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "6.5: SETTINGS of seven bytes": (PREFACE + raw(SETTINGS, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "6.6: PUSH_PROMISE": (PREFACE + FIRST + raw(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), PROTOCOL_ERROR),
    "6.7: PING on a stream": (PREFACE + FIRST + raw(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "6.7: PING of seven bytes": (PREFACE + FIRST + raw(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "6.8: GOAWAY on a stream": (PREFACE + FIRST + raw(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "6.8: GOAWAY of seven bytes": (PREFACE + FIRST + raw(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "6.9: WINDOW_UPDATE of three bytes": (PREFACE + FIRST + raw(WINDOW_UPDATE, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    "6.9: an increment of 0 on the connection": (PREFACE + FIRST + raw(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "6.10: CONTINUATION of nothing": (PREFACE + FIRST + raw(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
    "6.10: CONTINUATION behind a block's end": (
        PREFACE + FIRST + raw(HEADERS, END_HEADERS, 1) + raw(CONTINUATION, END_HEADERS, 1),
        PROTOCOL_ERROR,
    ),
    "6.10: CONTINUATION on the connection": (PREFACE + FIRST + raw(CONTINUATION, END_HEADERS, 0), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("rule", CONNECTION_FAULTS)
def test_faults_of_a_connection(codec: Codec, rule: str) -> None:
    """Nothing is read behind one."""
    data, error = CONNECTION_FAULTS[rule]
    for cut in (0, 1, 7):
        last = codec.frames(data + FIRST * 3, server=True, cut=cut)[-1]
        assert (last.kind, last.value) == ("fault", error)


STREAM_FAULTS = {
    "6.3: PRIORITY of four bytes": (raw(PRIORITY, 0, 3, bytes(4)), FRAME_SIZE_ERROR),
    "6.3: PRIORITY of nothing": (raw(PRIORITY, 0, 3), FRAME_SIZE_ERROR),
    "RFC 7540 5.3.1: a stream that depends on itself": (raw(PRIORITY, 0, 3, struct.pack(">IB", 3, 1)), PROTOCOL_ERROR),
    "6.9: an increment of 0": (raw(WINDOW_UPDATE, 0, 3, bytes(4)), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("rule", STREAM_FAULTS)
def test_faults_of_a_stream_leave_the_connection(codec: Codec, rule: str) -> None:
    data, error = STREAM_FAULTS[rule]
    for cut in (0, 1, 7):
        *_, fault, ping = codec.frames(FIRST + data + raw(PING, 0, 0, b"12345678"), cut=cut)
        assert (fault.kind, fault.stream, fault.value, ping.kind) == ("stream_fault", 3, error, "ping")


def test_the_reserved_bit_is_not_looked_at(codec: Codec) -> None:
    """RFC 9113 4.1 and 6.9."""
    event = codec.frames(FIRST + raw(WINDOW_UPDATE, 0, 1 | 1 << 31, struct.pack(">I", 5 | 1 << 31)))[-1]
    assert (event.kind, event.stream, event.value) == ("window", 1, 5)


def test_headers_that_depend_on_themselves_are_told(codec: Codec) -> None:
    """The block is read all the same: the table of HPACK goes on."""
    events = codec.frames(FIRST + raw(HEADERS, END_HEADERS | WITH_PRIORITY, 3, struct.pack(">IB", 3, 1) + b"x"))
    assert [(event.kind, event.number) for event in events[1:]] == [("headers", 1), ("block", 0), ("end_headers", 0)]
