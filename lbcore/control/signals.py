"""Signals of a command: which are for the control plane, and what is done as the first process of a container.

Imports nothing of ours, so that nothing is lost before the rest is there.
"""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STEERING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What the control plane of `lbcore run` follows. Workers ignore all of them: a signal to the whole group is not for them."""

_PASSED_ON = (*STEERING, signal.SIGWINCH)
_OF_THE_KERNEL = 0x80
"""si_code of a signal that a terminal sends (SI_KERNEL): all of its foreground group have it already."""


def hold() -> None:
    """What comes from now on waits until `release`: there is nobody yet to follow it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STEERING)


def release() -> None:
    """What waited comes now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STEERING)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Processes and threads that begin within are not sent what steers us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STEERING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_first() -> None:
    """The first process of a container buries whoever dies there, which no other process does for it (pid_namespaces(7)).

    That one is this process; what is to be run goes on in a child, which is sent the signals, and whose exit code is ours.
    """
    if os.getpid() != 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child:
        os._exit(_tend(child))
    if not os.isatty(0):
        os.setpgid(0, 0)  # a signal to the group reaches it once, by us
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tend(child: int) -> int:
    while True:
        told = signal.sigwaitinfo((*_PASSED_ON, signal.SIGCHLD))
        if told.si_signo == signal.SIGCHLD:
            code = _bury(child)
            if code is not None:
                return code
        elif told.si_code != _OF_THE_KERNEL or os.getpgid(child) != os.getpgrp():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, told.si_signo)


def _bury(child: int) -> int | None:
    """Wait for all that are dead: the child's exit code, if it is one of them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                status = os.waitstatus_to_exitcode(found[1])
                code = status if status >= 0 else 128 - status
    return code
