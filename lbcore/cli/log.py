"""The control plane's lines on stderr: as text or as JSON, with a priority where the journal reads them."""

from __future__ import annotations

import json
import os
import re
import time

from lbcore import locks
from lbcore.observe.sinks import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lbcore.observe.sinks import Sink

FORMATS = ("text", "json")
ERROR, WARNING, INFO = 3, 4, 6
"""Of syslog(3); as "<3>" before a line the journal takes them for its PRIORITY (sd-daemon(3))."""
_LEVELS = {ERROR: "error", WARNING: "warning", INFO: "info"}
_ERRORS = re.compile(
    r"not reloaded|tick failed|worker \d+ (is gone|does not end|cannot be started)|admin: the server failed"
    r"|a worker cannot be told"
)
_WARNINGS = re.compile(
    r"-> down|lines were lost|is ignored|is not ejected|admin: refused |is taken|held up|has expired|stays in force|failed: "
    r"|no listener uses|cannot be left|could not be (written|opened)|is left alone|^state_file: \D"
)


def level(line: str) -> int:
    """How grave a line is, by its words: the parts that log know nothing of levels."""
    return ERROR if _ERRORS.search(line) else WARNING if _WARNINGS.search(line) else INFO


def is_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Does stderr lead to the journal? It says so itself, by device and inode (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Lines:
    """A callable that writes a line, from any thread, and never waits: lines that a full pipe or disk does not take are lost,
    and the next one that gets through is preceded by their number. A closed stderr is no reason to stop."""

    def __init__(self, form: str = "text", name: str = "lbcore") -> None:
        """form: of FORMATS. name: the balancer's, which JSON lines carry."""
        self._form, self._name = form, name
        self._journal = is_journal()
        self._lock = locks.lock("log")
        self._sink: Sink | None = None
        self._lost = 0
        try:
            self._sink = opened("stderr")
        except OSError:
            return

    def __call__(self, line: str) -> None:
        with self._lock:
            if self._lost and self._write(f"stderr: {self._lost} lines were lost, it took no more"):
                self._lost = 0
            self._lost += not self._write(line)

    def _write(self, line: str) -> bool:
        """Was it taken?"""
        if self._sink is None:
            return False
        grave = level(line)
        prefix = f"<{grave}>" if self._journal else ""
        data = f"{prefix}{self._shaped(line, grave)}\n".encode(errors="backslashreplace")
        try:
            return self._sink.write(data) > 0
        except OSError:
            return False

    def _shaped(self, line: str, grave: int) -> str:
        if self._form == "json":
            now = time.time()
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
            record = {"time": stamp, "level": _LEVELS[grave], "name": self._name, "pid": os.getpid(), "message": line}
            return json.dumps(record, ensure_ascii=False)
        if self._journal:  # which has a time and an identifier of its own
            return line.replace("\n", " ")
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} lbcore: {line}"
