"""A worker process: maps the segment, then hands the thread to the engine for good. Imports hardly anything else of lbcore."""

from __future__ import annotations

import mmap
import os
import signal
import sys

from lbcore import _engine
from lbcore.control import signals


def pin_to(core: int | None) -> None:
    """Pin the calling thread to a core; None: leave it be."""
    if core is not None:
        os.sched_setaffinity(0, {core})


# which sessions the kernel forwards, bits: enum lb_offload_which
OFFLOAD_ANY = 1
OFFLOAD_LOCAL = 2


def offload_of(worker: int, slots: int, which: int) -> _engine.Offload | None:
    """What it takes to have the kernel forward so many sessions, while the rights for it are there; None: it forwards none."""
    try:
        return _engine.Offload(slots, which) if slots else None
    except OSError as error:
        print(f"worker {worker}: the kernel forwards nothing: {error.strerror}", file=sys.stderr, flush=True)
        return None


def ring_of(worker: int, rings: int) -> _engine.Ring | None:
    """The io_uring by which this thread is to serve sockets; None: epoll does."""
    try:
        return _engine.Ring() if rings else None
    except OSError as error:
        print(f"worker {worker}: it has no io_uring, and goes on with epoll: {error.strerror}", file=sys.stderr, flush=True)
        return None


def confine(worker: int, *, filtered: bool, offloads: bool = False, rings: bool = False) -> None:
    """Give up what a worker never needs: capabilities, and system calls where there is a filter for them. Raises OSError."""
    _engine.shed_privileges()
    fault = _engine.load_seccomp(offloads=offloads, rings=rings) if filtered else None
    if fault is not None:
        print(f"worker {worker}: its system calls are not filtered: {fault}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Serve until told to stop.

    arguments: segment descriptor, channel descriptor, worker id, max_sessions, max_buffers, max_pipes, max_handshakes,
    sessions that the kernel forwards, which, 1 where it has an io_uring, core (-1: any), 1 where its system calls are
    filtered, path of its adoption socket (empty: none).
    """
    segment, channel, worker, sessions, buffers, pipes, handshakes, *further = map(int, arguments[:-1])
    slots, which, rings, core, filtered = further
    # the control plane stops workers through the channel; the engine gives SIGTERM back its meaning when that is gone
    for number in signals.STEERING:
        signal.signal(number, signal.SIG_IGN)
    signals.release()
    with open("/proc/self/comm", "w") as comm:
        comm.write(f"lbcore-{worker}")
    pin_to(None if core < 0 else core)
    memory = mmap.mmap(segment, os.fstat(segment).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    offload = offload_of(worker, slots, which)
    ring = ring_of(worker, rings)
    confine(worker, filtered=bool(filtered), offloads=offload is not None, rings=ring is not None)
    _engine.run_worker(
        memory,
        worker=worker,
        channel=channel,
        max_sessions=sessions,
        max_buffers=buffers,
        max_pipes=pipes,
        max_handshakes=handshakes,
        own_process=True,
        offload=offload,
        offload_asked=which,
        ring=ring,
        adoption_socket=os.fsencode(arguments[-1]) or None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
