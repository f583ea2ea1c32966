"""gRPC-Web as a browser says it: messages, trailers as one more of them, all of it in base64 or not."""

from __future__ import annotations

import base64
import struct
from typing import NamedTuple

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"
_TRAILERS = 0x80


class WebResponse(NamedTuple):
    """What a call came to."""

    messages: list[bytes]
    trailers: dict[str, str]
    """Of the last message, or of the head where there is no body."""


def message(content: bytes) -> bytes:
    """One message of gRPC."""
    return struct.pack(">BI", 0, len(content)) + content


def asked(kind: str, *contents: bytes) -> bytes:
    """A request's body."""
    raw = b"".join(message(content) for content in contents)
    return base64.b64encode(raw) if "-text" in kind else raw


def decoded(kind: str, body: bytes) -> bytes:
    """Text may be padded wherever its sender had to flush, so it is read in groups of four."""
    if "-text" not in kind:
        return body
    assert len(body) % 4 == 0
    return b"".join(base64.b64decode(body[at : at + 4], validate=True) for at in range(0, len(body), 4))


def heard(head: dict[str, str], body: bytes) -> WebResponse:
    """A whole response. head: its fields, in lower case."""
    kind = head["content-type"]
    assert kind.startswith("application/grpc-web"), head
    raw, messages = decoded(kind, body), []
    if "grpc-status" in head:
        assert not raw
        return WebResponse([], head)
    while raw:
        flags, length = struct.unpack(">BI", raw[:5])
        content, raw = raw[5 : 5 + length], raw[5 + length :]
        assert len(content) == length
        if flags == _TRAILERS:
            assert not raw, "trailers are the last message"
            lines = content.decode().removesuffix("\r\n").split("\r\n")
            return WebResponse(messages, dict(line.split(": ", 1) for line in lines))
        assert flags == 0
        messages.append(content)
    raise AssertionError(f"no trailers: {messages}")
