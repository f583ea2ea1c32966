"""The model: workers that remember what they were sent, clients that wait for each response, and a policy that picks.

A virtual clock; a seed decides all. A worker reads what it does not have yet at PREFILL characters a second, one request
after the other, and writes its answer at DECODE, which all that it has under way share once there are more than BATCH.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.prefix.traces import ANSWER, Conversation, Trace
from lbcore.config.settings import PoolSettings
from lbcore.table import Row, Table

SECTIONS = 2
PREFILL, DECODE, BATCH = 40_000.0, 250.0, 32


@dataclass
class Run:
    """What a trace came to. turns: that had one before; places: by worker, in the order of the requests."""

    requests: int = 0
    turns: int = 0
    same: int = 0
    characters: int = 0
    seen: int = 0
    possible: int = 0
    places: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    """From each request to its first token."""

    @property
    def same_share(self) -> float:
        """Of the turns that had one before, those that reached its worker."""
        return self.same / max(1, self.turns)

    @property
    def hit(self) -> float:
        """Characters that the worker had, of all that were sent."""
        return self.seen / self.characters

    @property
    def best(self) -> float:
        """The same if one worker had it all."""
        return self.possible / self.characters

    def first_token_s(self, share: float) -> float:
        """The time to the first token that this share of the requests does not exceed."""
        return sorted(self.waits_s)[min(len(self.waits_s) - 1, int(share * len(self.waits_s)))]

    def spread(self, workers: int, last: int = 0) -> float:
        """The busiest worker over the mean, by requests; last: of so many only."""
        counts = Counter(self.places[-last:])
        return max(counts.values()) * workers / sum(counts.values())


class Cache:
    """What a worker has of texts: of so many characters, those that were used last; None: all."""

    def __init__(self, characters: int | None = None) -> None:
        self._room = characters
        self._has: OrderedDict[tuple[int, ...], int] = OrderedDict()
        self._held = 0

    def known(self, one: Conversation) -> int:
        """Messages from a conversation's beginning on that are there."""
        count = 0
        while count < len(one.chain) and tuple(one.chain[: count + 1]) in self._has:
            count += 1
        return count

    def take(self, one: Conversation, lengths: list[int]) -> None:
        """All of a conversation's messages; the last one is the first to go."""
        for count in range(len(one.chain), 0, -1):
            key = tuple(one.chain[:count])
            self._held += 0 if key in self._has else lengths[count - 1]
            self._has[key] = lengths[count - 1]
            self._has.move_to_end(key)
        while self._room is not None and self._held > self._room:
            self._held -= self._has.popitem(last=False)[1]


class Fleet:
    """Workers behind a policy. A context manager, for the table behind it."""

    def __init__(
        self, policy: str, workers: int, *, keyed: bool, seed: int, cache: int | None = None, told: bool = False
    ) -> None:
        """keyed: the conversation's key is what the policy is told, not its text. cache: characters that a worker
        keeps; None: all. told: the policy is told that."""
        self._keyed = keyed
        self._dice = random.Random(seed)
        self._table = Table(name="prefix", version="0", workers=SECTIONS, max_backends=64, datapath="auto", secret=bytes(16))
        self._table.set_pool(PoolSettings(name="p", policy=policy, prefix_cache=cache if told and cache else 0))
        self.rows: dict[int, Row] = {}
        self._cache = cache
        self._had: dict[int, Cache] = {}
        self._all = Cache()
        self._reads_until: dict[int, float] = {}
        for _ in range(workers):
            self.join()
        self._pickers = [self._table.picker("p", seed=seed * SECTIONS + section + 1) for section in range(SECTIONS)]

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def join(self, weight: int = 1) -> str:
        """One worker more: its address."""
        row = self._table.add("p", f"10.0.0.{len(self._had) + 1}:80", weight=weight, source="config")
        self._table.set_state(row, "up", "")
        self.rows[row.index], self._had[row.index] = row, Cache(self._cache)
        return row.address

    def lose(self, address: str) -> None:
        """One is down."""
        row = next(row for row in self.rows.values() if row.address == address)
        self._table.set_state(row, "down", "")
        del self.rows[row.index]

    def begin(self, text: bytes | None, *, key: int = 0, section: int | None = None, now: float = 0.0) -> tuple[int, int]:
        """Send one: its worker's row, and the section that picked."""
        section = self._dice.randrange(SECTIONS) if section is None else section
        row = self._pickers[section].acquire(text, key=key, worker=section, now_ms=int(now * 1000) & 0xFFFFFFFF)[0]
        assert row is not None
        return row, section

    def end(self, row: int, section: int) -> None:
        """It is over."""
        self._pickers[section].give(row, section)

    def play(self, trace: Trace, seed: int, happen: dict[int, Callable[[], object]] | None = None) -> Run:
        """The whole trace. happen: what is done before a request of that number."""
        run, now, serial = Run(), 0.0, 0
        waiting, last = trace.draw(seed), dict[int, int]()
        busy: list[tuple[float, int, int, int, Conversation]] = []
        under_way: dict[int, int] = {}
        while waiting or busy:
            while waiting and len(busy) < trace.flights:
                one = waiting.pop(0 if trace.in_order else self._dice.randrange(len(waiting)))
                if happen and run.requests in happen:
                    happen.pop(run.requests)()
                row, section, missed = self._send(one, trace, run, last, now)
                under_way[row] = under_way.get(row, 0) + 1
                self._reads_until[row] = max(now, self._reads_until.get(row, 0.0)) + missed / PREFILL
                run.waits_s.append(self._reads_until[row] - now)
                took = run.waits_s[-1] + ANSWER / DECODE * (0.5 + self._dice.random()) * max(1.0, under_way[row] / BATCH)
                serial += 1
                heapq.heappush(busy, (now + took, serial, row, section, one))
            now, _, row, section, one = heapq.heappop(busy)
            under_way[row] -= 1
            self.end(row, section)
            one.hear(ANSWER)
            if one.turn < one.turns:
                waiting.insert(0, one) if trace.in_order else waiting.append(one)
        return run

    def _send(self, one: Conversation, trace: Trace, run: Run, last: dict[int, int], now: float) -> tuple[int, int, int]:
        """One turn: its worker's row, the section that picked, and the characters that the worker did not have."""
        one.ask(trace.question)
        row, section = self.begin(None if self._keyed else one.text(), key=one.key if self._keyed else 0, now=now)
        had, lengths = self._had[row], [len(said) + 1 for said in one.said]
        seen, possible = had.known(one), self._all.known(one)
        run.requests += 1
        run.characters += sum(lengths)
        run.seen += sum(lengths[:seen])
        run.possible += sum(lengths[:possible])
        if one.number in last:
            run.turns += 1
            run.same += last[one.number] == row
        last[one.number] = row
        run.places.append(self.rows[row].address)
        had.take(one, lengths)
        self._all.take(one, lengths)
        return row, section, sum(lengths[seen:])
