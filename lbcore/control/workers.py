"""The workers as the supervisor handles them: one handle for a process, one for a thread, one for a process of another's."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading

from lbcore import _engine
from lbcore.control import signals
from lbcore.control.worker import offload_of, pin_to, ring_of
from lbcore.engine import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

    from lbcore.control.worker_limits import WorkerLimits
    from lbcore.engine.channel import Channel
    from lbcore.table import Table


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
                offload=offload_of(worker, limits.offload_slots, limits.which),
                offload_asked=limits.which,
                ring=ring_of(worker, limits.rings),
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
        self._channel.send(notes.STOP)
        self._thread.join()

    @property
    def obituary(self) -> str:
        """How it ended, in words."""
        return str(self._failure) if self._failure else "ended"
