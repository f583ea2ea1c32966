"""What a worker is told of TLS, packed as csrc/layout/tls.h lays it out: settings and contents of files in, bytes out."""

from __future__ import annotations

from typing import NamedTuple

from lbcore._layout import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lbcore.config.settings import ListenerSettings, PoolSettings

LISTENER: int = ffi.integer_const("LB_TLS_LISTENER")
POOL: int = ffi.integer_const("LB_TLS_POOL")
TICKETS: int = ffi.integer_const("LB_TLS_TICKETS")
MOST_BYTES: int = ffi.integer_const("LB_TLS_MOST_BYTES")
MOST_KEYS: int = ffi.integer_const("LB_TICKET_KEYS")
_LAYOUT: int = ffi.integer_const("LB_TLS_LAYOUT")
_VERIFY = {
    "off": ffi.integer_const("LB_TLS_VERIFY_OFF"),
    "optional": ffi.integer_const("LB_TLS_VERIFY_OPTIONAL"),
    "required": ffi.integer_const("LB_TLS_VERIFY_REQUIRED"),
}
_VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}

OF_HTTPS: dict[str, tuple[str, ...]] = {"h2": ("h2",), "http/1.1": ("http/1.1", "http/1.0")}
"""What https agrees on, by the protocols of its listener, the best first: curl --http1.0 offers http/1.0 alone."""


class Certificate(NamedTuple):
    """The contents of a certificate's files: PEM, PEM, and DER or nothing."""

    chain: bytes
    key: bytes
    ocsp: bytes


class _Text:
    """The text behind the rows. It begins with a NUL, which is what absent texts point at."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.bytes = bytearray(b"\0")

    @property
    def end(self) -> int:
        """Where the bundle ends, so far."""
        return self._at + len(self.bytes)

    def put(self, piece: bytes) -> dict[str, int]:
        """A struct lb_tls_text."""
        if not piece:
            return {"at": self._at, "length": 0}
        place = self.end
        self.bytes += piece + b"\0"
        return {"at": place, "length": len(piece)}


def _packed(
    certificates: Sequence[Certificate], numbers: dict[str, int], texts: dict[str, bytes], context: bytes = b""
) -> bytes:
    """The bytes of a struct lb_tls_bundle and what belongs to it."""
    rows_at = ffi.sizeof("struct lb_tls_bundle")
    text = _Text(rows_at + len(certificates) * ffi.sizeof("struct lb_tls_certificate"))
    rows = [{name: text.put(getattr(entry, name)) for name in Certificate._fields} for entry in certificates]
    head: dict[str, Any] = {name: text.put(texts.get(name, b"")) for name in ("library", "ciphers", "alpn", "trusted", "name")}
    head |= {"layout": _LAYOUT, "bytes": text.end, "certificates": len(rows), "certificates_at": rows_at}
    head |= {"context": list(context), **numbers}
    parts = [ffi.new("struct lb_tls_bundle *", head), ffi.new("struct lb_tls_certificate[]", rows)]
    return b"".join(bytes(ffi.buffer(part)) for part in parts) + bytes(text.bytes)


def _of_https(listener: ListenerSettings) -> list[str]:
    return [name for protocol, names in OF_HTTPS.items() if protocol in listener.protocols for name in names]


def pack_listener(listener: ListenerSettings, certificates: Sequence[Certificate], client_ca: bytes, library: str) -> bytes:
    """The bundle of a listener that ends TLS. client_ca: PEM, b"" where no certificate of the client's is asked for."""
    http = listener.mode == "https"
    numbers = {
        "kind": LISTENER,
        "verify": _VERIFY[listener.client_cert or "off"],
        "min_version": _VERSIONS[listener.tls_min or "1.2"],
        "http": int(http),
    }
    texts = {
        "library": library.encode(),
        "ciphers": (listener.tls_ciphers or "").encode(),
        "alpn": _protocols(_of_https(listener) if http else listener.alpn or []),
        "trusted": client_ca,
    }
    return _packed(certificates, numbers, texts, _context(listener, client_ca))


def pack_pool(pool: PoolSettings, certificates: Sequence[Certificate], trusted: bytes, library: str) -> bytes:
    """The bundle of a pool that speaks TLS. certificates: our own, or none. trusted: PEM, b"": the system's."""
    numbers = {
        "kind": POOL,
        "verify": _VERIFY["required" if pool.tls_verify else "off"],
        "min_version": _VERSIONS["1.2"],
    }
    texts = {"library": library.encode(), "trusted": trusted, "name": (pool.tls_name or "").encode()}
    return _packed(certificates, numbers, texts)


def pack_tickets(keys: Sequence[bytes]) -> bytes:
    """The keys of session tickets, the newest first: each as a struct lb_ticket_key."""
    packed = ffi.new("struct lb_ticket_keys *", {"layout": _LAYOUT, "kind": TICKETS, "count": len(keys)})
    packed.bytes = ffi.sizeof("struct lb_ticket_keys")
    for at, key in enumerate(keys):
        ffi.memmove(ffi.addressof(packed.keys, at), key, ffi.sizeof("struct lb_ticket_key"))
    return bytes(ffi.buffer(packed))


def _protocols(names: Sequence[str]) -> bytes:
    """As ALPN has them: each after its length (RFC 7301 3.1)."""
    return b"".join(bytes([len(name)]) + name.encode() for name in names)


def _context(listener: ListenerSettings, client_ca: bytes) -> bytes:
    """A ticket is good only under the rules that it was given under: who checked whom, and where."""
    import hashlib

    return hashlib.sha256(b"\0".join([(listener.client_cert or "off").encode(), listener.name.encode(), client_ca])).digest()
