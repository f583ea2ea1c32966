"""What each worker may hold, from the limits of the process and the settings."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple

from lbcore.control import loops
from lbcore.control.worker import OFFLOAD_ANY, OFFLOAD_LOCAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import BalancerSettings

RESERVED_DESCRIPTORS = 64
MAX_BUFFERS = 1024
MAX_PIPES = 128


class WorkerLimits(NamedTuple):
    """What a worker may hold at most.

    Sessions, buffers of 64 KiB, pipes, TLS handshakes under way, and sessions that the kernel forwards (0: it forwards none),
    and which those are (OFFLOAD_... of lbcore/control/worker.py); 1 where it has an io_uring.
    """

    sessions: int
    buffers: int
    pipes: int
    handshakes: int
    offload_slots: int
    which: int
    rings: int


def limits_of(settings: BalancerSettings, workers: int, *, processes: bool) -> WorkerLimits:
    """The limits of one of so many workers. Raises the limit of open descriptors as far as it goes.

    A session takes two descriptors, a pipe two. Threads share the limit with each other and with the program around them.
    """
    used = RESERVED_DESCRIPTORS + len(settings.listeners)
    if not processes:
        used += len(os.listdir("/proc/self/fd")) + len(settings.listeners) * workers
    share = max(16, (_raised_limit() - used) // (1 if processes else workers))
    pipes = max(1, min(MAX_PIPES, share // 16))
    sessions = max(1, (share - 2 * pipes) // 2)
    if settings.max_sessions:
        sessions = min(sessions, settings.max_sessions)
    which = (OFFLOAD_ANY if settings.datapath == "offload" else 0) | (OFFLOAD_LOCAL if settings.offload_local else 0)
    slots = sessions if which else 0
    rings = int(loops.choose(settings).kind == "uring")
    return WorkerLimits(sessions, min(MAX_BUFFERS, 2 * sessions), pipes, settings.max_handshakes, slots, which, rings)


def _raised_limit() -> int:
    """How many descriptors this process may open, once its soft limit is the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard
