"""An HTTP/1.1 request, and as much of its response as a probe judges (RFC 9112): at most 64 KiB of head and body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lbcore.discovery.reaching import MOST_BYTES, ProbeFailed

if TYPE_CHECKING:
    from lbcore.config.settings import ProbeSettings
    from lbcore.discovery.reaching import Talk

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: .*)?")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


async def http(talk: Talk, probe: ProbeSettings, host: str) -> None:
    """Ask, and judge status and body. Raises ProbeFailed.

    host: what the Host header says, unless `probe.headers` does.
    """
    status, fields = await _good_head(talk, probe, host)
    if probe.body is not None and probe.body.encode() not in await _body(talk, status, fields):
        raise ProbeFailed(f"the body lacks {probe.body!r}")


async def fetch(talk: Talk, probe: ProbeSettings, host: str, most: int) -> bytes:
    """Ask, and give the whole body of a good response: at most so many bytes. Raises ProbeFailed."""
    status, fields = await _good_head(talk, probe, host)
    body = await _body(talk, status, fields, most + 1)
    if len(body) > most:
        raise ProbeFailed(f"the response is longer than {most} bytes")
    if len(body) < int(fields.get(b"content-length", b"0")) and b"transfer-encoding" not in fields:
        raise ProbeFailed("the response broke off")
    return body


async def _good_head(talk: Talk, probe: ProbeSettings, host: str) -> tuple[int, dict[bytes, bytes]]:
    talk.send(_request(probe, host))
    status, fields = await _head(talk)
    while 100 <= status < 200:
        status, fields = await _head(talk)
    if not probe.is_good(status):
        raise ProbeFailed(f"status {status}")
    return status, fields


def _request(probe: ProbeSettings, host: str) -> bytes:
    fields = {"Host": host, "User-Agent": "lbcore-probe", "Accept": "*/*", "Connection": "close"}
    given = {name.lower() for name in probe.headers}
    shown = [(name, value) for name, value in fields.items() if name.lower() not in given]
    shown += [(name, value.reveal()) for name, value in probe.headers.items()]
    shown.sort(key=lambda field: field[0].lower() != "host")  # Host first (RFC 9110 7.2)
    lines = [f"{probe.method} {probe.path} HTTP/1.1", *(f"{name}: {value}" for name, value in shown)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def _head(talk: Talk) -> tuple[int, dict[bytes, bytes]]:
    """Status and header fields, names in lower case."""
    try:
        first = _STATUS_LINE.fullmatch(await talk.line())
    except ProbeFailed as failure:
        raise ProbeFailed(f"no HTTP response: {failure}") from None
    if first is None:
        raise ProbeFailed("no HTTP response: the status line is wrong")
    fields: dict[bytes, bytes] = {}
    size = 0
    while line := await talk.line():
        size += len(line)
        name, colon, value = line.partition(b":")
        if not colon or size > MOST_BYTES:
            raise ProbeFailed("no HTTP response: its head is wrong or too long")
        fields[name.strip().lower()] = value.strip()
    return int(first[1]), fields


async def _body(talk: Talk, status: int, fields: dict[bytes, bytes], most: int = MOST_BYTES) -> bytes:
    """The beginning of the body: at most so many bytes."""
    if status in (204, 304):
        return b""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        return await _chunks(talk, most)
    length = fields.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 15):
        raise ProbeFailed("no HTTP response: its Content-Length is wrong")
    return await _beginning(talk, most if length is None else min(int(length), most))


async def _beginning(talk: Talk, room: int) -> bytes:
    """So many bytes, or what there is up to the end."""
    found = b""
    while len(found) < room and (piece := await talk.reader.read(room - len(found))):
        found += piece
    return found


async def _chunks(talk: Talk, most: int) -> bytes:
    found = b""
    while len(found) < most:
        size = _SIZE.match(await talk.line())
        if size is None:
            raise ProbeFailed("no HTTP response: a chunk's size is wrong")
        count = int(size[0], 16)
        if not count:
            break
        room = min(count, most - len(found))
        found += await _beginning(talk, room)
        if room == count:
            await talk.line()
    return found
