"""tests/c/ring_socket.c: one connection that a loop of the engine serves, as a sanitized program that is moved step by step."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Self

from c_programs import ROOT, compiled, link

if TYPE_CHECKING:
    from pathlib import Path

SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
IN, OUT, FAILED, HUNG_UP, PEER_ENDED = 0x1, 0x4, 0x8, 0x10, 0x2000
"""epoll(7): EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP."""


def build(directory: Path) -> list[str]:
    """The program's command."""
    sources = [*sorted((ROOT / "csrc/core").glob("*.c")), ROOT / "tests/c/ring_socket.c"]
    return link("gcc", SANITIZED, compiled("gcc", SANITIZED, sources, directory), directory / "ring_socket")


class RingSocket:
    """One run of the program. A step says "again", "end", "fail", "ok", or how many bytes it moved."""

    def __init__(self, command: list[str]) -> None:
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.close()
        status = self._program.wait(30)
        self._program.stdout.close()
        assert status == 0

    def step(self, *words: object) -> int | str:
        """Do it, and say what it came to."""
        assert self._program.stdin
        assert self._program.stdout
        line = " ".join(map(str, words))
        self._program.stdin.write(line + "\n")
        self._program.stdin.flush()
        said = self._program.stdout.readline().strip()
        assert said, f"the program ended at: {line}"
        return int(said) if said.isdigit() else said
