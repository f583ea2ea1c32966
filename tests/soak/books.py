"""What a balancer holds, read from outside: descriptors by kind and memory, of the control plane and of each worker."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, namedtuple

import psutil

Holding = namedtuple("Holding", "descriptors pipes memory_kb")
Holding.__doc__ = "Of a process: descriptors by kind (Counter) without pipes, how many of pipes, anonymous memory in KiB."

MOST_PIPE_ENDS = 256
"""A worker keeps up to 128 empty pipes for splicing (MAX_PIPES in lbcore/control/worker_limits.py)."""
WORKER_KB, WORKER_SHARE = 3_072, 0.10
"""How much more memory a worker may hold at the end than at the start: so much, or such a share of it. Buffers that are kept
warm (64 of 64 KiB, touched as far as needed) and what the C library's allocator keeps are inside it."""
CONTROL_KB, CONTROL_SHARE = 8_192, 0.15
"""Likewise the control plane, whose allocator is Python's."""


def holding(pid: int) -> Holding:
    """What that process holds now. Raises OSError when it is gone."""
    kinds: Counter[str] = Counter()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds[_kind(os.readlink(f"/proc/{pid}/fd/{entry}"))] += 1
    with open(f"/proc/{pid}/status") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))
    return Holding(kinds, kinds.pop("pipe", 0), memory)


def _kind(target: str) -> str:
    if target.startswith("/memfd:"):
        return "memfd"
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:")
    return target.partition(":")[0] if ":" in target else "file"


def more_descriptors(before: Holding, now: Holding) -> str:
    """What is held now that was not before, in words; "" for nothing."""
    more = {
        kind: count - before.descriptors[kind] for kind, count in now.descriptors.items() if count > before.descriptors[kind]
    }
    return ", ".join(f"{count} more of {kind}" for kind, count in sorted(more.items()))


def connections(pid: int) -> str:
    """The sockets of that process in words, so that one too many has a name."""
    held = psutil.Process(pid).net_connections(kind="all")
    return ", ".join(sorted(f"{_place(one.laddr)} {one.status.lower()} {_place(one.raddr)}".strip() for one in held))


def _place(address: object) -> str:
    return (":".join(map(str, address)) if isinstance(address, tuple) else str(address)) or "-"


def allowed_kb(before_kb: int, floor_kb: int, share: float) -> int:
    """How much memory may be held at the end."""
    return before_kb + max(floor_kb, int(before_kb * share))
