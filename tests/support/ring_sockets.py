"""tests/c/ring_socket.c: one connection that a loop of the engine serves, as a sanitized program that is moved step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c_programs import ROOT, SANITIZED, Stepped, compiled, link

if TYPE_CHECKING:
    from pathlib import Path

IN, OUT, FAILED, HUNG_UP, PEER_ENDED = 0x1, 0x4, 0x8, 0x10, 0x2000
"""epoll(7): EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP."""


def build(directory: Path) -> list[str]:
    """The program's command."""
    sources = [*sorted((ROOT / "csrc/core").glob("*.c")), ROOT / "tests/c/ring_socket.c"]
    return link("gcc", SANITIZED, compiled("gcc", SANITIZED, sources, directory), directory / "ring_socket")


class RingSocket(Stepped):
    """One run of the program. A step says "again", "end", "fail", "ok", or how many bytes it moved."""

    def step(self, *words: object) -> int | str:
        """Do it, and say what it came to."""
        said = self.ask(" ".join(map(str, words)))
        assert said, words
        return int(said) if said.isdigit() else said
