"""HPACK (csrc/h2): beside pip's hpack and libnghttp2 over generated headers, and rule by rule of RFC 7541."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2_codec
import pytest
from h2_codec import FORGET, REMEMBER, SECRET, Codec, Field
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.hpack_peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.one_of(
    st.sampled_from([name for name, _ in HeaderTable.STATIC_TABLE]),
    st.sampled_from([b"grpc-status", b"te", b"x-request-id"]),
    st.binary(min_size=1, max_size=12).map(lambda raw: b"x-" + raw.hex().encode()),
)
VALUES = st.one_of(
    st.sampled_from([value for _, value in HeaderTable.STATIC_TABLE] + [b"0", b"trailers", b"application/grpc"]),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"_")),
    st.integers(0, 5000).map(lambda count: b"v" * count),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
CONVERSATION = st.lists(st.tuples(FIELDS, st.sampled_from([REMEMBER, FORGET, SECRET]), st.integers(0, 9)), max_size=8)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return h2_codec.build(tmp_path_factory.mktemp("h2"))


@pytest.fixture(scope="module")
def codec(command: list[str]) -> Iterator[Codec]:
    with Codec(command) as codec:
        yield codec


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    try:
        PEERS[kind]()
    except OSError:
        pytest.skip(f"{kind} is not installed")
    return kind


# --- beside others ----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(CONVERSATION)
def test_what_others_write_we_read(codec: Codec, peer: str, blocks: list[tuple[list[Field], int, int]]) -> None:
    """Table and all, a block after another, cut anywhere."""
    codec.renew()
    other = PEERS[peer]()
    for fields, keeping, cut in blocks:
        read = codec.read(other.encode(fields, secret=keeping == SECRET), cut)
        assert (read.fields, read.faults, read.left) == (fields, [], 0)


@settings(max_examples=150, deadline=None)
@given(CONVERSATION)
def test_what_we_write_others_read(codec: Codec, peer: str, blocks: list[tuple[list[Field], int, int]]) -> None:
    codec.renew()
    other = PEERS[peer]()
    for fields, keeping, _ in blocks:
        assert other.decode(codec.write(fields, keeping)) == fields


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FIELDS, st.none() | st.integers(0, 9000)), max_size=8))
def test_tables_of_any_size(codec: Codec, peer: str, blocks: list[tuple[list[Field], int | None]]) -> None:
    """A peer that announces another table size between blocks, up and down, reads what we write."""
    codec.renew()
    other = PEERS["hpack"]()
    for fields, size in blocks:
        if size is not None:
            codec.peer(size)
        assert other.decode(codec.write(fields)) == fields
    codec.renew()
    other = PEERS[peer]()
    for fields, size in blocks:
        if size is not None:
            other.resize(min(size, 4096))
        read = codec.read(other.encode(fields))
        assert read.fields == fields
        assert set(read.faults) <= {"resized"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 4))
def test_bytes_at_random_are_refused_as_others_refuse_them(codec: Codec, block: bytes, cut: int) -> None:
    """Where pip's hpack reads a block, we read the same; what it refuses, we do not take for whole."""
    codec.renew()
    read = codec.read(block, cut)
    try:
        fields = PEERS["hpack"]().decode(block)
    except ValueError:
        assert read.faults not in ([], ["resized"]) or read.left
    else:
        assert (read.fields, set(read.faults) - {"resized"}, read.left) == (fields, set(), 0)


# --- rule by rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", range(256))
def test_huffman_code_of_each_symbol(codec: Codec, symbol: int) -> None:
    """RFC 7541, Appendix B: in the middle of others, so that each alignment comes."""
    coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    codec.renew()
    for before in range(4):
        text = b"0" * before + bytes([symbol]) * 3
        coded = coder.encode(text)
        block = b"\x00\x01a" + bytes([0x80 | len(coded)]) + coded
        assert codec.read(block).fields == [(b"a", text)]


@pytest.mark.parametrize(
    ("coded", "why"),
    [
        (b"\xff\xff\xff\xff", "the end-of-string symbol"),
        (b"\x1f\xff", "padding of eight bits"),
        (b"\x18", "padding that is not all ones"),
        (b"\xff", "nothing but padding, of eight bits"),
    ],
)
def test_faulty_huffman_strings(codec: Codec, coded: bytes, why: str) -> None:
    """RFC 7541 5.2."""
    codec.renew()
    assert codec.read(b"\x00\x01a" + bytes([0x80 | len(coded)]) + coded).faults == ["bad"], why


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0 (6.1)"),
        (b"\xbe", "an entry that is not there"),
        (b"\x7f\x00\x01a", "a name that is not there"),
        (b"\x82\x3f\xe1\x1f", "a size behind a field (4.2)"),
        (b"\x3f\xe2\x1f", "a size above the announced one (6.3)"),
        (b"\x00\x7f\xff\xff\xff\xff\xff\x0f", "a string's length of 35 bits (5.1)"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "an index of 36 bits"),
    ],
)
def test_faulty_blocks(codec: Codec, block: bytes, why: str) -> None:
    codec.renew()
    for cut in range(len(block)):
        assert codec.read(block, cut).faults[-1:] == ["bad"], why


def test_a_field_larger_than_the_table_empties_it(codec: Codec) -> None:
    """RFC 7541 4.4. What no room was found for is dropped, and the table goes on."""
    codec.renew()
    assert codec.read(b"\x40\x01a\x01b").fields == [(b"a", b"b")]
    assert codec.read(b"\xbe").fields == [(b"a", b"b")]
    large = b"v" * 5000
    assert codec.read(b"\x40\x01c\x7f" + bytes([0x80 | (5000 - 127) & 0x7F, (5000 - 127) >> 7]) + large).fields == [
        (b"c", large)
    ]
    assert codec.read(b"\xbe").faults == ["bad"]
    codec.renew()
    assert codec.read(b"\x40\x01a\x01b").fields == [(b"a", b"b")]
    huge = 200_000
    length = bytes([0x80 | (huge - 127) & 0x7F, 0x80 | (huge - 127) >> 7 & 0x7F, (huge - 127) >> 14])
    read = codec.read(b"\x40\x01c\x7f" + length + b"v" * huge + b"\x40\x01d\x01e")
    assert (read.fields, read.faults) == ([(b"d", b"e")], ["long"])
    assert codec.read(b"\xbe").fields == [(b"d", b"e")]


def test_secrets_are_never_indexed(codec: Codec) -> None:
    """RFC 7541 7.1.3: not by us, and the mark goes on with the field."""
    codec.renew()
    fields = [(b"authorization", b"Basic YTpi"), (b":method", b"GET")]
    first, second = codec.write(fields, SECRET), codec.write(fields, SECRET)
    assert first == second
    assert codec.read(first).never == {b"authorization", b":method"}


def test_what_comes_again_takes_a_byte(codec: Codec) -> None:
    codec.renew()
    fields = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity, deflate, gzip")]
    assert len(codec.write(fields)) > 20
    assert len(codec.write(fields)) == 2
