"""What the control plane and a worker say to each other: the kinds of notes and their form, as csrc/layout/notes.h has them."""

from __future__ import annotations

from typing import NamedTuple

from lbcore._layout import ffi

LISTEN: int = ffi.integer_const("LB_NOTE_LISTEN")
UNLISTEN: int = ffi.integer_const("LB_NOTE_UNLISTEN")
DRAIN: int = ffi.integer_const("LB_NOTE_DRAIN")
STOP: int = ffi.integer_const("LB_NOTE_STOP")
WAKE: int = ffi.integer_const("LB_NOTE_WAKE")
TLS: int = ffi.integer_const("LB_NOTE_TLS")
SUCCEED: int = ffi.integer_const("LB_NOTE_SUCCEED")
MOVE: int = ffi.integer_const("LB_NOTE_MOVE")
READY: int = ffi.integer_const("LB_NOTE_READY")
LISTENING: int = ffi.integer_const("LB_NOTE_LISTENING")
REFUSED: int = ffi.integer_const("LB_NOTE_REFUSED")
FAILING: int = ffi.integer_const("LB_NOTE_FAILING")
CLOSED: int = ffi.integer_const("LB_NOTE_CLOSED")
SHORTAGE: int = ffi.integer_const("LB_NOTE_SHORTAGE")

GENTLY: int = ffi.integer_const("LB_DRAIN_GENTLY")
"""The id of a DRAIN that lets idle clients ask once more."""
ITS_OWN: int = ffi.integer_const("LB_LISTEN_OWN")
"""In the value of a LISTEN: no one else has the socket: the worker shuts it down when nobody is to serve it any more."""
SESSIONS_FIRST: int = ffi.integer_const("LB_LISTEN_SESSIONS_FIRST")
"""In the value of a LISTEN of datagrams: the worker reads nothing before it has the sessions of the one that it replaces."""
CONNECTS: int = ffi.integer_const("LB_FAILING_CONNECTS")
RESPONSES: int = ffi.integer_const("LB_FAILING_RESPONSES")

MOST_BYTES: int = max(ffi.sizeof("struct lb_note"), ffi.sizeof("struct lb_refusal"))
"""Of a note."""


class Note(NamedTuple):
    """What a worker says to us, or is told. whole: its bytes, more than kind, id and value where the kind has more to say."""

    kind: int
    id: int
    value: int
    descriptor: int | None
    whole: bytes


def packed(kind: int, id: int, value: int) -> bytes:
    """A note as it goes over the channel."""
    return bytes(ffi.buffer(ffi.new("struct lb_note *", (kind, id, value))))


def unpacked(whole: bytes, descriptor: int | None) -> Note:
    """A note as it came. descriptor: what came with it."""
    note = ffi.cast("struct lb_note *", ffi.from_buffer(whole))
    return Note(note.kind, note.id, note.value, descriptor, whole)


def refusal_words(note: Note) -> str:
    """Who was refused by a REFUSED, and why: one line, of printable characters."""
    import ipaddress  # only when it is needed: it takes its time

    refusal = ffi.new("struct lb_refusal *")
    ffi.memmove(refusal, note.whole[: ffi.sizeof("struct lb_refusal")], min(len(note.whole), ffi.sizeof("struct lb_refusal")))
    ip = ipaddress.IPv6Address(bytes(refusal.ip))
    host = str(ip.ipv4_mapped) if ip.ipv4_mapped else f"[{ip}]"
    why = bytes(ffi.buffer(refusal.words)).partition(b"\0")[0].decode("ascii", "replace")
    others = f" (and {note.value} others before it)" if note.value else ""
    whom = f"{host}:{refusal.port}" if int(ip) else "at a unix socket"
    return f"client {whom} is refused: {why}{others}"
