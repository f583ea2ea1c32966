"""The directories in which running balancers leave word of themselves (lbcore.control.runtime).

Imports nothing of ours: `lbcore ready` is called every second by check scripts, and must start quickly.
"""

from __future__ import annotations

import os


def directory() -> str:
    """The runtime directory: $LBCORE_RUNTIME_DIR, $XDG_RUNTIME_DIR/lbcore, /run/lbcore for root, or /tmp/lbcore-UID."""
    explicit = os.environ.get("LBCORE_RUNTIME_DIR")
    if explicit:
        return explicit
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session:
        return os.path.join(session, "lbcore")
    return "/run/lbcore" if os.geteuid() == 0 else f"/tmp/lbcore-{os.geteuid()}"


def homes() -> list[str]:
    """Where balancers may have left word: the runtime directory, and unless one was named, those of systemd's units beside it
    (RuntimeDirectory=lbcore-NAME, which only root or this user can make there)."""
    own = directory()
    if os.environ.get("LBCORE_RUNTIME_DIR"):
        return [own]
    base = os.environ.get("XDG_RUNTIME_DIR") or "/run"
    try:
        found = sorted(name for name in os.listdir(base) if name == "lbcore" or name.startswith("lbcore-"))
    except OSError:
        found = []
    return [own, *(path for path in (os.path.join(base, name) for name in found) if path != own)]
