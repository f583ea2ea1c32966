"""Code that runs in a forked child."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

from harness import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable


def in_child(work: Callable[[], object]) -> int:
    """Fork, work there and leave without a word: the exit code; 1: it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    wait_for(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the child ends")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
