"""Application servers that people put behind a unix socket."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import PATIENCE_S, SLOWER, wait_for
from wsgi_servers import APP

from lbcore.discovery.reaching import local_target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = {
    "gunicorn": ["gunicorn", "app:wsgi", "--log-level", "error", "--bind", "unix:app.sock"],
    "gthread": ["gunicorn", "app:wsgi", "--log-level", "error", "--threads", "4", "--bind", "unix:app.sock"],
    "uvicorn": ["uvicorn", "app:app", "--log-level", "error", "--uds", "app.sock"],
}
"""Run in a directory with the application, each makes app.sock there."""


def listening(address: str) -> bool:
    """Does somebody listen on "unix:PATH"?"""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.connect(local_target(address))
        return True
    return False


@contextlib.contextmanager
def serving(server: str, directory: Path) -> Iterator[str]:
    """One of SERVERS: its address. It is stopped as its operator would stop it."""
    (directory / "app.py").write_text(APP)
    process = subprocess.Popen([sys.executable, "-m", *SERVERS[server]], cwd=directory, stdout=subprocess.DEVNULL)
    address = f"unix:{directory}/app.sock"
    try:
        wait_for(lambda: listening(address), f"{server} listens", 30)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S * SLOWER)
