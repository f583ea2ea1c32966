"""The reader of TLS ClientHellos, fed what OpenSSL sends; beside it tests/c/test_hello.c, with hellos made by hand."""

from __future__ import annotations

import ssl

import pytest
from hellos import client_hello, in_records, message
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import client_hello as oracle

from lbcore._engine import read_hello

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
WHOLE = client_hello("Shop.Example.", ["h2", "http/1.1"])
READ = {"name": "shop.example", "alpn": [b"h2", b"http/1.1"], "version": 0x0304}

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join).filter(lambda name: not name[-1].isdigit())
PROTOCOL = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@pytest.mark.parametrize("name", [None, "a", "a.example", "WWW.A.Example", "xn--mnchen-3ya.de"])
@pytest.mark.parametrize("protocols", [[], ["h2"], ["h2", "http/1.1"]], ids=["no_alpn", "h2", "both"])
@pytest.mark.parametrize(("oldest", "newest"), [(TLS_1_2, TLS_1_2), (TLS_1_3, TLS_1_3), (TLS_1_2, TLS_1_3)])
def test_what_openssl_sends(name: str | None, protocols: list[str], oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> None:
    hello = client_hello(name, protocols, oldest, newest)
    assert read_hello(hello) == {
        "name": name.lower() if name else None,
        "alpn": [protocol.encode() for protocol in protocols],
        "version": int(newest),
    }
    assert all(read_hello(hello[:cut]) is None for cut in range(len(hello)))


@settings(max_examples=100, deadline=None)
@given(NAME, st.lists(PROTOCOL, max_size=8))
def test_any_name_and_any_protocols(name: str, protocols: list[str]) -> None:
    read = read_hello(client_hello(name, protocols))
    assert read is not None
    assert (read["name"], read["alpn"]) == (name.lower(), [protocol.encode() for protocol in protocols])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=60))
def test_however_it_is_cut_into_records(sizes: list[int]) -> None:
    cut_up = in_records(message(WHOLE), sizes)
    assert read_hello(cut_up) == READ
    assert all(read_hello(cut_up[:cut]) is None for cut in range(len(cut_up)))


def test_what_follows_is_not_looked_at() -> None:
    assert read_hello(WHOLE + b"\x14\x03\x03\0\1\1") == READ
    assert read_hello(WHOLE + b"junk" * 10_000) == READ


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_what_was_said_stays_said(at: int, byte: int) -> None:
    """Whatever byte is spoilt: every prefix says more, until one says what the whole does."""
    spoilt = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    said = [outcome(spoilt[:cut]) for cut in range(len(spoilt) + 1)]
    first = next((i for i, what in enumerate(said) if what is not None), len(said))
    assert all(what == said[-1] for what in said[first:])


def outcome(data: bytes) -> object:
    """As `read_hello`; "bad" for what it refuses."""
    try:
        return read_hello(data)
    except ValueError:
        return "bad"


NO_HELLOS = {
    "http": b"GET / HTTP/1.1\r\n",
    "one_byte_of_http": b"G",
    "ssl_2": b"\x80\x2e\x01\x03\x01",
    "proxy_1": b"PROXY TCP4 ",
    "proxy_2": b"\r\n\r\n\0\r\nQUIT\n",
    "alert": b"\x15\x03\x01\0\x02\x02\x28",
    "a_server_hello": b"\x16\x03\x03\0\x04\x02",
    "empty_record": b"\x16\x03\x01\0\0",
    "hello_without_its_last_byte": in_records(message(WHOLE)[:-1], []) + b"\x17\x03\x03",
    "hello_with_one_byte_more": in_records(message(WHOLE) + b"\0", []),
    "finer_than_there_is_room_for": in_records(b"\1\0\x40\0\x03\x03" + bytes(3500), [1] * 3506),
}


@pytest.mark.parametrize("name", NO_HELLOS)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="ClientHello"):
        read_hello(NO_HELLOS[name])


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(1, 99), max_size=9),
)
def test_what_is_read_is_what_the_oracle_reads(spoilt: list[tuple[int, int]], sizes: list[int]) -> None:
    """Beside a reader that goes by the RFCs' grammar alone: whatever is spoilt, what ours takes says the same to both."""
    data = bytearray(WHOLE)
    for at, byte in spoilt:
        data[at] = byte
    hello = in_records(message(bytes(data)), sizes) if data[0] == 22 and not spoilt else bytes(data)
    try:
        read = read_hello(hello)
    except ValueError:
        return
    if read is not None:
        assert read == oracle.read(hello)
