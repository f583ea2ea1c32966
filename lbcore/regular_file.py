"""Files that settings name: read whole, up to a bound and without waiting; and what tells that one has changed."""

from __future__ import annotations

import os
import stat

Stamp = tuple[int, int, int, int]
"""What changes with a file, or with what a link leads to: device, inode, size and time."""


def stamp(path: str) -> Stamp:
    """Raises OSError."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_regular(path: str, most: int, in_words: str) -> bytes:
    """All bytes of a file, `most` at most, which is said as in_words. Raises OSError, or ValueError with what it is instead."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {in_words}")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO in the file's place would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
