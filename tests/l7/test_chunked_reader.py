"""The reader of chunked bodies: each rule by its name, every cut, and beside it the grammar of RFC 9112."""

from __future__ import annotations

import itertools

import pytest
from http_cases import CHUNKED_OF_ANSWERS, CHUNKED_REFUSED, CHUNKED_TAKEN
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import http1_chunked

from lbcore import _engine


@pytest.mark.parametrize("name", CHUNKED_REFUSED)
def test_chunked_refused_by_name(name: str) -> None:
    body = CHUNKED_REFUSED[name]
    assert _engine.read_chunked([body])[0] == "bad"
    assert _engine.read_chunked([body[i : i + 1] for i in range(len(body))])[0] == "bad"


@pytest.mark.parametrize("name", CHUNKED_TAKEN)
@pytest.mark.parametrize("lenient", [False, True])
def test_chunk_extensions_are_taken_and_not_passed_on(name: str, lenient: bool) -> None:
    body = CHUNKED_TAKEN[name] + b"hello\r\n" + b"0;last\r\n\r\n"
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        read = _engine.read_chunked(pieces, lenient=lenient, bare=False)
        assert read == ("done", b"5\r\nhello\r\n0\r\n\r\n", len(body))


def test_sizes_go_on_in_their_shortest_form() -> None:
    body = b"00aB\r\n" + b"x" * 171 + b"\r\n000\r\n\r\n"
    assert _engine.read_chunked([body], bare=False)[1] == b"ab\r\n" + b"x" * 171 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("name", CHUNKED_OF_ANSWERS)
def test_what_is_taken_in_chunks_of_answers_only(name: str) -> None:
    size, trailer = CHUNKED_OF_ANSWERS[name]
    body = size + b"hello\r\n" + b"0\r\n" + trailer + b"X-Last: 2\r\n\r\n"
    kept = b"X-Sum: 1\r\n" if b"X-Sum" in trailer else b""
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        assert _engine.read_chunked(pieces, bare=False)[0] == "bad"
        read = _engine.read_chunked(pieces, lenient=True, bare=False, trailers=True)
        assert read == ("done", b"5\r\nhello\r\n0\r\n" + kept + b"X-Last: 2\r\n\r\n", len(body))


MALFORMED = [name for name in CHUNKED_REFUSED if "extension" in name or "quote" in name]
BROKEN_LINES = {"lf_in_extension", "cr_in_extension", "line_end_in_a_quote", "control_in_a_quote", "escaped_line_end"}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_extensions_of_answers_are_read_by_nobody(name: str) -> None:
    """They end with their line, as nginx 1.22 and HAProxy 2.6 have it; what ends it otherwise is refused all the same."""
    body = CHUNKED_REFUSED[name]
    state, passed, _ = _engine.read_chunked([body], lenient=True, bare=False)
    if name in BROKEN_LINES or name == "endless_extension":
        assert state == "bad"
    else:
        assert (state, passed) == ("done", b"3\r\nabc\r\n0\r\n\r\n")


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    trailers=st.lists(st.sampled_from([b"A: b", b"X-Sum:", b"Z: \xe9"]), max_size=2),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    rest=st.binary(max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_chunked_bodies_survive_every_cut(chunks: list[bytes], trailers: list[bytes], cuts: list[int], rest: bytes) -> None:
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += b"0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"
    sent = body + rest
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in itertools.pairwise(edges)]
    state, content, used = _engine.read_chunked(pieces)
    assert (state, content, used) == ("done", b"".join(chunks), len(body))


CHUNK_PIECES = [
    b"0",
    b"1",
    b"3",
    b"0a",
    b"A",
    b"abc",
    b"\r\n",
    b"\r",
    b"\n",
    b";",
    b"x",
    b"=",
    b'"',
    b"\\",
    b" ",
    b"\t",
    b"X:y",
    b":",
    b"\x00",
    b"\xe9",
]
GOOD_CHUNKS = [
    b"3\r\nabc\r\n",
    b"1;x=y\r\nx\r\n",
    b'2 ; x = "a\\"b"\r\n\r\n\r\n',
    b"03;x\r\nabc\r\n",
    b"0\r\n",
    b"X-Sum: 1\r\n",
    b"\r\n",
]


@given(st.lists(st.sampled_from(GOOD_CHUNKS + CHUNK_PIECES), max_size=8), st.binary(max_size=3))
@settings(max_examples=1500, deadline=None)
@example([b"3\r\nabc\r\n", b"0\r\n", b"\r\n"], b"more")
def test_chunked_bodies_are_those_of_the_grammar(pieces: list[bytes], rest: bytes) -> None:
    """Beside RFC 9112 as regular expressions: what is whole to one is whole to the other, and the content is the same."""
    body = b"".join([*pieces, b"0\r\n\r\n", rest])
    state, content, used = _engine.read_chunked([body])
    assert ((content, used) if state == "done" else None) == http1_chunked.read(body), body
