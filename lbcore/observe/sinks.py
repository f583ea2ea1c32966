"""Where lines of the access log go: a file, the process's own output, syslog. None of them ever waits for its reader.

`write(data)`: how many bytes were taken; 0 when it takes none now. Raises OSError when something is wrong; the data may be
offered again.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from abc import ABC, abstractmethod

from lbcore.config.log_target import OUTPUTS, SYSLOG
from lbcore.config.settings import split_host_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIPE_BYTES = 4096
"""A write of so many bytes into a pipe is taken whole or not at all (PIPE_BUF), and not mixed with another's."""
_PRIORITY = 16 << 3 | 6  # local0, info (RFC 5424 6.2.1)


class Sink(ABC):
    """A place for lines."""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Take what fits: see above."""

    @abstractmethod
    def fileno(self) -> int:
        """Its descriptor; -1 without one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def wait(self, seconds: float) -> None:
        """Until it may take more, for so long at most."""
        if self.fileno() < 0:
            time.sleep(seconds)
            return
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        poll.poll(seconds * 1000)


class _Descriptor(Sink):
    """A descriptor that never blocks: not blocking itself, or of a regular file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        mode = os.fstat(fd).st_mode
        self._in_parts = not stat.S_ISREG(mode)

    def write(self, data: bytes) -> int:
        taken = 0
        try:
            while taken < len(data):
                taken += os.write(self._fd, self._part(data, taken))
        except BlockingIOError:
            return taken
        except OSError:
            if taken:
                return taken
            raise
        return taken

    def _part(self, data: bytes, start: int) -> bytes:
        """Whole lines that a pipe takes at once."""
        if not self._in_parts or len(data) - start <= PIPE_BYTES:
            return data[start:]
        end = data.rfind(b"\n", start, start + PIPE_BYTES) + 1
        return data[start : end or start + PIPE_BYTES]

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


class _Stream(Sink):
    """A connected socket that somebody gave us as output: systemd's journal, for one."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))

    def write(self, data: bytes) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


class _Syslog(Sink):
    """A datagram a line: to a unix socket as syslog(3) writes them, over UDP by RFC 5424 and 5426."""

    AGAIN_S = 1.0

    def __init__(self, target: str) -> None:
        self._path = target if target.startswith("/") else None
        self._target = target
        self._host = socket.gethostname() or "-"
        self._tag = f"lbcore[{os.getpid()}]"
        self._socket: socket.socket | None = None
        self._again_at = 0.0
        self._connect()

    def _connect(self) -> None:
        if self._path is not None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            address: Any = self._path
        else:
            host, port = split_host_port(self._target)
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            made = socket.socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(address)
        except OSError:
            made.close()
            raise
        self._socket = made

    def _packed(self, line: bytes) -> bytes:
        if self._path is not None:
            return f"<{_PRIORITY}>{time.strftime('%b %e %H:%M:%S')} {self._tag}: ".encode() + line
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return f"<{_PRIORITY}>1 {stamp} {self._host} lbcore {os.getpid()} access - ".encode() + line

    def write(self, data: bytes) -> int:
        if self._socket is None:
            now = time.monotonic()
            if now < self._again_at:
                return 0
            self._again_at = now + self.AGAIN_S
            self._connect()
        assert self._socket is not None
        taken = 0
        while taken < len(data):
            end = data.index(b"\n", taken)
            try:
                self._socket.send(self._packed(data[taken:end]))
            except BlockingIOError:
                return taken
            except ConnectionRefusedError:
                if self._path is None:
                    continue  # ICMP speaks of an earlier one; this one was not sent
                return self._lost(taken)
            except OSError:
                return self._lost(taken)
            taken = end + 1
        return taken

    def _lost(self, taken: int) -> int:
        """The daemon is gone, and perhaps comes back."""
        self.close()
        if taken:
            return taken
        raise OSError(f"{self._target} does not listen")

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def opened(target: str) -> Sink:
    """The sink that an access_log names: a path, stdout, stderr, syslog, syslog:PATH or syslog:HOST:PORT.

    Raises OSError or ValueError.
    """
    if target in OUTPUTS:
        return _output(OUTPUTS[target])
    if target.partition(":")[0] == SYSLOG:
        return _Syslog(target.partition(":")[2] or "/dev/log")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return _Descriptor(os.open(target, flags, 0o640))


def _output(fd: int) -> Sink:
    """Our own output. A pipe or a terminal is opened once more, so that not to block is our affair alone; a file is not: the
    place in it is shared with whoever else writes."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return _Stream(fd)
    if not stat.S_ISREG(mode):
        with contextlib.suppress(OSError):
            return _Descriptor(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))
    return _Descriptor(os.dup(fd))
