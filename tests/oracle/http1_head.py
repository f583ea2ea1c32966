"""Heads of HTTP/1 as others read them, which were written apart from ours: llhttp (by httptools) and h11.

Where these are narrower than RFC 9112 says, `llhttp_is_narrower` and `h11_is_narrower` name the difference.
"""

from __future__ import annotations

import h11
import httptools


class _Sink:
    """What llhttp says of a request."""

    def __init__(self) -> None:
        self.complete = False
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def by_llhttp(head: bytes) -> _Sink | None:
    """What llhttp makes of it; None when it refuses, or waits for more."""
    sink = _Sink()
    try:
        httptools.HttpRequestParser(sink).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return sink if sink.complete else None


def by_h11(head: bytes) -> h11.Request | None:
    """Likewise h11."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def llhttp_is_narrower(head: bytes) -> bool:
    """Where llhttp refuses what we take, and RFC 9112 is with us."""
    line = head.lstrip(b"\r\n").partition(b"\r\n")[0].split(b" ")
    methods = {b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"}
    lower = head.lower()
    return (
        line[0] not in methods  # llhttp knows a list of methods; any token is one (RFC 9110 9.1)
        or b"upgrade" in lower
        or b"\nproxy-connection" in lower
        or any(byte > 0x7E for byte in line[1])
        or b"chunked\t" in lower  # a tab may follow a value (RFC 9110 5.5)
    )


def h11_is_narrower(head: bytes, what: dict[str, object]) -> bool:
    """Where h11 refuses what we take: it has no empty line to spare, and its own mind about HTTP/1.0 and Expect."""
    return head.startswith(b"\r\n") or what["minor"] == 0 or b"\nexpect" in head.lower()
