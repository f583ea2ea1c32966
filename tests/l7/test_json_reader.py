"""The reader of JSON bodies against Python's json, over documents that are drawn, cut at every place, and damaged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore import _engine

PATHS = [("model",), ("messages",), ("metadata", "tier"), ("a", "b", "c", "model")]
NAMES = st.sampled_from(["model", "messages", "metadata", "tier", "a", "b", "c", "", "é", "mödel", 'mo"del'])
TEXTS = (
    st.text(max_size=12) | st.text("llama-3", max_size=300) | st.sampled_from(["\ud834", "\udd1e\ud834", "𝄞", "\\u", "\x7f"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 1}, {"separators": (",", ":")}]


def kind_of(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return {str: "string", int: "number", float: "number", list: "array", dict: "object"}[type(value)]


def expected(document: object) -> dict[tuple[str, ...], tuple[str, bytes | None]]:
    """The kind at each path, and the word of strings that are short enough to be kept."""
    found = {}
    for path in PATHS:
        value = document
        for name in path:
            if not isinstance(value, dict) or name not in value:
                break
            value = value[name]
        else:
            word = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None
            found[path] = (kind_of(value), word if word is None or len(word) <= 256 else None)
    return found


def told(events: list[tuple[Any, ...]]) -> dict[tuple[str, ...], tuple[str, bytes | None]]:
    values = [event for event in events if event[0] == "value"]
    return {path: (kind, word if kind == "string" else None) for _, path, kind, word in values}


def strictly(text: bytes) -> object:
    """As Python's json reads it, but without its NaN and Infinity, and from UTF-8 alone. Raises ValueError."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text.decode(), parse_constant=refuse)


@given(document=VALUES | st.dictionaries(NAMES, VALUES), layout=st.sampled_from(LAYOUTS), ascii_only=st.booleans())
@settings(max_examples=250, deadline=None)
def test_the_values_that_python_finds_at_every_cut(document: object, layout: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, **layout)
    try:
        sent = text.encode()
    except UnicodeEncodeError:  # half a surrogate pair can only be written as an escape
        sent = json.dumps(document, **layout).encode()
    state, whole = _engine.read_json([sent], PATHS)
    assert (state, told(whole)) == ("whole", expected(document))
    for cut in range(1, len(sent)):
        assert _engine.read_json([sent[:cut], sent[cut:]], PATHS) == (state, whole)
    assert _engine.read_json([sent[i : i + 1] for i in range(len(sent))], PATHS) == (state, whole)


@given(document=st.dictionaries(NAMES, VALUES), size=st.integers(1, 9), layout=st.sampled_from(LAYOUTS))
@settings(max_examples=250, deadline=None)
def test_a_value_streams_as_it_is_written(document: dict[str, object], size: int, layout: dict[str, Any]) -> None:
    sent = json.dumps(document, **layout).encode()
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    state, events = _engine.read_json(pieces, PATHS, streams=[("messages",)])
    written = b"".join(event[2] for event in events if event[0] == "text")
    assert state == "whole"
    assert told(events) == expected(document)
    assert bool(written) == ("messages" in document)
    if written:
        assert json.dumps(json.loads(written)) == json.dumps(document["messages"])
        assert written in sent


@given(
    document=st.dictionaries(NAMES, VALUES),
    at=st.integers(0, 400),
    change=st.sampled_from(
        [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"\xff", b"\xed\xa0\x80", b"\n", b"\0"]
    ),
    gone=st.integers(0, 3),
)
@settings(max_examples=600, deadline=None)
def test_what_python_refuses_is_refused(document: dict[str, object], at: int, change: bytes, gone: int) -> None:
    sent = json.dumps(document).encode()
    at %= len(sent) + 1
    broken = sent[:at] + change + sent[at + gone :]
    try:
        strictly(broken)
        is_json = True
    except ValueError:
        is_json = False
    for pieces in ([broken], [broken[i : i + 1] for i in range(len(broken))]):
        assert (_engine.read_json(pieces, PATHS)[0] == "whole") == is_json


def test_a_name_that_comes_twice_is_told_before_its_value() -> None:
    """Python takes the last; others take the first: who decides by it must know."""
    sent = b'{"model": "a", "x": {"model": 1}, "mod\\u0065l": "b", "metadata": {"tier": 1}, "metadata": 2}'
    assert json.loads(sent)["model"] == "b"
    assert _engine.read_json([sent], PATHS)[1] == [
        ("value", ("model",), "string", b"a"),
        ("twice", ("model",)),
        ("value", ("model",), "string", b"b"),
        ("value", ("metadata", "tier"), "number", b"1"),
        ("twice", ("metadata", "tier")),
    ]


def test_a_text_that_nests_too_deep_is_not_read_on() -> None:
    assert _engine.read_json([b"[" * 128 + b"]" * 128], PATHS)[0] == "whole"
    assert _engine.read_json([b"[" * 129 + b"]" * 129], PATHS)[0] == "deep"
