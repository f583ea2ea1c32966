"""A forked child owns nothing of its parent's balancers: it cannot stop them, and keeps none of their sockets open."""

from __future__ import annotations

import contextlib
import os
import re
import weakref

from lbcore.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn, Protocol

    class Owner(Protocol):
        """Who has threads, descriptors and shared memory."""

        def disown(self) -> None:
            """This is a child: nothing of that is ours."""


_OWNERS: weakref.WeakSet[Any] = weakref.WeakSet()
_WATCHED = re.compile(rb"tfd:\s*(\d+) .*ino:([0-9a-f]+) ")


def watch(owner: Owner) -> None:
    """Have it told when it finds itself in a forked child."""
    _OWNERS.add(owner)


def _after_fork() -> None:
    for owner in list(_OWNERS):
        owner.disown()


os.register_at_fork(after_in_child=_after_fork)


class NotOurs:
    """In the place of what only the parent may use."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NotRunning("this process is a fork: the balancer belongs to the parent")


def descriptors_of_workers(channels: Iterable[int]) -> dict[int, int]:
    """What the workers that are threads have open: their pollers, and all that these watch; descriptor: inode.

    channels: the workers' ends, by which their pollers are known. The poller is the parent's still, and may watch more by now;
    only a descriptor that leads to the same inode here is one that was inherited.
    """
    known = set(channels)
    found: dict[int, int] = {}
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{entry}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/self/fdinfo/{entry}", "rb") as file:
                watched = {int(fd): int(inode, 16) for fd, inode in _WATCHED.findall(file.read())}
            if known & set(watched):
                found |= watched | {int(entry): os.fstat(int(entry)).st_ino}
    return found


def close_inherited(descriptors: dict[int, int]) -> None:
    """Close those that still lead to what they led to."""
    for fd, inode in descriptors.items():
        with contextlib.suppress(OSError):
            if os.fstat(fd).st_ino == inode:
                os.close(fd)
