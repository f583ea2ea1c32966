"""How a thread that waits on a selector is woken by others."""

from __future__ import annotations

import socket


class Bell:
    """Becomes readable with `ring`, until `heard`."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def fileno(self) -> int:
        """What to select on."""
        return self._ours.fileno()

    def ring(self) -> None:
        """Wake whoever waits. Any thread; never waits."""
        try:
            self._theirs.send(b"!")
        except OSError:
            return

    def heard(self) -> None:
        """However often it rang."""
        try:
            while self._ours.recv(4096):
                pass
        except OSError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()
