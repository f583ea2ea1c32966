"""The chunked coding, written apart from csrc/l7/chunked.c: the grammar of RFC 9112 7.1 as regular expressions."""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = rb'"(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
BWS = rb"[ \t]*"
EXTENSION = BWS + rb";" + BWS + TOKEN + rb"(?:" + BWS + rb"=" + BWS + rb"(?:" + TOKEN + rb"|" + QUOTED + rb"))?"
SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:" + EXTENSION + rb")*\r\n")
TRAILERS = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")


def read(body: bytes) -> tuple[bytes, int] | None:
    """The content and how many bytes it took; None where it is no whole body."""
    content, at = b"", 0
    while line := SIZE.match(body, at):
        size, at = int(line[1], 16), line.end()
        if not size:
            trailers = TRAILERS.match(body, at)
            return (content, trailers.end()) if trailers else None
        content += body[at : at + size]
        at += size
        if body[at : at + 2] != b"\r\n":
            return None
        at += 2
    return None
