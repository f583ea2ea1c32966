"""What the control plane counts of itself, and what its process and the workers' cost the machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from lbcore.table.counts import CONTROL

if TYPE_CHECKING:
    from lbcore.table.counts import Counts

_SELF = psutil.Process()
_REFUSED = "refused_"


class Cost(NamedTuple):
    """Of a worker. cpu_s: CPU seconds of this process. memory: resident bytes."""

    pid: int
    cpu_s: float
    memory: int


class Costs(NamedTuple):
    """Of the processes that are there now. own: cpu_s, memory_bytes (resident), descriptors, threads. workers: by section."""

    own: dict[str, Any]
    workers: dict[int, Cost]


def costs(workers: dict[int, int]) -> Costs:
    """Ask the kernel. workers: process ids by section."""
    return Costs(_of_process(), _of_workers(workers))


def figures(counts: Counts, spent: Costs) -> dict[str, Any]:
    """All that `metrics.Observation` shows of the control plane. CPU time is that of all processes that have had the place.

    The table's lock is to be held.
    """
    counted = counts.all()
    refusals = {int(name.removeprefix(_REFUSED)): n for name, n in counted.items() if name.startswith(_REFUSED) and n}
    own = {**spent.own, "cpu_s": counts.spent(CONTROL, os.getpid(), spent.own["cpu_s"])}
    workers = {at: (counts.spent(at, cost.pid, cost.cpu_s), cost.memory) for at, cost in spent.workers.items()}
    return {**own, **counted, "refusals": refusals, "workers": workers}


def _of_process() -> dict[str, Any]:
    process = _SELF if _SELF.pid == os.getpid() else psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return {
            "cpu_s": times.user + times.system,
            "memory_bytes": process.memory_info().rss,
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
        }


def _of_workers(pids: dict[int, int]) -> dict[int, Cost]:
    """By section, of those that are processes of their own and still there."""
    found = {}
    for section, pid in pids.items():
        if pid == os.getpid():
            continue
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            found[section] = Cost(pid, times.user + times.system, process.memory_info().rss)
        except psutil.Error:
            continue
    return found
