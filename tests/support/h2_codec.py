"""tests/c/h2_codec.c: the engine's HTTP/2 codec as a sanitized program that answers questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from c_programs import ROOT, SANITIZED, Stepped, compiled, link

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REMEMBER, FORGET, SECRET = range(3)
Field = tuple[bytes, bytes]


class Event(NamedTuple):
    """What a frame was read as; csrc/h2/frame_read.h says what the numbers are."""

    kind: str
    stream: int
    number: int
    value: int
    charge: int
    end_stream: int
    data: bytes


class Block(NamedTuple):
    """What a header block was read as."""

    fields: list[Field]
    never: set[bytes]
    """Names of the fields that nobody may index."""
    faults: list[str]
    """What else was said: resized, long, bad, no memory."""
    left: int
    """Bytes that were not used."""


def build(directory: Path) -> list[str]:
    """The program's command."""
    others = ("csrc/core/slab.c", "csrc/l7/h2/request.c", "csrc/l7/syntax.c", "tests/c/h2_codec.c")
    sources = [*sorted((ROOT / "csrc/h2").glob("*.c")), *(ROOT / other for other in others)]
    return link("gcc", SANITIZED, compiled("gcc", SANITIZED, sources, directory), directory / "h2_codec")


class Codec(Stepped):
    """One run of the program."""

    def _ask(self, question: str) -> list[str]:
        return self.ask(question).split()

    def renew(self) -> None:
        """Tables anew, on both sides; memory that was not given back ends the program."""
        self._ask("new")

    def read(self, block: bytes, cut: int = 0) -> Block:
        """Read a header block, `cut` bytes at a time."""
        *said, left = self._ask(f"read {cut} {block.hex()}")
        fields = [
            tuple(bytes.fromhex(part) for part in one.replace("!", "=").split("=")) for one in said if set(one) & set("=!")
        ]
        never = {bytes.fromhex(one.split("!")[0]) for one in said if "!" in one}
        return Block(
            [(name, value) for name, value in fields], never, [one for one in said if not set(one) & set("=!")], int(left)
        )

    def write(self, fields: Iterable[Field], keeping: int = REMEMBER) -> bytes:
        """A header block."""
        pairs = " ".join(f"{name.hex()}={value.hex()}" for name, value in fields)
        return bytes.fromhex("".join(self._ask(f"write {keeping} {pairs}")))

    def peer(self, table_bytes: int) -> None:
        """The peer announces a table size."""
        self._ask(f"peer {table_bytes}")

    def frames(self, data: bytes, *, server: bool = False, cut: int = 0) -> list[Event]:
        """What frames are read as, `cut` bytes at a time. server: a client's preface comes first."""
        events = []
        for one in self._ask(f"frames {int(server)} {cut} {data.hex()}"):
            kind, *numbers, tail = one.split(":")
            stream, number, value, charge, end_stream = map(int, numbers)
            events.append(Event(kind, stream, number, value, charge, end_stream, bytes.fromhex(tail)))
        return events

    def request(self, fields: Iterable[Field], *, end_stream: bool = True) -> bytes | str:
        """A request as HTTP/1.1 would say it, or in a word what is wrong with it."""
        pairs = " ".join(f"{name.hex()}={value.hex()}" for name, value in fields)
        said = self._ask(f"request {int(end_stream)} {pairs}")[0]
        return said if said in {"malformed", "ambiguous"} else bytes.fromhex(said)

    def framed(self, block: bytes, frame_bytes: int) -> bytes:
        """A header block as HEADERS and CONTINUATION of stream 1."""
        return bytes.fromhex("".join(self._ask(f"block {frame_bytes} {block.hex()}")))
