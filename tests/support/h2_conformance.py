"""What a server of HTTP/2 is to do, as cases: what a client sends, and what must come of it. `judge` runs one of them.

The cases are in h2_cases_*.py, by section of RFC 9113 and RFC 7541; sections 5.3.1 and 6.3 of PRIORITY are those of RFC 7540.
They cover what h2spec 2.6.0 asks in its groups generic, http2 and hpack. Against any server that answers "/" with five bytes or
more: `python tests/support/h2_conformance.py HOST PORT [--tls] [--strict]`.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import TYPE_CHECKING, NamedTuple

from h2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    NO_ERROR,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Frame,
    H2Client,
    frame,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PING_DATA = b"8 bytes!"
PONG = frame(PING, 0, 0, PING_DATA)
WHOLE = END_STREAM | END_HEADERS


class Talker(H2Client):
    """A connection whose requests name the server as it is reached."""

    def __init__(self, sock: socket.socket, *, scheme: str, authority: str) -> None:
        self.base: tuple[tuple[str, str], ...] = (
            (":method", "GET"),
            (":scheme", scheme),
            (":path", "/"),
            (":authority", authority),
        )
        super().__init__(("", 0), greet=False, sock=sock)

    def greet(self) -> None:
        """Preface and settings, both sides' acknowledged."""
        self.send(PREFACE, settings((INITIAL_WINDOW_SIZE, 65535)))
        assert self.until(lambda got: got.kind == SETTINGS and not got.flags & ACK), "no SETTINGS"
        self.send(frame(SETTINGS, ACK))
        while not any(got.flags & ACK for got in self.all_of(SETTINGS)):
            assert self.receive(), "SETTINGS were not acknowledged"

    def fields(self, *more: tuple[str, str], method: str = "GET", without: str = "") -> bytes:
        """The header block of a request."""
        base = [(name, method if name == ":method" else value) for name, value in self.base if name != without]
        return self.block(*base, *more)

    def ask_for(self, *more: tuple[str, str], flags: int = WHOLE, stream: int = 1, method: str = "GET") -> bytes:
        """The HEADERS frame of a request."""
        return frame(HEADERS, flags, stream, self.fields(*more, method=method))

    def post(self, *more: tuple[str, str]) -> bytes:
        """That of one whose body follows."""
        return self.ask_for(*more, flags=END_HEADERS, method="POST")

    def acknowledged(self, *pairs: tuple[int, int]) -> None:
        """New settings, and their acknowledgement."""
        self.send(settings(*pairs))
        assert self.until(lambda got: got.kind == SETTINGS and bool(got.flags & ACK))

    def ended(self, stream: int = 1) -> None:
        """Wait for the end of a response."""
        assert self.until(lambda got: got.stream == stream and got.kind in (DATA, HEADERS) and bool(got.flags & END_STREAM))


Wanted = tuple[str, "Callable[[Frame], bool] | None"]
"""What to wait for, in words, and the frame; None: the end of the connection."""


class Case(NamedTuple):
    """One of them."""

    section: str
    what: str
    sends: Callable[[Talker], bytes]  # what is sent last; what comes before, it sends itself
    wanted: tuple[Wanted, ...]  # any of these
    greets: bool = True

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.section} {self.what}"


# --- what may be expected -----------------------------------------------------------------------------------------------


def _goes(code: int) -> Wanted:
    return f"GOAWAY({code})", lambda got: got.kind == GOAWAY and got.number == code


def _resets(code: int) -> Wanted:
    return f"RST_STREAM({code})", lambda got: got.kind == RST_STREAM and got.number == code


CLOSED: Wanted = ("the connection is closed", None)


def connection(*codes: int) -> tuple[Wanted, ...]:
    """A connection error."""
    return tuple(_goes(code) for code in codes)


def stream(*codes: int) -> tuple[Wanted, ...]:
    """A stream error; a connection error of the same code will do (RFC 9113 5.4.2)."""
    return tuple(_resets(code) for code in codes) + connection(*codes)


def responds(number: int = 1) -> tuple[Wanted, ...]:
    """A response begins."""
    return (("HEADERS", lambda got: got.kind == HEADERS and got.stream == number),)


def data(length: int) -> tuple[Wanted, ...]:
    """The first DATA frame has so many bytes."""
    return ((f"DATA of {length} bytes", lambda got: got.kind == DATA and len(got.payload) == length),)


PONGED: tuple[Wanted, ...] = (
    ("PING with ACK", lambda got: got.kind == PING and bool(got.flags & ACK) and got.payload == PING_DATA),
)
PONGED_OR_CLOSED = (*PONGED, CLOSED)
SETTLED: tuple[Wanted, ...] = (("SETTINGS with ACK", lambda got: got.kind == SETTINGS and bool(got.flags & ACK)),)
FIRST_SETTINGS: tuple[Wanted, ...] = (("SETTINGS", lambda got: got.kind == SETTINGS and not got.flags & ACK),)


def judge(case: Case, client: Talker, *, strict: bool) -> None:
    """AssertionError: the server does something else. strict: a connection that just ends is no answer to a fault."""
    if case.greets:
        client.greet()
    known = len(client.frames)
    client.send(case.sends(client))
    wanted = [seen for _, seen in case.wanted if seen]
    faults = any(word.startswith("GOAWAY") for word, _ in case.wanted)
    got = next((it for it in client.frames[known:] if any(seen(it) for seen in wanted)), None)
    while got is None:
        it = client.receive()
        if it is None:
            ends = any(seen is None for _, seen in case.wanted) or (faults and not strict)
            assert ends, ("the connection ended; expected", [word for word, _ in case.wanted], client.frames[-4:])
            return
        got = it if any(seen(it) for seen in wanted) else None
        wrong = it.kind == DATA and any(word.startswith("DATA") for word, _ in case.wanted) and got is None
        assert not wrong, ("expected", [word for word, _ in case.wanted], it)
    if strict and got.kind == GOAWAY and got.number != NO_ERROR:
        assert client.until(lambda it: False) is None, "closed behind GOAWAY (5.4.1)"


# --- by hand --------------------------------------------------------------------------------------------------------------


def dial(host: str, port: int, *, tls: bool, patience_s: float = 2) -> Talker:
    """A connection to any server, its certificate not verified."""
    sock = socket.create_connection((host, port), 5)
    sock.settimeout(patience_s)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        sock = context.wrap_socket(sock, server_hostname=host)
    return Talker(sock, scheme="https" if tls else "http", authority=f"{host}:{port}")


def _main(host: str, port: str, *more: str) -> int:
    from h2_cases_accepted import ACCEPTED
    from h2_cases_compression import COMPRESSION
    from h2_cases_faults import FAULTS

    failed = 0
    cases = [*ACCEPTED, *FAULTS, *COMPRESSION]
    for case in cases:
        with dial(host, int(port), tls="--tls" in more) as client:
            try:
                judge(case, client, strict="--strict" in more)
            except (AssertionError, OSError) as error:
                failed += 1
                print(f"failed: {case.name}: {error}")
    print(f"{len(cases) - failed} of {len(cases)} passed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
