"""The order of the control plane's locks: whoever holds one may only take those that stand after it.

Each lock is made here, by its level. With LBCORE_CHECK_LOCKS=1 in the environment, as in the tests, a lock that is taken looks
at what its thread holds, and raises LockOrderBroken; without it these are the locks of `threading` as they are.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ORDER = (
    "upgrade",  # cli: from the question whether the next version can take over until its workers serve
    "reload",  # a reload after the other
    "balancer",  # start, stop, and the part of a reload that changes anything
    "replacement",  # workers are replaced one after the other
    "workers",  # slots and listeners
    "workers_changed",  # what workers have said: conditions wait on it
    "membership",  # backends and their evidence
    "table",  # the shared segment's only writer
    "names",  # the thread that follows host names is begun
    "picks",  # a process's own picks
    "shortages",
    "access_log",
    "registration",  # of a backend, in its own process
    "log",
)
"""The outermost first."""

broken: list[str] = []
"""What was wrong in this process, for tests: a thread of ours may have lived through it."""


def _checked() -> bool:
    return os.environ.get("LBCORE_CHECK_LOCKS", "0") not in ("", "0")


class LockOrderBroken(RuntimeError):
    """A lock was to be taken under one that stands after it: two threads that do so wait for each other some day."""


class _Held(threading.local):
    """Of a thread: the locks that it holds, in the order in which it took them."""

    def __init__(self) -> None:
        self.locks: list[CheckedLock] = []


_held = _Held()


class CheckedLock:
    """A lock that knows its level."""

    def __init__(self, level: str, inner: Any) -> None:
        self.level = level
        self._at = ORDER.index(level)
        self._inner = inner

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of `threading.Lock`. Raises LockOrderBroken; who does not wait cannot wait for ever, and is not checked."""
        if blocking:
            self._check()
        taken: bool = self._inner.acquire(blocking, timeout)
        if taken:
            _held.locks.append(self)
        return taken

    def _check(self) -> None:
        if self in _held.locks:
            return  # one that may be taken again; of another kind the second try waits for ever, as it would without us
        above = next((lock for lock in _held.locks if lock._at >= self._at), None)
        if above is not None:
            broken.append(f"{self.level} is taken under {above.level}")
            raise LockOrderBroken(broken[-1])

    def release(self) -> None:
        """As of `threading.Lock`."""
        self._inner.release()
        if self in _held.locks:  # a Lock may be released by another thread
            at = len(_held.locks) - 1 - _held.locks[::-1].index(self)
            del _held.locks[at]

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        """For Condition."""
        return self in _held.locks


def lock(level: str) -> Any:
    """A `threading.Lock` of a level of ORDER."""
    return CheckedLock(level, threading.Lock()) if _checked() else threading.Lock()


def rlock(level: str) -> Any:
    """A `threading.RLock` of a level of ORDER."""
    return CheckedLock(level, threading.RLock()) if _checked() else threading.RLock()


def condition(level: str) -> threading.Condition:
    """A condition whose lock is of a level of ORDER. Its lock is taken once."""
    return threading.Condition(lock(level))
