"""Header blocks that a server reads, and those that end the connection (RFC 7541)."""

from __future__ import annotations

from h2_conformance import WHOLE, Case, Talker, connection, responds
from h2_frames import COMPRESSION_ERROR, HEADERS, frame
from hpack import Encoder

FAULT = connection(COMPRESSION_ERROR)


def _string(text: bytes, *, huffman: bool) -> bytes:
    """A string literal of fewer than 127 bytes."""
    if not huffman:
        return bytes([len(text)]) + text
    coded = bytes(Encoder().huffman_coder.encode(text))
    return bytes([0x80 | len(coded)]) + coded


def _literal(first: int, name: bytes | None, *, huffman: bool) -> bytes:
    """A field of a name (None: the one that `first` has), and a value."""
    return bytes([first]) + (_string(name, huffman=huffman) if name else b"") + _string(b"value", huffman=huffman)


def _behind(c: Talker, more: bytes) -> bytes:
    return frame(HEADERS, WHOLE, 1, c.fields() + more)


def _before(c: Talker, more: bytes) -> bytes:
    return frame(HEADERS, WHOLE, 1, more + c.fields())


def _literals() -> list[Case]:
    """Each representation, with a name by its index (58: user-agent) and by itself, with and without Huffman's code."""
    cases = []
    kinds = (
        ("6.2.1", "with indexing", 0x40, b"\x7a"),
        ("6.2.2", "without", 0x00, b"\x0f\x2b"),
        ("6.2.3", "never", 0x10, b"\x1f\x2b"),
    )
    for section, words, first, indexed in kinds:
        for huffman in (False, True):
            code = "by Huffman" if huffman else "as it is"
            new = _literal(first, b"x-test", huffman=huffman)
            known = indexed + _string(b"agent", huffman=huffman)
            cases.append(Case(section, f"{words}: a new name, {code}", lambda c, new=new: _behind(c, new), responds()))
            cases.append(Case(section, f"{words}: a known name, {code}", lambda c, it=known: _behind(c, it), responds()))
    return cases


X_TEST = b"\x00\x85\xf2\xb2\x4a\x84\xff"
"""A literal with the name x-test, by Huffman's code."""

COMPRESSION = [
    Case("7541 2.3.3", "an index of neither table", lambda c: _behind(c, b"\xc6"), FAULT),
    Case("7541 2.3.3", "such a name", lambda c: _behind(c, b"\x7f\x07\x00"), FAULT),
    Case(
        "7541 2.3.3",
        "an index of the dynamic table",
        lambda c: _behind(c, _literal(0x40, b"x-test", huffman=False) + b"\xbe"),
        responds(),
    ),
    Case("7541 4.2", "a table's size behind a field", lambda c: _behind(c, b"\x21"), FAULT),
    Case("7541 4.2", "two sizes at the beginning", lambda c: _before(c, b"\x20\x3f\xe1\x1f"), responds()),
    Case("7541 5.1", "a number that does not end", lambda c: _behind(c, b"\xff" + b"\x80" * 10), FAULT),
    Case("7541 5.1", "a number that is too large", lambda c: _behind(c, b"\xff" + b"\xff" * 9 + b"\x01"), FAULT),
    Case("7541 5.2", "a string longer than its block", lambda c: _behind(c, b"\x00\x7e\x78"), FAULT),
    Case("7541 5.2", "padding of eight bits and more", lambda c: _behind(c, X_TEST + b"\x84\x49\x50\x9f\xff"), FAULT),
    Case("7541 5.2", "padding of zeros", lambda c: _behind(c, X_TEST + b"\x83\x49\x50\x90"), FAULT),
    Case("7541 5.2", "EOS within a string", lambda c: _behind(c, X_TEST + b"\x87\xff\xff\xff\xfd\x25\x42\x7f"), FAULT),
    Case("7541 6.1", "an indexed field", lambda c: _behind(c, b"\xba"), responds()),
    Case("7541 6.1", "an index of 0", lambda c: _behind(c, b"\x80"), FAULT),
    *_literals(),
    Case("7541 6.3", "a table's size", lambda c: _before(c, b"\x20"), responds()),
    Case("7541 6.3", "one larger than announced", lambda c: _before(c, b"\x3f\xe2\x1f"), FAULT),
]
