"""The HTTP/1 reader of responses: each rule by its name, and beside it an oracle over generated heads."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import http1_response

from lbcore import _engine

REFUSED = {
    "not_http": b"nonsense\r\n\r\n",
    "http_2": b"HTTP/2.0 200 OK\r\n\r\n",
    "two_digit_status": b"HTTP/1.1 20 OK\r\n\r\n",
    "four_digit_status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status_of_1": b"HTTP/1.1 1 X\r\n\r\n",
    "status_of_letters": b"HTTP/1.1 2OO X\r\n\r\n",
    "status_and_reason_in_one": b"HTTP/1.1 200OK\r\n\r\n",
    "no_blank_before_the_status": b"HTTP/1.1200 OK\r\n\r\n",
    "lower_case_version": b"http/1.1 200 OK\r\n\r\n",
    "status_of_99": b"HTTP/1.1 099 X\r\n\r\n",
    "control_in_reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "bare_lf": b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
    "obs_fold": b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
    "space_in_a_name": b"HTTP/1.1 200 OK\r\nX y : z\r\n\r\n",
    "nothing_before_a_blank_and_a_colon": b"HTTP/1.1 200 OK\r\n : z\r\n\r\n",
    "blank_and_no_colon": b"HTTP/1.1 200 OK\r\nX \r\n\r\n",
    "length_and_coding": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "two_lengths_in_a_list": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
    "list_of_lengths_with_an_empty_one": b"HTTP/1.1 200 OK\r\nContent-Length: 1,\r\n\r\n",
    "length_with_a_sign": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
    "empty_length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "length_behind_a_blank_and_coding": b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "gzip_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "gzip_coding_before_an_expectation": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nExpect: x\r\n\r\n",
    "gzip_coding_before_a_length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\nExpect: x\r\n\r\n",
    "length_and_coding_in_1_0": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked_twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    "bad_length": b"HTTP/1.1 200 OK\r\nContent-Length: 1 2\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    assert _engine.read_response(REFUSED[name])[0] >= 400


TAKEN = {
    "status_of_600": b"HTTP/1.1 600 X\r\n\r\n",
    "status_of_999": b"HTTP/1.1 999 X\r\n\r\n",
    "no_reason": b"HTTP/1.1 200\r\n\r\n",
    "no_reason_behind_a_space": b"HTTP/1.1 200 \r\n\r\n",
    "eight_bit_reason": b"HTTP/1.1 200 \xc3\xa9\xe9\r\n\r\n",
    "two_spaces_before_the_status": b"HTTP/1.1  200 OK\r\n\r\n",
    "tab_before_the_status": b"HTTP/1.1\t200 OK\r\n\r\n",
    "two_spaces_before_the_reason": b"HTTP/1.1 200  OK\r\n\r\n",
    "version_1_2": b"HTTP/1.2 200 OK\r\n\r\n",
    "space_before_a_colon": b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
    "tabs_before_a_colon": b"HTTP/1.1 200 OK\r\nX\t \t: y\r\n\r\n",
    "space_before_a_colon_and_no_value": b"HTTP/1.1 200 OK\r\nX :\r\n\r\n",
    "eight_bit_value": b"HTTP/1.1 200 OK\r\nX: \xe9\r\n\r\n",
    "coding_in_1_0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two_equal_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "list_of_equal_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1 , 01\r\n\r\n",
    "zeros_before_a_length": b"HTTP/1.1 200 OK\r\nContent-Length: 000000000000000000000001\r\n\r\n",
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken_by_name(name: str) -> None:
    raw = TAKEN[name]
    reading, what = _engine.read_response(raw)
    assert reading == 0
    assert what is not None
    assert what["bytes"] == len(raw)
    if b"Length" in raw:
        assert (what["framing"], what["length"]) == ("length", 1)
    if b"chunked" in raw:
        assert (what["framing"], what["persistent"]) == ("chunked", False)
    for cut in range(len(raw)):
        assert _engine.read_response(raw[:cut])[0] == 1, raw[:cut]


def test_expect_means_nothing_in_a_response() -> None:
    assert _engine.read_response(b"HTTP/1.1 200 OK\r\nExpect: nonsense\r\nContent-Length: 0\r\n\r\n")[0] == 0


def test_responses_without_a_body() -> None:
    for status in (100, 204, 304):
        head = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status
        assert _engine.read_response(head)[1]["framing"] == "none"  # type: ignore[index]
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert _engine.read_response(head, to_head=True)[1]["framing"] == "none"  # type: ignore[index]
    assert _engine.read_response(head)[1]["framing"] == "length"  # type: ignore[index]
    assert _engine.read_response(b"HTTP/1.1 200 OK\r\n\r\n")[1]["framing"] == "to end"  # type: ignore[index]


def test_partial_at_every_split_point() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: x\r\n\r\n"
    for cut in range(len(head)):
        assert _engine.read_response(head[:cut])[0] == 1, head[:cut]
    assert _engine.read_response(head)[0] == 0


# --- beside the oracle -----------------------------------------------------------------------------------------------


FIELDS = st.builds(
    lambda name, colon, value: name + colon + value,
    st.text("ABc-_.!0", min_size=1, max_size=6).map(str.encode),
    st.sampled_from([b":", b": ", b":\t", b" : ", b"\t:"]),
    st.text("ab 1,;=\t:\x80", max_size=8).map(lambda text: text.encode("latin-1")),
)
LENGTHS = st.lists(st.sampled_from([b"0", b"5", b"05", b"7", b"+5", b"5 5", b"", b"9" * 18, b"9" * 19]), min_size=1, max_size=3)
KNOWN = st.one_of(
    LENGTHS.map(lambda values: b"Content-Length: " + b" , ".join(values)),
    st.sampled_from([b"5", b"0"]).map(lambda value: b"content-length:" + value),
    st.sampled_from([b"chunked", b"Chunked ", b"gzip", b"gzip, chunked", b"chunked;x=1", b"", b",chunked"]).map(
        lambda value: b"Transfer-Encoding: " + value
    ),
    st.lists(st.sampled_from([b"close", b"Keep-Alive", b"x", b""]), max_size=3).map(
        lambda values: b"Connection:" + b",".join(values)
    ),
)
HEADS = st.builds(
    lambda version, blanks, status, reason, fields: b"".join(
        line + b"\r\n" for line in [b"HTTP/" + version + blanks + status + reason, *fields, b""]
    ),
    st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0", b"1.2", b"2.0"]),
    st.sampled_from([b" ", b" ", b"\t ", b""]),
    st.sampled_from([b"200", b"200", b"404", b"101", b"204", b"205", b"304", b"999", b"099", b"20", b"2000"]),
    st.sampled_from([b" OK", b"", b" ", b"\tNot  \xe9", b" O\x01K"]),
    st.lists(st.one_of(FIELDS, KNOWN), max_size=4),
)
DIRT = st.sampled_from([b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\x7f", b"\xff", b"\r\n", b",", b"X", b""])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A head, now and then with a byte replaced by dirt, and the first bytes of a body."""
    head = draw(HEADS)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(head) - 1))
        head = head[:at] + draw(DIRT) + head[at + draw(st.integers(0, 1)) :]
    return head + draw(st.sampled_from([b"", b"body"]))


@given(responses(), st.booleans())
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 64 + b"9" * 18 + b"\r\n\r\n", False)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 65 + b"9" * 18 + b"\r\n\r\n", False)
@example(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", False)
@settings(max_examples=1500, deadline=None)
def test_responses_are_read_as_the_oracle_reads_them(data: bytes, to_head: bool) -> None:
    reading, what = _engine.read_response(data, to_head=to_head)
    expected = http1_response.read(data, to_head=to_head)
    assert (reading == 0) == (expected is not None), (reading, expected)
    if what is None or expected is None:
        return
    assert what["fields"] == expected.fields
    told = (what["status"], what["bytes"], what["framing"], what["persistent"])
    assert told == (expected.status, expected.size, expected.framing, expected.persistent)
    if expected.length is not None:
        assert what["length"] == expected.length


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN])
def test_the_oracle_knows_each_rule(name: str) -> None:
    assert (http1_response.read((REFUSED | TAKEN)[name]) is None) == (name in REFUSED)
