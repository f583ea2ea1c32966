"""The state file: which backends came at run time, so that a restart begins with them. Written whole or not at all."""

from __future__ import annotations

import json
import os
import threading
import time

from lbcore.log_once import LogOnce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMAT = 1
MAX_BYTES = 64 << 20
EVERY_S = 1.0


class StateFile:
    """Saves what `take` returns, at most once a second while `changed` is called, and with `close`. One thread of its own."""

    def __init__(self, path: str, take: Callable[[], list[dict[str, Any]]], log: Callable[[str], None]) -> None:
        self._path = path
        self._take = take
        self._log_once = LogOnce(log, "state_file")
        self._dirty = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to save."""
        self._thread = threading.Thread(target=self._run, name="lbcore-state", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Something is to be saved."""
        self._dirty.set()

    def close(self) -> None:
        """Save the last and end the thread."""
        if self._thread is not None:
            self._stopping.set()
            self._dirty.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._dirty.wait()
            self._dirty.clear()
            self._save()
            self._stopping.wait(EVERY_S)
        if self._dirty.is_set():
            self._save()

    def _save(self) -> None:
        draft = f"{self._path}.new"
        try:
            with open(draft, "w", encoding="utf-8", opener=_private) as file:
                json.dump({"format": FORMAT, "saved_at": time.time(), "backends": self._take()}, file)
            os.replace(draft, self._path)
        except OSError as error:
            self._log_once.tell(f"{self._path} cannot be written: {error.strerror or error}")
        else:
            self._log_once.tell("")


def load(path: str, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """The backends of a state file; none when it is missing or damaged: it never keeps a balancer from starting."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(MAX_BYTES))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        backends = document["backends"]
        return [entry for entry in backends if isinstance(entry, dict)] if isinstance(backends, list) else []
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        log(f"state_file: {path} is ignored: {error}")
        return []


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
