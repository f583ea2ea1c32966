"""Backends that refuse requests, and clients that tell the statuses of what they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2_backends import Call
from h2_frames import DATA, END_STREAM, HEADERS, H2Client, frame
from http_peers import Client

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY = b"HTTP/1.1 503 Busy\r\nX-From: bad\r\nContent-Length: 4\r\n\r\nbusy"


def refused(status: str = "503", *fields: tuple[str, str]) -> Callable[[Call], None]:
    """A script of a backend of HTTP/2."""

    def script(call: Call) -> None:
        call.talk.send(
            call.talk.head(call.stream, (":status", status), ("content-length", "4"), *fields),
            frame(DATA, END_STREAM, call.stream, b"busy"),
        )

    return script


def statuses_by_http1(address: tuple[str, int], method: bytes, body: bytes | None, count: int) -> list[int]:
    """On one connection."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    with Client(address) as client:
        found = []
        for _ in range(count):
            client.send(method + b" / HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n" + (body or b""))
            found.append(client.answer(to_head=method == b"HEAD").status)
        return found


def statuses_by_http2(address: tuple[str, int], method: bytes, body: bytes | None, count: int) -> list[int]:
    """On one connection, ten at a time."""
    with H2Client(address) as client:
        found: list[int] = []
        for first in range(0, count, 10):
            open_streams = {2 * number + 1 for number in range(first, first + 10)}
            for stream in sorted(open_streams):
                client.ask(stream, method=method.decode(), body=body)
            while open_streams:
                got = client.receive()
                assert got is not None
                if got.kind == HEADERS:
                    found.append(int(dict(client.decoder.decode(got.payload))[":status"]))
                if got.kind in (HEADERS, DATA) and got.flags & END_STREAM:
                    open_streams.remove(got.stream)
        return found


CLIENTS = {"http/1.1": statuses_by_http1, "h2": statuses_by_http2}
