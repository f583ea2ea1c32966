"""How a signal wakes the main thread that it interrupts."""

from __future__ import annotations

import contextlib
import os
import select
import signal


class Wakeup:
    """Wakes the main thread, from other threads and by every signal that has a handler. One a process.

    No lock and no `threading.Event`: a handler that sets an event waits for ever where it has interrupted that event's own
    `wait`, and a signal that comes just before a lock is waited for wakes nobody. So the interpreter's C handler writes into a
    pipe (`signal.set_wakeup_fd`), which is what `wait` looks at.
    """

    def __init__(self) -> None:
        """To be made in the main thread."""
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._reads, False)
        os.set_blocking(self._writes, False)
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)

    def call(self) -> None:
        """Wake whoever waits, or the next who does."""
        with contextlib.suppress(BlockingIOError):  # it is full of calls
            os.write(self._writes, b"\0")

    def wait(self, seconds: float | None = None) -> None:
        """Until there was a call or a signal since the last wait, or for so long at most."""
        select.select([self._reads], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reads, 4096):
                pass
