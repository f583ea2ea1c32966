"""Requests that come by HTTP/2 (csrc/l7/h2/request.c): what they are as HTTP/1.1, and what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2_codec
import pytest
from h2_codec import Codec, Field
from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore import _engine

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x?y")]
CONNECT = [(b":method", b"CONNECT"), (b":authority", b"a.example:443")]
WEBSOCKET = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat"),
    (b":authority", b"a.example"),
]


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codec]:
    with Codec(h2_codec.build(tmp_path_factory.mktemp("h2"))) as codec:
        yield codec


def test_the_authority_of_connect_has_room_twice(codec: Codec) -> None:
    """It is the target and the host; the codec's program gives a request the room that the engine would, and no byte more."""
    authority = b"a" * 5000 + b".example:443"
    said = codec.request([(b":method", b"CONNECT"), (b":authority", authority)])
    assert said == b"CONNECT " + authority + b" HTTP/1.1\r\nhost: " + authority + b"\r\n\r\n"


def test_a_request_as_http1_says_it(codec: Codec) -> None:
    """Pseudo-headers in any order: grpcio 1.85.1 begins with :path."""
    said = b"GET /x?y HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n\r\n"
    assert codec.request([*GET, (b"accept", b"*/*")]) == said
    assert codec.request([*reversed(GET), (b"accept", b"*/*")]) == said


def test_a_body_of_unknown_length_is_chunked(codec: Codec) -> None:
    post = [(b":method", b"POST"), *GET[1:]]
    assert b"transfer-encoding: chunked" in bytes(codec.request(post, end_stream=False))
    assert b"transfer-encoding" not in bytes(codec.request([*post, (b"content-length", b"5")], end_stream=False))
    assert b"transfer-encoding" not in bytes(codec.request(post))


def test_cookies_are_joined(codec: Codec) -> None:
    """RFC 9113 8.2.3: HTTP/1.1 has one; where the first stood."""
    crumbs = [(b"a", b"1"), (b"cookie", b"b=1"), (b"c", b"2"), (b"cookie", b"d=2"), (b"cookie", b"e=3"), (b"f", b"3")]
    said = codec.request([*GET, *crumbs])
    assert said == b"GET /x?y HTTP/1.1\r\nhost: a.example\r\na: 1\r\ncookie: b=1; d=2; e=3\r\nc: 2\r\nf: 3\r\n\r\n"
    assert codec.request([*GET, (b"cookie", b"one")]) == b"GET /x?y HTTP/1.1\r\nhost: a.example\r\ncookie: one\r\n\r\n"


def test_host_and_authority(codec: Codec) -> None:
    """RFC 9113 8.3.1: one name goes on; two that differ are no request."""
    said = b"GET /x?y HTTP/1.1\r\nhost: a.example\r\n\r\n"
    assert codec.request([*GET, (b"host", b"A.example")]) == said
    assert codec.request([GET[0], GET[1], GET[3], (b"host", b"a.example")]) == said
    assert codec.request([*GET, (b"host", b"b.example")]) == "ambiguous"
    twice = codec.request([GET[0], GET[1], GET[3], (b"host", b"a.example"), (b"host", b"b.example")])
    assert _engine.read_request(bytes(twice))[0] == 400


def test_extended_connect_is_an_upgrade(codec: Codec) -> None:
    """RFC 8441 5: with a key, which HTTP/2 leaves out."""
    said = bytes(codec.request([*WEBSOCKET, (b"sec-websocket-version", b"13")], end_stream=False)).split(b"\r\n")
    assert said[0] == b"GET /chat HTTP/1.1"
    assert {b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13"} < set(said)
    assert any(line.startswith(b"sec-websocket-key: ") and len(line) == 43 for line in said)


MALFORMED: dict[str, list[Field]] = {
    "8.2.1: a name in upper case": [*GET, (b"Accept", b"x")],
    "8.2.1: a name with a blank": [*GET, (b"a b", b"x")],
    "8.2.1: a name with a colon": [*GET, (b"a:b", b"x")],
    "8.2.1: a name with a line's end": [*GET, (b"a\r\nb", b"x")],
    "8.2.1: no name": [*GET, (b"", b"x")],
    "8.2.1: a value with a line's end": [*GET, (b"a", b"x\r\nevil: y")],
    "8.2.1: a value with LF": [*GET, (b"a", b"x\ny")],
    "8.2.1: a value with NUL": [*GET, (b"a", b"x\0y")],
    "8.2.1: a blank before a value": [*GET, (b"a", b" x")],
    "8.2.1: a blank behind a value": [*GET, (b"a", b"x\t")],
    "8.2.2: connection": [*GET, (b"connection", b"close")],
    "8.2.2: keep-alive": [*GET, (b"keep-alive", b"timeout=5")],
    "8.2.2: proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "8.2.2: transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "8.2.2: upgrade": [*GET, (b"upgrade", b"h2c")],
    "8.2.2: te with more than trailers": [*GET, (b"te", b"trailers, deflate")],
    "8.3: behind other fields": [*GET[:3], (b"a", b"b"), GET[3]],
    "8.3: an unknown one": [*GET, (b":version", b"2")],
    "8.3: a response's": [*GET, (b":status", b"200")],
    "8.3.1: no method": GET[1:],
    "8.3.1: no scheme": [GET[0], *GET[2:]],
    "8.3.1: no path": GET[:3],
    "8.3.1: an empty path": [*GET[:3], (b":path", b"")],
    "8.3.1: a path without a slash": [*GET[:3], (b":path", b"x")],
    "8.3.1: an absolute path": [*GET[:3], (b":path", b"http://b.example/")],
    "8.3.1: a path with a blank": [*GET[:3], (b":path", b"/ HTTP/1.1")],
    "8.3.1: a path with a line's end": [*GET[:3], (b":path", b"/ HTTP/1.1\r\nevil: y")],
    "8.3.1: a method with a blank": [(b":method", b"GET /evil HTTP/1.1"), *GET[1:]],
    "8.3.1: an authority with a line's end": [*GET[:2], (b":authority", b"a\r\nevil: y"), GET[3]],
    "8.3.1: two methods": [*GET, GET[0]],
    "8.3.1: two paths": [*GET, (b":path", b"/x?y")],
    "8.3.1: two authorities": [*GET, GET[2]],
    "8.3.1: an asterisk of GET": [*GET[:3], (b":path", b"*")],
    "8.5: CONNECT with a path": [*CONNECT, (b":path", b"/")],
    "8.5: CONNECT with a scheme": [*CONNECT, (b":scheme", b"https")],
    "8.5: CONNECT without an authority": CONNECT[:1],
    "RFC 8441 4: h2c": [(name, b"H2c" if name == b":protocol" else value) for name, value in WEBSOCKET],
    "RFC 8441 4: a protocol without CONNECT": [*GET, (b":protocol", b"websocket")],
    "RFC 8441 4: an extended CONNECT without a path": [one for one in WEBSOCKET if one[0] != b":path"],
}


@pytest.mark.parametrize("rule", MALFORMED)
def test_malformed_requests(codec: Codec, rule: str) -> None:
    assert codec.request(MALFORMED[rule]) == "malformed"


TEXT = st.one_of(
    st.sampled_from(
        [b"GET", b"POST", b"/", b"*", b"https", b"a.example", b"5", b"", b"trailers", b"websocket", b"\r\nx: y", b"a b"]
    ),
    st.binary(max_size=6),
)
NAMES = st.one_of(
    st.sampled_from(
        [
            b":method",
            b":path",
            b":scheme",
            b":authority",
            b":protocol",
            b"host",
            b"cookie",
            b"te",
            b"content-length",
            b"x",
            b"X",
        ]
    ),
    st.binary(max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(st.permutations(GET), st.lists(st.tuples(NAMES, TEXT), max_size=5), st.booleans())
def test_no_field_becomes_two(codec: Codec, pseudo: list[Field], others: list[Field], end_stream: bool) -> None:
    """Whatever the fields hold: HTTP/1.1 sees one request line, and no more lines than there were fields."""
    said = codec.request([*pseudo, *others], end_stream=end_stream)
    if isinstance(said, str):
        return
    head, empty, rest = said.partition(b"\r\n\r\n")
    assert (empty, rest) == (b"\r\n\r\n", b"")
    first, *lines = head.split(b"\r\n")
    assert first == b"GET /x?y HTTP/1.1"
    assert b"\n" not in head.replace(b"\r\n", b"")
    names = [line.partition(b": ")[0] for line in lines]
    assert set(names) <= {name for name, _ in others} | {b"host", b"transfer-encoding"}
    assert names.count(b"cookie") <= 1
    assert names.count(b"host") == 1
