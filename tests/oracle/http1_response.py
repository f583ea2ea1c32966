"""Heads of HTTP/1 responses, read apart from csrc/l7/head.c and message.c.

Status line, fields, and where the body ends (RFC 9112 6.3). A proxy reads responses more leniently than requests. What is
allowed beyond RFC 9112: any blanks around the status and before a colon (5.1 asks for their removal), no blank before an empty
reason, a minor version above 1 (RFC 9110 2.5), a status up to 999, and a length that is repeated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]+[\t\x20-\x7e\x80-\xff]*)?")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
LENGTH = re.compile(rb"0{0,64}([0-9]{1,18})")


class Head(NamedTuple):
    """What a head says. length: of the body, where framing is "length"; else None. size: bytes of the head."""

    status: int
    fields: list[tuple[bytes, bytes]]
    framing: str
    length: int | None
    persistent: bool
    size: int

    def listed(self, name: bytes) -> list[bytes]:
        """The elements of all fields of a name, in lower case; an empty one where nothing stands between two commas."""
        return [one.strip(b" \t").lower() for key, value in self.fields if key.lower() == name for one in value.split(b",")]


def read(data: bytes, *, to_head: bool = False) -> Head | None:
    """The head that data begins with; None: it is faulty, not whole, or of a coding that we do not know. to_head: of a HEAD."""
    text, end, _ = data.partition(b"\r\n\r\n")
    lines = text.split(b"\r\n")
    first, rest = STATUS_LINE.fullmatch(lines[0]), [FIELD_LINE.fullmatch(line) for line in lines[1:]]
    if not end or first is None:
        return None
    fields = [match.groups() for match in rest if match]
    if len(fields) != len(rest):
        return None
    bare = Head(int(first[2]), fields, "", None, False, len(text) + len(end))  # type: ignore[arg-type]
    return _framed(bare, http_1_0=first[1] == b"0", to_head=to_head)


def _framed(head: Head, *, http_1_0: bool, to_head: bool) -> Head | None:
    lengths, codings = head.listed(b"content-length"), head.listed(b"transfer-encoding")
    values = {int(match[1]) for match in map(LENGTH.fullmatch, lengths) if match}
    if (lengths and codings) or codings not in ([], [b"chunked"]) or len(values) > 1 or not all(map(LENGTH.fullmatch, lengths)):
        return None
    length = values.pop() if values else None
    if to_head or head.status < 200 or head.status in (204, 304):
        framing = "none"
    elif codings:
        framing = "chunked"
    elif length is None:
        framing = "to end"
    else:
        framing = "length" if length else "none"
    options = head.listed(b"connection")
    keeps = b"close" not in options and (not http_1_0 or b"keep-alive" in options)
    return head._replace(
        framing=framing,
        length=length if framing == "length" else None,
        persistent=keeps and framing != "to end" and not (codings and http_1_0),
    )
