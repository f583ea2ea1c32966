"""Files of an ACME client: written whole or not at all, and for nobody else to read."""

from __future__ import annotations

import contextlib
import os
import tempfile


def keep(path: str, data: bytes) -> None:
    """In the place of what was there, with mode 0600, in a folder with mode 0700. Raises OSError."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor, made = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise


def kept(path: str) -> bytes | None:
    """What is there; None: nothing. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except FileNotFoundError:
        return None
