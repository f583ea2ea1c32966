"""Readings from /proc: CPU of processes and of the machine (nanoseconds), private memory (bytes)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ProcessGone(Exception):
    """A process that is being measured ended, or restarted under another pid."""


def cpu_ns(pids: Iterable[int]) -> int:
    """Time on a core of all threads of these processes. Raises ProcessGone."""
    return sum(_process_ns(pid) for pid in pids)


def _process_ns(pid: int) -> int:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
    except OSError:
        raise ProcessGone(f"process {pid} ended during the measurement") from None


def private_b(pids: Iterable[int]) -> int:
    """Memory that belongs to these processes alone (USS). Raises ProcessGone."""
    return sum(_private_b(pid) for pid in pids)


def _private_b(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        raise ProcessGone(f"process {pid} ended during the measurement") from None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _machine() -> tuple[int, int, int]:
    """(busy, stolen, all) time of all cores since boot. Busy is not idle, not waiting, not stolen."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) for word in first.split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy * _TICK_NS, steal * _TICK_NS, (busy + idle + iowait + steal) * _TICK_NS


def _clients_ns() -> int:
    """This process and its ended children (wrk): the load generators."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + int((ended.ru_utime + ended.ru_stime) * 1e9)


@dataclass(frozen=True)
class Usage:
    """What a load used: CPU by role and of the machine; what the host took (steal); all there was."""

    wall_ns: int
    worker_ns: int
    control_ns: int
    origin_ns: int
    clients_ns: int
    busy_ns: int
    steal_ns: int
    capacity_ns: int

    @property
    def foreign(self) -> float:
        """Share of the machine's CPU that went to others than this benchmark; kernel threads included."""
        ours = self.worker_ns + self.control_ns + self.origin_ns + self.clients_ns
        return max(0.0, (self.busy_ns - ours) / max(1, self.capacity_ns))

    @property
    def steal(self) -> float:
        """Share of the machine's CPU that its host gave to others."""
        return self.steal_ns / max(1, self.capacity_ns)


class Meter:
    """Reads before and after: `begin()`, the load, `end()` → Usage."""

    def __init__(self, workers: list[int], control: list[int], origin: list[int]) -> None:
        self._groups = (workers, control, origin)
        self._before: list[int] = []

    def _read(self) -> list[int]:
        return [time.monotonic_ns(), *map(cpu_ns, self._groups), _clients_ns(), *_machine()]

    def begin(self) -> None:
        """Raises ProcessGone."""
        self._before = self._read()

    def end(self) -> Usage:
        """Raises ProcessGone: a worker that died, even if another took its place."""
        return Usage(*(after - before for after, before in zip(self._read(), self._before, strict=True)))
