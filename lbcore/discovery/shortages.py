"""What this host lacks: source ports, descriptors, memory. It is counted and told, and never held against a backend.

Which errno speaks of this host and not of a peer is said in one place, csrc/core/shortage.c.
"""

from __future__ import annotations

import errno
import os
import time

from lbcore import _engine, locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 30.0
"""The same shortage is told at most so often."""

_ADVICE = {
    errno.EADDRNOTAVAIL: "no source port is free towards it: raise net.ipv4.ip_local_port_range",
    errno.EAGAIN: "no source port is free: raise net.ipv4.ip_local_port_range",
    errno.EMFILE: "too many open files: raise the limit of open files (ulimit -n; systemd: LimitNOFILE=)",
    errno.ENFILE: "too many open files on this host: raise fs.file-max",
    errno.ENOBUFS: "no memory for sockets: raise net.ipv4.tcp_mem or the memory limit",
    errno.ENOMEM: "no memory: raise the memory limit, or net.ipv4.tcp_mem",
    errno.ENOSPC: "no room in epoll: raise fs.epoll.max_user_watches",
    errno.ENOKEY: "the worker has no TLS rules of the pool: see worker_tls_refused",
}


def is_shortage(error: BaseException | int | None) -> bool:
    """Did connecting, or the preparation for it, fail for want of something here?"""
    number = (
        error if isinstance(error, int) else errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    )
    return number is not None and _engine.is_shortage(number)


def advice(error: int) -> str:
    """What is lacking, and what to raise."""
    return _ADVICE.get(error) or os.strerror(error).lower()


class Shortages:
    """Counts and tells them. log: called with a line. count: called with what to count. Thread-safe."""

    def __init__(
        self, log: Callable[[str], None], count: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._lock = locks.lock("shortages")
        self._told_at: dict[int, float] = {}

    def tell(self, error: int, whom: str) -> None:
        """A worker, a probe or a look-up lacked something. whom: who was to be reached, in words."""
        with self._lock:
            now = self._clock()
            if now - self._told_at.get(error, -EVERY_S) < EVERY_S:
                return
            self._told_at[error] = now
        self._log(f"a shortage on this host, not a fault of {whom}: {advice(error)}")

    def probe(self, error: int, address: str) -> None:
        """A probe of this backend could not be sent."""
        self._count("shortages_probe")
        self.tell(error, address)

    def lookup(self, error: int, name: str) -> None:
        """A name could not be looked up."""
        self._count("shortages_lookup")
        self.tell(error, name)
