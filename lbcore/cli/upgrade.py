"""How a running `lbcore run` becomes another version of itself, as installed now: nothing that it carries is lost.

1. The new version is asked whether it can: the same command line, in a process of its own (`can_succeed`, `say_so`).
2. The control plane lets its workers go, and its process becomes the new one (`become`): same pid, same arguments. The workers
   serve on meanwhile, and are adopted (lbcore/estate.py).
3. Each worker is replaced by one of the new engine; the old one drains (`Balancer.replace_workers`).

An operator may take these steps one at a time, and stop after each: what runs then is whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from lbcore.errors import LbcoreError
from lbcore.segment import Segment, SegmentError
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from lbcore.balancer import Balancer

ASKED = "LBCORE_UPGRADE_ASKED"
"""In the environment of a version that is asked: the path of the segment that it would go on with."""
DONE = "LBCORE_UPGRADE_FROM"
"""In the environment of one that has taken over: the version before it."""
ENDED = "LBCORE_UPGRADE_ENDED"
"""Beside DONE: a signal came to end the version before; it is to be obeyed."""
ALONE = "LBCORE_UPGRADE_ALONE"
"""Beside DONE: only the control plane was to be replaced; the workers come when they are asked for."""
LIMIT_S = 30.0
HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that wait while nobody is there to hear them."""


def can_succeed(segment: int) -> str:
    """The version that is installed now, which can go on in this one's place. Raises LbcoreError with what is in the way.

    segment: a descriptor, which is passed on: after root was given up, nobody may look it up in /proc/PID.
    """
    environment = {**os.environ, ASKED: f"/proc/self/fd/{segment}"}
    environment.pop(DONE, None)
    try:
        done = subprocess.run(
            _own_command(),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            pass_fds=(segment,),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LbcoreError(f"the version that is installed now does not start: {error}") from None
    if done.returncode or not done.stdout:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise LbcoreError(f"the version that is installed now does not start: {lines[-1]}")
    return done.stdout.strip()


def say_so(segment: str) -> int:
    """The answer of a version that is asked, whose settings are good: its exit code."""
    try:
        Segment.attach(segment).close()
    except (OSError, SegmentError) as error:
        print(
            f"lbcore {VERSION} cannot go on with the memory of the one that runs: {error}; it takes a restart", file=sys.stderr
        )
        return 1
    print(VERSION)
    return 0


def become(balancer: Balancer, is_ended: Callable[[], bool], alone: bool) -> NoReturn:
    """This process goes on as the version that is installed now.

    is_ended: did a signal end it, perhaps a moment ago? alone: the workers are not to be replaced yet.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    balancer.abdicate()  # with it end the threads that may still take a signal
    os.environ[DONE] = VERSION
    if alone:
        os.environ[ALONE] = "1"
    if is_ended():
        os.environ[ENDED] = "1"
    command = _own_command()
    os.execv(command[0], command)


class Predecessor:
    """Whom this process has come after, by its environment; asked once.

    version: None when it came by itself. ended: it had been told to end. alone: its workers are to stay for now.
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        self.version = os.environ.pop(DONE, None)
        self.ended = os.environ.pop(ENDED, None) is not None
        self.alone = os.environ.pop(ALONE, None) is not None


def _own_command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]
