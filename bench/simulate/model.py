"""The model: backends that serve, requests that arrive, and a policy that picks. No clock but its own; a seed decides all.

A backend serves up to `slots` requests at once and queues the others, first come, first served. Each of `active` ones proceeds
at speed / (1 + slowdown * (active - 1)): slowdown 0 for slots that do not disturb each other, more where a batch shares a
device.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lbcore.config.settings import PoolSettings
from lbcore.table import Table

WORKERS = 2
NOBODY = -1
ARRIVAL, REPORT, ELSEWHERE = -1, -2, -3
"""Events that are no backend's end of a request; what they concern stands in the version's place."""
GOLDEN = 0x9E3779B97F4A7C15
CLIENTS = 1000


@dataclass(frozen=True)
class Server:
    """A backend: how fast it is, and the weight that it declares. comes_at: seconds after the start. elsewhere: requests a
    second that reach it past this balancer; beat_s: how often it reports its load, the share of its slots in use, 0: never."""

    speed: float
    weight: int
    slots: int = 4
    slowdown: float = 0.0
    comes_at: float = 0.0
    elsewhere: float = 0.0
    beat_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to: response times in seconds, and for each server the share of its capacity that was used."""

    responses: list[float]
    used: list[float]


@dataclass
class _Request:
    arrived: float
    work: float
    worker: int


@dataclass
class _Backend:
    """A server at work. progress: work done so far by each request that was active all the time."""

    server: Server
    row: int
    queue: deque[_Request] = field(default_factory=deque)
    active: list[tuple[float, int, _Request]] = field(default_factory=list)
    progress: float = 0.0
    since: float = 0.0
    version: int = 0
    done: float = 0.0

    def rate(self) -> float:
        """Work a second of each active request."""
        return self.server.speed / (1 + self.server.slowdown * (len(self.active) - 1)) if self.active else 0.0

    def advance(self, now: float) -> None:
        """Let the time pass."""
        self.progress += self.rate() * (now - self.since)
        self.since = now

    def admit(self, serial: int) -> None:
        """Fill the free slots from the queue."""
        while self.queue and len(self.active) < self.server.slots:
            request = self.queue.popleft()
            heapq.heappush(self.active, (self.progress + request.work, serial, request))

    def next_end(self) -> float | None:
        """When the next request ends if nothing else happens."""
        return self.since + max(0.0, self.active[0][0] - self.progress) / self.rate() if self.active else None


class Simulation:
    """One run. work: draws a request's work. rate: arrivals a second. A context manager, for the table behind it."""

    def __init__(
        self, servers: list[Server], policy: str, work: Callable[[random.Random], float], rate: float, seed: int
    ) -> None:
        self._random = random.Random(seed)
        self._work = work
        self._rate = rate
        self._table = Table(name="simulation", version="0", workers=WORKERS, max_backends=64, datapath="auto")
        self._table.set_pool(PoolSettings(name="p", policy=policy))
        self._backends: dict[int, _Backend] = {}
        self._late = [server for server in servers if server.comes_at]
        for server in servers:
            if not server.comes_at:
                self._join(server, 0.0)
        self._pickers = [self._table.picker("p", seed=seed * WORKERS + worker + 1) for worker in range(WORKERS)]
        self._events: list[tuple[float, int, int, int]] = []  # when, serial, backend row or kind of event, its version
        self._serial = 0
        self._arrived = 0
        for row, backend in self._backends.items():
            if backend.server.beat_s:
                self._expect(backend.server.beat_s * self._random.random(), REPORT, row)
            if backend.server.elsewhere:
                self._expect(self._random.expovariate(backend.server.elsewhere), ELSEWHERE, row)
        self._responses: list[float] = []

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def run(self, count: int) -> Outcome:
        """Until so many requests have arrived and ended."""
        now = 0.0
        self._expect(self._random.expovariate(self._rate), ARRIVAL, count)
        while self._events and len(self._responses) < count:
            now, _, row, version = heapq.heappop(self._events)
            self._let_join(now)
            if row < 0:
                self._happen(now, row, version)
            elif self._backends[row].version == version:
                self._end(self._backends[row], now)
        used = [backend.done / (backend.server.speed * backend.server.slots * now) for backend in self._backends.values()]
        return Outcome(self._responses, used)

    def in_flight(self) -> int:
        """What the table counts as under way: 0 once all has ended."""
        return sum(self._table.in_flight(row) for row in self._table.rows())

    def _join(self, server: Server, now: float) -> None:
        at = len(self._backends)
        row = self._table.add("p", f"10.0.0.{at + 1}:80", weight=server.weight, source="config")
        self._backends[row.index] = _Backend(server, row.index, since=now)

    def _let_join(self, now: float) -> None:
        for server in [server for server in self._late if server.comes_at <= now]:
            self._late.remove(server)
            self._join(server, now)

    def _expect(self, when: float, row: int, version: int) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, row, version))

    def _happen(self, now: float, kind: int, what: int) -> None:
        if kind == ARRIVAL:
            self._arrive(now)
            self._arrived += 1
            if self._arrived < what:
                self._expect(now + self._random.expovariate(self._rate), ARRIVAL, what)
            return
        backend = self._backends[what]
        if kind == REPORT:
            row = self._table.by_index(what)
            assert row is not None
            self._table.set_load(row, len(backend.active) / backend.server.slots)
            self._expect(now + backend.server.beat_s, REPORT, what)
            return
        self._enqueue(backend, _Request(now, self._work(self._random), NOBODY), now)
        self._expect(now + self._random.expovariate(backend.server.elsewhere), ELSEWHERE, what)

    def _enqueue(self, backend: _Backend, request: _Request, now: float) -> None:
        backend.advance(now)
        backend.queue.append(request)
        self._go_on(backend)

    def _arrive(self, now: float) -> None:
        worker = self._random.randrange(WORKERS)
        client = int(CLIENTS ** self._random.random())  # some ask much more than others
        picker = self._pickers[worker]
        row = picker.pick(key=client * GOLDEN & (1 << 64) - 1, worker=worker, now_ms=int(now * 1000) & 0xFFFFFFFF)
        assert row is not None
        assert picker.take(row, worker)
        self._enqueue(self._backends[row], _Request(now, self._work(self._random), worker), now)

    def _end(self, backend: _Backend, now: float) -> None:
        backend.advance(now)
        _, _, request = heapq.heappop(backend.active)
        backend.done += request.work
        if request.worker == NOBODY:
            self._go_on(backend)
            return
        self._responses.append(now - request.arrived)
        picker = self._pickers[request.worker]
        picker.give(backend.row, request.worker)
        took_us = min(0xFFFFFFFF, int((now - request.arrived) * 1e6))
        picker.observe(backend.row, took_us, int(now * 1000) & 0xFFFFFFFF, request.worker)
        self._go_on(backend)

    def _go_on(self, backend: _Backend) -> None:
        backend.admit(self._serial)
        backend.version += 1
        end = backend.next_end()
        if end is not None:
            self._expect(end, backend.row, backend.version)
