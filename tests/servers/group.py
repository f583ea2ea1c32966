"""A process group: a program, and all that it starts, which end together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Group:
    """Runs from the start on. exit_s: seconds from SIGTERM to the end of its first process; None: it has not ended."""

    def __init__(self, line: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
        """env: beside what this process has."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the group
        self.exit_s: float | None = None
        self.process = subprocess.Popen(
            line,
            cwd=cwd,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def said(self) -> str:
        """The end of its output."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-600:].strip()

    def terminate(self) -> None:
        """SIGTERM to its first process, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        threading.Thread(target=self._watch_exit, args=(time.monotonic(),), daemon=True).start()

    def _watch_exit(self, since: float) -> None:
        self.process.wait()
        self.exit_s = round(time.monotonic() - since, 1)

    def close(self) -> None:
        """End the group: workers, too, that outlived the first process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._said.close()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
