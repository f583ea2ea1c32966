"""Where running balancers leave word of themselves, so that commands find them by name.

In one directory, private to the user: NAME.json says where, NAME.sock is the control socket, and NAME.lock is locked (flock) as
long as the balancer lives, so that what a crash left behind is told from what is true.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time

from lbcore.config.options import DEFAULT_NAME
from lbcore.control.homes import directory, homes
from lbcore.errors import LbcoreError, NameTaken, NotRunning
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_NAMESAKES = 1000
MEMORY = "/memfd:lbcore (deleted)"
"""How /proc shows the memory that lbcore.engine.segment.make_memory makes."""


def settle(uid: int, gid: int) -> None:
    """Make the directory that of a user whom root is about to become, and that of this process from now on.

    Raises LbcoreError when balancers of another user live there.
    """
    path = directory()
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        _give(path, uid, gid)
    except OSError as error:
        raise LbcoreError(f"runtime directory {path}: {error.strerror}") from None
    os.environ["LBCORE_RUNTIME_DIR"] = path


def _give(path: str, uid: int, gid: int) -> None:
    """Root gives a directory to another user, unless somebody lives there; what the dead left in it goes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid == uid:
            return
        if os.stat(os.path.dirname(os.path.abspath(path))).st_uid != 0:
            raise LbcoreError(f"runtime directory {path}: is another user's, and lies in a directory that is not root's")
        found = sorted(os.listdir(fd))
        living = [name[:-5] for name in found if name.endswith(".json") and is_inhabited(name[:-5], path)]
        if living:
            raise LbcoreError(
                f"runtime directory {path}: balancers of another user run there ({', '.join(living)}): set LBCORE_RUNTIME_DIR"
            )
        for name in found:
            if name.endswith((".json", ".sock", ".lock", ".json.new")):
                os.unlink(name, dir_fd=fd)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def is_inhabited(name: str, home: str | None = None) -> bool:
    """Does a balancer of that name run, or do its workers? home: only of those that left word there."""
    word = _word(name) if home is None else _read(os.path.join(home, f"{name}.json"))
    return word is not None and (is_alive(word) or bool(orphans(name)))


def _make_directory() -> str:
    """The directory, made if need be. Raises LbcoreError when somebody else could tamper with it."""
    path = directory()
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.geteuid() == 0:  # it may have been that of a user whom a balancer of root's became
            _give(path, 0, 0)
        found = os.lstat(path)
    except OSError as error:
        raise LbcoreError(f"runtime directory {path}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise LbcoreError(f"runtime directory {path}: must be a directory of this user that no other can write")
    return path


class Instance:
    """A name that this process holds. `release()` gives it up and removes the files."""

    def __init__(self, name: str, path: str, lock: int) -> None:
        self.name = name
        self._path = path
        self._lock = lock
        self._began = time.time()
        self.upgrade: dict[str, Any] = {}
        """How an upgrade goes that made this control plane: `done`, or `error` in words; empty while it goes on."""

    @classmethod
    def claim(cls, name: str) -> Instance:
        """Take a name. The default name gives way to "lbcore-2", "lbcore-3", ...; another that is taken raises NameTaken."""
        path = _make_directory()
        if len(os.path.join(path, f"{name}.sock")) > 107:
            raise LbcoreError(f"runtime directory {path}: too long for a unix socket in it (at most 107 bytes)")
        names = [name]
        if name == DEFAULT_NAME:
            names += [f"{name}-{number}" for number in range(2, MOST_NAMESAKES)]
        for candidate in names:
            lock = _try_lock(os.path.join(path, f"{candidate}.lock"))
            if lock is not None:
                return cls(candidate, path, lock)
        holder = _read(os.path.join(path, f"{name}.json")) or {}
        raise NameTaken(f"name: {name!r} is in use by process {holder.get('pid', 'unknown')}")

    def _file(self, extension: str) -> str:
        return f"{self.stem}.{extension}"

    @property
    def stem(self) -> str:
        """What the names of all its files begin with."""
        return os.path.join(self._path, self.name)

    @property
    def control_path(self) -> str:
        """Where its control socket belongs."""
        return self._file("sock")

    def publish(
        self, *, segment: str, admin: str | None, workers: list[int], sources: bool = False, cluster: bool = False
    ) -> None:
        """Say where everything is. Written whole or not at all. sources, cluster: is there more to ask than the segment has?"""
        word = {
            "name": self.name,
            "pid": os.getpid(),
            "version": VERSION,
            "segment": segment,
            "admin": admin,
            "control": self.control_path,
            "workers": workers,
            "sources": sources,
            "cluster": cluster,
            "began": self._began,
            "upgrade": self.upgrade,
        }
        draft = self._file("json.new")
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            json.dump(word, file)
        os.replace(draft, self._file("json"))

    def leave(self) -> None:
        """Let the name go, and leave the files of the one before, whose workers go on."""
        os.close(self._lock)

    def disown(self) -> None:
        """In a forked child: the name stays its parent's, and is free when that one ends."""
        os.close(self._lock)

    def release(self) -> None:
        """Remove the files and let the name go."""
        for extension in ("json", "sock", "lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file(extension))
        os.close(self._lock)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _try_lock(path: str) -> int | None:
    """A locked descriptor of the file at this path, or None when another process holds it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        # its last holder may have unlinked the file between our open and our lock
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
        os.close(fd)


def _read(path: str) -> dict[str, Any] | None:
    """A word as it was left, with the directory that it was left in."""
    try:
        with open(path, encoding="utf-8") as file:
            word = json.load(file)
    except (OSError, ValueError):
        return None
    return {**word, "home": os.path.dirname(path)} if isinstance(word, dict) else None


def is_alive(word: dict[str, Any]) -> bool:
    """Does the process that left this word still run?"""
    try:
        os.kill(int(word["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError, TypeError):
        return False
    home = str(word.get("home") or directory())
    return _is_of_owner(int(word["pid"]), home) and os.path.exists(segment_of_word(word))


def _is_of_owner(pid: int, home: str) -> bool:
    """Is it a process of the directory's user that still runs? Of nobody else a word is believed, least of all by root."""
    try:
        owner = os.stat(home).st_uid
        with open(f"/proc/{pid}/status") as file:
            found = {key: rest.split()[0] for key, _, rest in (line.partition(":") for line in file) if rest.strip()}
    except OSError:
        return False
    return found["Uid"] == str(owner) and found["State"] not in "ZX"  # dead, and its parent has not looked yet


def segment_of_word(word: dict[str, Any]) -> str:
    """A path to the segment: where its control plane holds it, or, when that process may not be looked into (it has a
    capability that we have not: ptrace(2)) or has become another by exec and has something else there, where a worker does."""
    path = str(word.get("segment"))
    if not _is_segment(path):
        for pid in word.get("workers", ()):
            path = _segment_path(int(pid)) or path
    return path


def _word(name: str) -> dict[str, Any] | None:
    """The word of a balancer of that name, wherever it is; of one that lives, if there are several."""
    words = [word for word in (_read(os.path.join(home, f"{name}.json")) for home in homes()) if word is not None]
    return next((word for word in words if is_alive(word)), words[0] if words else None)


def chosen(name: str | None = None) -> str:
    """A name as a command means it: without one, the only balancer that runs. Raises NotRunning or LbcoreError."""
    if name is not None:
        return name
    found = sorted({name for home in homes() for name in _names_in(home) if is_inhabited(name)})
    if not found:
        raise NotRunning("no balancer is running")
    if len(found) > 1:
        raise LbcoreError(f"several balancers run: name one of {', '.join(found)}")
    return found[0]


def find(name: str = DEFAULT_NAME) -> dict[str, Any]:
    """The word that a running balancer left: name, pid, segment, admin, control, workers, version. Raises NotRunning."""
    word = _word(name)
    if word is None or not is_alive(word):
        others = [other for other in names() if other != name]
        hint = f" (running: {', '.join(others)})" if others else ""
        raise NotRunning(f"no balancer named {name!r} is running{hint}")
    return word


def segment_of(name: str = DEFAULT_NAME) -> str:
    """A path to the segment of that balancer: its own, or, when it is gone, one that its workers hold. Raises NotRunning."""
    word = _word(name)
    for pid in orphans(name):
        path = _segment_path(pid)
        if path is not None:
            return path
    if word is None or not is_alive(word):
        find(name)  # says what runs instead
    assert word is not None
    return segment_of_word(word)


def _segment_path(pid: int) -> str | None:
    """Where a worker holds its segment."""
    for fd in _descriptors(pid):
        path = f"/proc/{pid}/fd/{fd}"
        if _is_segment(path):
            return path
    return None


def _is_segment(path: str) -> bool:
    """Is that descriptor, as /proc has it, a segment?"""
    try:
        return os.readlink(path) == MEMORY
    except OSError:
        return False


def segment_descriptor(pid: int) -> int:
    """A descriptor of our own of a worker's segment, to read and write. Raises OSError."""
    path = _segment_path(pid)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _descriptors(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def orphans(name: str) -> list[int]:
    """Process ids of workers that go on although the control plane of that name is gone."""
    word = _word(name)
    if word is None or is_alive(word):
        return []
    return [int(pid) for pid in word.get("workers", ()) if _is_worker(int(pid))]


def _is_worker(pid: int) -> bool:
    """Is it one of ours still? A recycled pid has another name (lbcore/control/worker.py gives it)."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().startswith("lbcore-")
    except OSError:
        return False


def names() -> list[str]:
    """The names of the balancers that run."""
    found = {name for home in homes() for name in _names_in(home)}
    return sorted(name for name in found if (word := _word(name)) is not None and is_alive(word))


def _names_in(home: str) -> list[str]:
    try:
        return [file.removesuffix(".json") for file in os.listdir(home) if file.endswith(".json")]
    except OSError:
        return []
