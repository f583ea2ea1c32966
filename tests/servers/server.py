"""One of the servers, as a process group of its own."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from harness import free_port, wait_for

from servers.group import Group
from servers.kinds import HERE

if TYPE_CHECKING:
    from servers.kinds import Kind

FOLDER = Path(__file__).parent
START_S = 30.0


class Server(Group):
    """Runs from the start on, and serves when `wait` is over."""

    def __init__(self, kind: Kind, python: str = HERE, options: tuple[str, ...] = (), **values: float) -> None:
        """options: of the kind; values: what is put into them."""
        self.kind, self.port = kind, free_port()
        line = kind.command(python, self.port, options, **values)
        super().__init__(line, FOLDER, {"PYTHONDONTWRITEBYTECODE": "1"})

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def is_up(self) -> bool:
        """Does it answer?"""
        assert self.process.poll() is None, f"{self.kind.name} ended"
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}{self.kind.get}"
            return bool(urllib.request.urlopen(url, timeout=2).status == 200)
        return False

    def wait(self) -> Server:
        """Until it serves."""
        try:
            wait_for(self.is_up, f"{self.kind.name} serves", START_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {self.said()}") from None
        return self

    def __enter__(self) -> Server:
        return self
