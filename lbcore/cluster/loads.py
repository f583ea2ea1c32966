"""The loads that backends report, carried from the node that hears them to nodes that ask for them (`trust = "reports"`). Pure
but for its inbox.

A node tells what has changed enough, and the rest every REFRESH_S: a thousand backends in one key, a few keys in one
transaction, and a transaction only so often, the less often the more nodes there are. Each value replaces the one before in its
key; a node that watches sees them all. A value that is found in a read of everything is of unknown age, and is not used.
"""

from __future__ import annotations

import base64
import struct
import time
from collections import deque
from typing import NamedTuple

from lbcore.cluster.keys import Backend
from lbcore.cluster.marks import mark_of
from lbcore.cluster.words import NotOurs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_RECORD = struct.Struct(">QBBH")  # mark, load, age, in_flight
_LOAD_STEPS, _NO_LOAD = 200, 255
_AGE_STEPS_A_SECOND = 10
_NO_COUNT = 0xFFFF
MOST_RECORDS = 1000
"""Of one key: 16 kB."""
MOST_KEYS = 8
"""Of one transaction."""
MOST_WAITING = 50_000
"""Reports that wait to be looked at: more than ten thousand backends send in half a minute. Of more, the oldest are dropped."""
PAUSE_S = 1.0
"""Between two transactions, at least."""
MOST_A_SECOND = 25
"""Transactions of all nodes together: with more nodes than this each one pauses for longer."""
REFRESH_S = 8.0
"""A load that has not changed is told again after so long, if the backend has reported it again."""
OLD_S = 10.0
"""A report that could not be told for so long is not told any more."""
FORGET_S = 60.0
LOAD_CHANGE = 0.05
"""So much is a change of load. Of requests under way: more than one, and more than an eighth."""


class Load(NamedTuple):
    """What a backend reports. load: 0..1; in_flight: requests under way, from wherever they came; None: not reported."""

    load: float | None
    in_flight: int | None


NOTHING = Load(None, None)


class Told(NamedTuple):
    """A load as another node told it. age_s: how old it was when it was written."""

    mark: int
    load: Load
    age_s: float


class _Heard(NamedTuple):
    load: Load
    at: float


class Loads:
    """What is heard here, on its way to the store. wanted: another node asks for it. sent: how many were told so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.wanted: bool = False
        self.sent: int = 0
        self._inbox: deque[tuple[Backend, _Heard]] = deque(maxlen=MOST_WAITING)
        self._due: dict[Backend, _Heard] = {}
        self._told: dict[Backend, _Heard] = {}
        self._next_at = self._forget_at = 0.0

    def hear(self, pool: str, address: str, load: float | None, in_flight: int | None) -> None:
        """A backend has reported; of any thread."""
        if self.wanted:
            self._inbox.append((Backend(pool, address), _Heard(Load(load, in_flight), self._clock())))

    def begin_anew(self) -> None:
        """Nobody may know what was told before."""
        self._told.clear()

    def take(self, now: float, nodes: int) -> list[bytes]:
        """Values to be written now, in one transaction; nodes: how many of them do so."""
        self._look()
        if now < self._next_at or not self._due:
            return []
        self._next_at = now + max(PAUSE_S, nodes / MOST_A_SECOND)
        self._forget(now)
        due = [(backend, self._due.pop(backend)) for backend in _first(self._due, MOST_KEYS * MOST_RECORDS)]
        fresh = [(backend, heard) for backend, heard in due if now - heard.at < OLD_S]
        self._told.update(fresh)
        self.sent += len(fresh)
        return written((mark_of(backend), heard.load, now - heard.at) for backend, heard in fresh)

    def _look(self) -> None:
        """Which of what was heard is worth telling?"""
        for _ in range(len(self._inbox)):
            backend, heard = self._inbox.popleft()
            told = self._told.get(backend)
            if is_news(heard.load, told.load if told else NOTHING) or (
                told is not None and told.load != NOTHING and heard.at - told.at >= REFRESH_S
            ):
                self._due[backend] = heard
            else:
                self._due.pop(backend, None)  # it is again as it was told

    def _forget(self, now: float) -> None:
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            self._told = {backend: heard for backend, heard in self._told.items() if now - heard.at < FORGET_S}


def _first(found: dict[Backend, _Heard], most: int) -> list[Backend]:
    return [backend for backend, _ in zip(found, range(most), strict=False)]


def is_news(load: Load, told: Load) -> bool:
    """Is it so different from what was told that nodes choose otherwise?"""
    if (load.load is None) != (told.load is None) or (load.in_flight is None) != (told.in_flight is None):
        return True
    if load.load is not None and told.load is not None and abs(load.load - told.load) >= LOAD_CHANGE:
        return True
    if load.in_flight is None or told.in_flight is None:
        return False
    return abs(load.in_flight - told.in_flight) > max(1, told.in_flight // 8)


def written(loads: Iterable[tuple[int, Load, float]]) -> list[bytes]:
    """The values of their keys, of (mark, load, age in seconds)."""
    records = [_RECORD.pack(mark, _load_step(load.load), _age_step(age_s), _count(load)) for mark, load, age_s in loads]
    return [base64.b64encode(b"".join(records[at : at + MOST_RECORDS])) for at in range(0, len(records), MOST_RECORDS)]


def _load_step(load: float | None) -> int:
    return _NO_LOAD if load is None else round(min(1.0, max(0.0, load)) * _LOAD_STEPS)


def _age_step(age_s: float) -> int:
    return max(0, min(255, round(age_s * _AGE_STEPS_A_SECOND)))


def _count(load: Load) -> int:
    return _NO_COUNT if load.in_flight is None else max(0, min(_NO_COUNT - 1, load.in_flight))


def read(value: bytes) -> list[Told]:
    """Raises NotOurs: nothing of it is believed then."""
    if len(value) > MOST_RECORDS * _RECORD.size * 4 // 3 + 4:
        raise NotOurs(f"{len(value)} bytes")
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        raise NotOurs("no base64") from None
    if len(raw) % _RECORD.size:
        raise NotOurs(f"{len(raw)} bytes")
    return [_told(*record) for record in _RECORD.iter_unpack(raw)]


def _told(mark: int, step: int, age: int, count: int) -> Told:
    if step > _LOAD_STEPS and step != _NO_LOAD:
        raise NotOurs(f"load: {step}")
    load = Load(None if step == _NO_LOAD else step / _LOAD_STEPS, None if count == _NO_COUNT else count)
    return Told(mark, load, age / _AGE_STEPS_A_SECOND)
