"""The workers as the supervisor handles them: one handle for a process and one for a thread, and the channel to either."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import threading
from array import array
from typing import NamedTuple

from lbcore import _engine
from lbcore.control import signals
from lbcore.control.worker import offload_of, pin_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from lbcore.table import Table

# enum lb_note_kind in csrc/channel.h
LISTEN, UNLISTEN, DRAIN, STOP, WAKE, TLS, SUCCEED, MOVE = range(1, 9)
READY, LISTENING, FAILING, REFUSED, SHORTAGE, CLOSED = range(16, 22)
GENTLY = 1
"""The id of a DRAIN that lets idle clients ask once more."""
ITS_OWN = 2
"""In the value of a LISTEN: no one else has the socket: the worker shuts it down when nobody is to serve it any more."""
SESSIONS_FIRST = 1
"""In the value of a LISTEN of datagrams: the worker reads nothing before it has the sessions of the one that it replaces."""
# enum lb_failing there
CONNECTS, ANSWERS = 0, 1
NOBODY = 0xFFFFFFFF
"""The backend row of a shortage that concerns none."""

SEND_ROOM = 1 << 20
"""Bytes of notes that may wait for a worker, as the kernel counts them; net.core.wmem_max says how many are given."""

_NOTE = struct.Struct("=IIQ")
_REFUSAL = struct.Struct("=16sH110s")
"""What follows the note in struct lb_refusal of csrc/channel.h."""

_MOST_BYTES = _NOTE.size + _REFUSAL.size


class Note(NamedTuple):
    """What a worker says to us, or is told."""

    kind: int
    id: int
    value: int
    descriptor: int | None
    more: bytes


class WorkerLimits(NamedTuple):
    """What a worker may hold at most.

    Sessions, buffers of 64 KiB, pipes, TLS handshakes under way, and sessions that the kernel forwards (0: it forwards none),
    and which those are (OFFLOAD_... of lbcore/control/worker.py).
    """

    sessions: int
    buffers: int
    pipes: int
    handshakes: int
    seats: int
    which: int


def refusal_words(note: Note) -> str:
    """Who was refused by a REFUSED, and why: one line, of printable characters."""
    import ipaddress  # only when it is needed: it takes its time

    raw, port, words = _REFUSAL.unpack(note.more[: _REFUSAL.size].ljust(_REFUSAL.size, b"\0"))
    ip = ipaddress.IPv6Address(raw)
    host = str(ip.ipv4_mapped) if ip.ipv4_mapped else f"[{ip}]"
    why = words.partition(b"\0")[0].decode("ascii", "replace")
    others = f" (and {note.value} others before it)" if note.value else ""
    return f"client {host}:{port} is refused: {why}{others}"


class Channel:
    """Our end of the pair to a worker. Never waits."""

    def __init__(self) -> None:
        self.ours: socket.socket
        self.theirs: socket.socket
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        # a worker that has not begun to read is told of all listeners and of the TLS of all pools
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_ROOM)
        self.theirs.setblocking(False)

    def send(self, kind: int, id: int = 0, value: int = 0, descriptor: int | None = None) -> bool:
        """Send a note; False when the worker is gone or does not listen."""
        ancillary = []
        if descriptor is not None:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        try:
            self.ours.sendmsg([_NOTE.pack(kind, id, value)], ancillary, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def notes(self) -> Iterator[Note | None]:
        """What has arrived; None at the end when the worker is gone."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.ours, _MOST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                yield None
                return
            kind, id, value = _NOTE.unpack_from(data)
            yield Note(kind, id, value, descriptors[0] if descriptors else None, data[_NOTE.size :])

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.theirs.close()

    @classmethod
    def over(cls, ours: socket.socket) -> Channel:
        """A channel whose other end is a worker's already."""
        made = cls.__new__(cls)
        made.ours = made.theirs = ours
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_ROOM)
        return made


def move_sessions(old: Channel | None, new: Channel) -> None:
    """Have the sessions of datagrams go from one worker to another, which then reads their sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    with ours, theirs:
        new.send(SUCCEED, descriptor=theirs.fileno())
        if old is not None:
            old.send(MOVE, descriptor=ours.fileno())


class ProcessWorker:
    """A worker in a process of its own: its crash costs its own sessions only."""

    def __init__(
        self,
        table: Table,
        worker: int,
        channel: Channel,
        limits: WorkerLimits,
        core: int | None,
        adoption_socket: str | None,
        filtered: bool,
    ) -> None:
        """adoption_socket: path of the socket where it waits for another control plane, once this one is gone.

        filtered: it may only call what it needs.
        """
        import subprocess

        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.insert(0, {root!r}); from lbcore.control.worker import main; main(sys.argv[1:])"
        numbers = [table.fd, channel.theirs.fileno(), worker, *limits, -1 if core is None else core, int(filtered)]
        with signals.held():  # until it ignores them
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-S", "-c", code, *map(str, numbers), adoption_socket or ""],
                stdin=subprocess.DEVNULL,
                pass_fds=numbers[:2],
            )
        self.pid: int = self._process.pid
        channel.theirs.close()

    def wait(self, timeout: float) -> bool:
        """Is it gone within the time?"""
        import subprocess

        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self._process.returncode is not None

    def strike(self) -> None:
        """Have the kernel end it, without waiting: it may sleep where no signal reaches it."""
        if self._process.poll() is None:
            self._process.kill()

    def kill(self) -> None:
        """End it, if it has not ended."""
        self.strike()
        self._process.wait()

    @property
    def obituary(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


class AdoptedWorker:
    """A worker process that another control plane started, which is gone."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when it is gone."""
        self._handle = os.pidfd_open(pid)
        self.pid = pid

    def wait(self, timeout: float) -> bool:
        """Is it gone within the time?"""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        with contextlib.suppress(ChildProcessError):  # ours only where this process became another control plane by exec
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
        return True

    def fileno(self) -> int:
        """What becomes readable with its end."""
        return self._handle

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)  # not before: several threads may wait for its end

    def strike(self) -> None:
        """Have the kernel end it, without waiting."""
        if not self.wait(0):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if not self.wait(0):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            self.wait(10)

    @property
    def obituary(self) -> str:
        """How it ended: only its parent could know."""
        return "ended"


class ThreadWorker:
    """A worker in a thread of this process. It holds no lock of Python's while it serves."""

    def __init__(
        self,
        table: Table,
        worker: int,
        channel: Channel,
        limits: WorkerLimits,
        core: int | None,
        adoption_socket: str | None,
        filtered: bool,
    ) -> None:
        """adoption_socket, filtered: not of threads, which share the fate of their process."""
        self._channel = channel
        self._failure: OSError | None = None
        self.pid: int = os.getpid()
        arguments = (table, worker, limits, core)
        self._thread = threading.Thread(target=self._run, args=arguments, name=f"lbcore-{worker}", daemon=True)
        self._thread.start()

    def _run(self, table: Table, worker: int, limits: WorkerLimits, core: int | None) -> None:
        try:
            pin_to(core)
            _engine.run_worker(
                table.memory,
                worker=worker,
                channel=self._channel.theirs.fileno(),
                max_sessions=limits.sessions,
                max_buffers=limits.buffers,
                max_pipes=limits.pipes,
                max_handshakes=limits.handshakes,
                offload=offload_of(worker, limits.seats, limits.which),
                offload_asked=limits.which,
            )
        except OSError as error:
            self._failure = error
        finally:
            self._channel.theirs.close()

    def wait(self, timeout: float) -> bool:
        """Is it gone within the time?"""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """A thread cannot be killed: tell it to stop and wait."""
        self._channel.send(STOP)
        self._thread.join()

    @property
    def obituary(self) -> str:
        """How it ended, in words."""
        return str(self._failure) if self._failure else "ended"
