"""The HTTP/1 reader of requests: each rule by its name, and beside it llhttp and h11 over generated heads."""

from __future__ import annotations

import pytest
from http_cases import FRAMING, REFUSED
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oracle.http1_head import by_h11, by_llhttp, h11_is_narrower, llhttp_is_narrower

from lbcore import _engine

HOST = b"Host: a.example\r\n"


def request(head: bytes, **limits: int) -> int:
    """The reading of a request: 0 whole, 1 partial, else a status."""
    return _engine.read_request(head, **limits)[0]


def with_fields(fields: bytes, line: bytes = b"POST / HTTP/1.1\r\n") -> int:
    """The reading of a request with a Host and these field lines."""
    return request(line + HOST + fields + b"\r\n")


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    head, status = REFUSED[name]
    assert request(head) == status


@pytest.mark.parametrize("name", FRAMING)
def test_framing_refused_by_name(name: str) -> None:
    fields, status = FRAMING[name]
    assert with_fields(fields) == status


def test_a_coding_in_http_1_0_is_faulty() -> None:
    assert with_fields(b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.0\r\n") == 400


def test_unknown_coding_beside_a_fault_is_a_fault() -> None:
    assert with_fields(b"Transfer-Encoding: gzip\r\nContent-Length: x\r\n") == 400


@pytest.mark.parametrize("value", [b"100-continue", b"200-ok", b"100-continue, 200-ok", b""])
def test_expect_means_nothing_in_http_1_0(value: bytes) -> None:
    assert with_fields(b"Expect: " + value + b"\r\n", b"POST / HTTP/1.0\r\n") == 0


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-continue, 100-continue", b""])
def test_expectations_that_are_met(value: bytes) -> None:
    assert with_fields(b"Expect: " + value + b"\r\n") == 0


def test_limits() -> None:
    assert request(b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n" + HOST + b"\r\n", max_target=100) == 414
    assert request(b"GET /" + b"a" * 200, max_target=100) == 414
    assert request(b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000 + b"\r\n\r\n", max_header_bytes=1024) == 431
    assert request(b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000, max_header_bytes=1024) == 431
    assert request(b"GET / HTTP/1.1\r\n" + HOST + b"X: b\r\n" * 10 + b"\r\n", max_headers=10) == 431
    assert request(b"GET / HTTP/1.1\r\n" + HOST + b"X: b\r\n" * 9 + b"\r\n", max_headers=10) == 0


def test_accepted() -> None:
    for head in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b.example:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET https://b.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET HTTPS://b.example HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:a:8080\r\nX:\r\nY: \xe9 b\tc \t \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
        b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        assert request(head) == 0, head


@pytest.mark.parametrize("scheme", [b"http", b"https", b"HttpS"])
def test_absolute_target_beats_host(scheme: bytes) -> None:
    _, what = _engine.read_request(b"GET " + scheme + b"://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert what is not None
    assert (what["authority"], what["path"]) == (b"b.example", b"/x")


def test_persistence() -> None:
    def persistent(version: bytes, connection: bytes) -> bool:
        _, what = _engine.read_request(b"GET / HTTP/1." + version + b"\r\nHost: a\r\nConnection: " + connection + b"\r\n\r\n")
        assert what is not None
        return bool(what["persistent"])

    assert persistent(b"1", b"x")
    assert not persistent(b"1", b"foo, Close")
    assert not persistent(b"0", b"x")
    assert persistent(b"0", b"Keep-Alive")
    assert not persistent(b"0", b"keep-alive, close")


SAMPLE = (
    b"\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 12\r\n"
    b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nCookie: a=b; c=d\r\n\r\n"
)


def test_partial_at_every_split_point() -> None:
    for cut in range(len(SAMPLE)):
        assert request(SAMPLE[:cut]) == 1, SAMPLE[:cut]
    assert request(SAMPLE) == 0


# --- beside llhttp and h11 -------------------------------------------------------------------------------------------


TOKENS = st.text("ABCdef-_.!09", min_size=1, max_size=8).map(str.encode)
VALUES = st.text("ab 1,;=/\t:\x80", max_size=12).map(lambda text: text.strip(" \t").encode("latin-1"))
FIELDS = st.tuples(TOKENS, VALUES).map(lambda pair: pair[0] + b": " + pair[1])
KNOWN = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: 7",
        b"Content-Length: a",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Connection: close",
        b"Connection: keep-alive, x",
        b"Host: b",
        b"Expect: 100-continue",
    ]
)
HEADS = st.builds(
    lambda method, target, version, host, fields: (
        method + b" /" + target + b" HTTP/" + version + b"\r\n" + b"".join(f + b"\r\n" for f in [*host, *fields]) + b"\r\n"
    ),
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"]),
    st.text("ab/?.=%&~", max_size=12).map(str.encode),
    st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0", b"2.0", b"1.9"]),
    st.sampled_from([[b"Host: a.example"]] * 4 + [[]]),
    st.lists(st.one_of(FIELDS, KNOWN), max_size=5),
)
DIRT = st.sampled_from([b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\x7f", b"\xff", b"\r\n", b",", b"X", b""])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A head with up to two bytes replaced by dirt."""
    head = draw(HEADS)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(head) - 1))
        head = head[:at] + draw(DIRT) + head[at + draw(st.integers(0, 1)) :]
    return head


@given(mutated())
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:, chunked\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n")
@settings(max_examples=1500, deadline=None)
def test_nothing_is_accepted_that_llhttp_or_h11_refuse(head: bytes) -> None:
    reading, what = _engine.read_request(head)
    assume(reading == 0)
    assert what is not None
    ours = [(name.lower(), value) for name, value in what["fields"]]
    head = head[: what["bytes"]]
    theirs = by_llhttp(head)
    if theirs is not None:
        assert [(name.lower(), value.rstrip(b" \t")) for name, value in theirs.fields] == ours
        assert theirs.target == what["target"]
    else:
        assert llhttp_is_narrower(head), head
    event = by_h11(head)
    if event is not None:
        assert [(name.lower(), value) for name, value in event.headers] == ours
        assert event.target == what["target"]
    else:
        assert h11_is_narrower(head, what), head


@given(HEADS)
@settings(max_examples=800, deadline=None)
def test_what_both_others_accept_is_refused_only_by_our_rules(head: bytes) -> None:
    assume(by_llhttp(head) is not None and by_h11(head) is not None)
    reading, _ = _engine.read_request(head)
    lower = head.lower()
    stricter = (
        lower.count(b"\r\ncontent-length:") > 1  # equal ones are joined by h11 (RFC 9112 6.3 allows it, we do not)
        or lower.count(b"\r\nhost:") > 1
        or (b"\r\ntransfer-encoding:" in lower and (b"http/1.0" in lower or b"\r\ncontent-length:" in lower))
        or lower.count(b"\r\ntransfer-encoding:") > 1
        or b"http/1.9" in lower  # both read on whatever the version; we answer 505
        or b"http/2.0" in lower
        or lower.count(b"\r\nexpect:") > 1
    )
    assert reading == 0 or stricter, (reading, head)


# --- paths -----------------------------------------------------------------------------------------------------------


PATHS = {
    b"/a/b": b"/a/b",
    b"/a/./b/": b"/a/b/",
    b"/a/../b": b"/b",
    b"/../../a": b"/a",
    b"/a/b/..": b"/a/",
    b"/a/.": b"/a/",
    b"/%61%2E%2e/b": b"/a../b",
    b"/%2e%2E/b": b"/b",
    b"/a%2fb": b"/a%2Fb",
    b"/%7Euser": b"/~user",
    b"/a//b": b"/a//b",
    b"/..a/b..": b"/..a/b..",
    b"/": b"/",
}


@pytest.mark.parametrize("path", PATHS)
def test_normal_path(path: bytes) -> None:
    assert _engine.normal_path(path) == PATHS[path]


@pytest.mark.parametrize("path", [b"/%", b"/%4", b"/%zz", b"/a%00b"])
def test_broken_escapes_and_nul_are_refused(path: bytes) -> None:
    assert _engine.normal_path(path) is None


def test_slashed_reading() -> None:
    assert _engine.normal_path(b"/a%2f..%2Fb", reading=1) == b"/b"
    assert _engine.normal_path(b"//a///b", reading=1) == b"/a/b"
    assert _engine.normal_path(b"/a\\..\\b", reading=1) == b"/b"
    assert _engine.normal_path(b"/a%5c..%5Cb", reading=1) == b"/b"


@given(st.text("ab./%2eEfF~5cC", max_size=20).map(lambda text: b"/" + text.encode()))
@settings(max_examples=500, deadline=None)
def test_normal_paths_stay_as_they_are_and_agree_with_python(path: bytes) -> None:
    from lbcore.table.routes import normal_path

    once = _engine.normal_path(path)
    assume(once is not None)
    assert once is not None
    assert b"/../" not in once
    assert b"/./" not in once
    assert normal_path(path.decode()).encode() == once
    assert _engine.normal_path(once) == once
