"""ClientHellos for tests: real ones, from Python's ssl, and their bytes cut into other records."""

from __future__ import annotations

import ssl
from collections.abc import Iterable


def client_hello(
    name: str | None = None,
    protocols: Iterable[str] = (),
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version, context.maximum_version = oldest, newest
    offered = list(protocols)
    if offered:
        context.set_alpn_protocols(offered)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def message(records: bytes) -> bytes:
    """The handshake message in these records."""
    joined, at = b"", 0
    while at < len(records):
        length = int.from_bytes(records[at + 3 : at + 5], "big")
        joined += records[at + 5 : at + 5 + length]
        at += 5 + length
    return joined


def in_records(joined: bytes, sizes: Iterable[int]) -> bytes:
    """A handshake message in records of these sizes, in turn; what is left over is the last record."""
    out, at = b"", 0
    for size in sizes:
        piece = joined[at : at + size]
        if not piece:
            break
        out += b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
        at += size
    if joined[at:]:
        out += b"\x16\x03\x01" + len(joined[at:]).to_bytes(2, "big") + joined[at:]
    return out
