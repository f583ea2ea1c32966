"""By what the workers serve sockets: io_uring where this process may have it and a trial went well, else epoll."""

from __future__ import annotations

import errno
import functools
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import BalancerSettings

DISABLED = "/proc/sys/kernel/io_uring_disabled"
"""Documentation/admin-guide/sysctl/kernel.rst: 1 leaves io_uring to a group, 2 to nobody."""


class Loop(NamedTuple):
    """kind: "uring" or "epoll". reason: in words, why that one."""

    kind: str
    reason: str


def choose(settings: BalancerSettings) -> Loop:
    """The loop that these settings come to on this machine. Of "uring" that cannot be had, `unfit` tells before."""
    if settings.loop == "epoll":
        return Loop("epoll", "the settings say so")
    reason = unfit(settings)
    if reason:
        return Loop("epoll", reason)
    return Loop("uring", "the settings say so" if settings.loop == "uring" else "the kernel offers it, and a trial went well")


def unfit(settings: BalancerSettings) -> str:
    """Why io_uring cannot serve a balancer of these settings here; "" where it can."""
    if settings.offloads:
        return "the kernel forwards sessions itself (datapath offload, offload_local), which takes epoll"
    if settings.datapath == "splice":
        return "datapath splice has all bytes go through the kernel's pipes, which takes epoll"
    return refusal()


@functools.cache
def refusal() -> str:
    """Why this process cannot have an io_uring, in words; "" where a trial with sockets of its own went well. Asked once."""
    try:
        from lbcore._engine import try_ring
    except ImportError as error:
        return str(error)
    try:
        try_ring()
    except OSError as error:
        return _in_words(error)
    return ""


def _in_words(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return _forbidden()
    if error.errno == errno.ENOSYS:
        return "io_uring: this kernel has none, or a seccomp profile says so"
    if error.errno == errno.EINVAL:
        return "io_uring: this kernel is too old (it takes Linux 6.1)"
    if error.errno == errno.EPROTO:
        return "io_uring: a trial did not bring what was expected"
    return f"io_uring: {error.strerror}"


def _forbidden() -> str:
    try:
        with open(DISABLED) as file:
            disabled = file.read().strip()
    except OSError:
        disabled = "0"
    if disabled == "2":
        return "io_uring: kernel.io_uring_disabled is 2: nobody may use it"
    if disabled == "1":
        return "io_uring: kernel.io_uring_disabled is 1, and this user is not in kernel.io_uring_group"
    return "io_uring: a seccomp profile or a security module refuses it (operation not permitted)"
