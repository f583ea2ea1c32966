"""What the control plane's process and the workers' cost the machine."""

from __future__ import annotations

import os
from typing import Any

import psutil

_SELF = psutil.Process()


def figures_of_process() -> dict[str, Any]:
    """cpu_s, memory_bytes (resident), descriptors and threads of this process."""
    process = _SELF if _SELF.pid == os.getpid() else psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return {
            "cpu_s": times.user + times.system,
            "memory_bytes": process.memory_info().rss,
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
        }


def figures_of_workers(pids: list[int]) -> dict[int, tuple[float, int]]:
    """(CPU seconds, resident bytes) by worker, of those that are processes of their own and still there."""
    found = {}
    for number, pid in enumerate(pids):
        if pid == os.getpid():
            continue
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            found[number] = times.user + times.system, process.memory_info().rss
        except psutil.Error:
            continue
    return found
