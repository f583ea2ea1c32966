"""Unix sockets that we listen on: the file that leads to each is made here, given to whom it is for, and removed at the end."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat

from lbcore.config.settings import UNIX
from lbcore.errors import ConfigError, LbcoreError, PortTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ListenerSettings

MODE = "660"


class SocketFile:
    """The file of a socket that we bound, as long as nobody has put another in its place."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _identity(path)

    def give(self, listener: ListenerSettings) -> None:
        """To the owner, group and mode that its listener names. Raises ConfigError."""
        where = f"listener {listener.name}: {listener.url}"
        user = _id_of(listener.socket_user, "socket_user", where)
        group = _id_of(listener.socket_group, "socket_group", where)
        try:
            if user >= 0 or group >= 0:
                os.chown(self._path, user, group)
            os.chmod(self._path, int(listener.socket_mode or MODE, 8))
        except OSError as error:
            raise ConfigError(
                f"{where}: its file cannot be given to {listener.socket_user or ''}:{listener.socket_group or ''}:"
                f" {error.strerror} (socket_user takes root; socket_group takes root, or membership in the group)"
            ) from None

    def remove(self) -> None:
        """Take it away, if it is there."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def listen_locally(listener: ListenerSettings) -> tuple[socket.socket, SocketFile | None]:
    """A socket that listens at a path, with its file, or at an abstract name. Raises PortTaken or ConfigError."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    file = None
    try:
        path = listener.host.removeprefix(UNIX)
        if path.startswith("@"):
            bound.bind(b"\0" + path[1:].encode())
        else:
            remove_stale(path)
            bound.bind(path)
            file = SocketFile(path)
            file.give(listener)  # before anybody can connect
        bound.listen(listener.backlog)
    except (OSError, LbcoreError) as error:
        bound.close()
        if file is not None:
            file.remove()
        raise _explain(listener, error) if isinstance(error, OSError) else error from None
    return bound, file


def remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError: EADDRINUSE if somebody does, ENOTSOCK for a file."""
    try:
        found = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its backlog is full
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def host_of(bound: socket.socket) -> str:
    """ "unix:/PATH" or "unix:@NAME" of a unix socket."""
    name = bound.getsockname()
    return f"{UNIX}@{name[1:].decode()}" if isinstance(name, bytes) else f"{UNIX}{name}"


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is at a path."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _id_of(name: str | None, key: str, where: str) -> int:
    """-1: nobody is named. Raises ConfigError."""
    if name is None:
        return -1
    try:
        if name.isdecimal():
            return int(name)
        return pwd.getpwnam(name).pw_uid if key == "socket_user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"{where}: {key}: {name!r} is not known on this machine") from None


def _explain(listener: ListenerSettings, error: OSError) -> LbcoreError:
    where = f"listener {listener.name}: {listener.url}"
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"{where}: a server listens there already")
    if error.errno == errno.ENOTSOCK:
        return ConfigError(f"{where}: a file that is no socket is there: name another path, or remove it")
    if error.errno == errno.EACCES:
        return ConfigError(f"{where}: permission denied (needed: write permission on its directory)")
    return ConfigError(f"{where}: {error.strerror or error}")
