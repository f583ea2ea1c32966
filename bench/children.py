"""Child processes that never outlive the run: each is ended by its own pid, with the processes it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ChildFailed(Exception):
    """A child ended early, or did not get ready in time. Its last words are in the text."""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _stat(pid: int) -> tuple[int, int] | None:
    """(parent, start time in clock ticks) of a live process; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), int(fields[19]))


def descendants(pid: int) -> list[int]:
    """All live processes below `pid`, nearest first, without itself."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            below.setdefault(stat[0], []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        children = sorted(below.get(queue.pop(0), []))
        found += children
        queue += children
    return found


class Child:
    """A started command in a session of its own (a ctrl-C reaches only the benchmark, which then ends it)."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; stdout is a pipe, stderr goes to `log`, `env` adds to the environment. Raises OSError."""
        self.command = list(command)
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.pid = self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises ChildFailed when it has ended."""
        if not self.alive():
            raise ChildFailed(f"{self.command[0]} ended with code {self._process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it wrote to stderr, on one line."""
        text = self.log.read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-3:]) or "(it wrote nothing)"

    def read_line(self, timeout_s: float) -> str:
        """The next line of its stdout. Raises ChildFailed at the deadline or at its end."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        os.set_blocking(fd, False)
        deadline = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.command[0]} wrote no line within {timeout_s:g} s: {self.last_words()}")
            with contextlib.suppress(BlockingIOError):
                piece = os.read(fd, 1)
                if not piece:
                    self._process.wait(5)
                    self.check()
                line += piece
                continue
            time.sleep(0.005)
        return line.decode(errors="replace").strip()

    def stop(self, grace_s: float = 3.0) -> None:
        """TERM, then KILL after `grace_s` seconds; and the same for what it started and left behind."""
        tree = {pid: stat[1] for pid in descendants(self.pid) if (stat := _stat(pid))}
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdout:
                self._process.stdout.close()
            _end_left_behind(tree, grace_s)


def _still(tree: dict[int, int]) -> list[int]:
    """Those of `tree` (pid → start time) that are still the same live process."""
    return [pid for pid, started in tree.items() if (stat := _stat(pid)) and stat[1] == started]


def _end_left_behind(tree: dict[int, int], grace_s: float) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + grace_s
        while _still(tree) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in _still(tree):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """A child for the length of a with block."""
    child = Child(command, log, cwd=cwd, env=env)
    try:
        yield child
    finally:
        child.stop()
