"""Picking without the proxy: `pool.pick()` in any process that may open the balancer's segment, counted beside proxied traffic.

with lbcore.attach("shop") as shop, shop.pool("app").pick(key=tenant) as backend:
    call(backend.address)
"""

from __future__ import annotations

import os
import weakref

from lbcore import _engine, locks
from lbcore.engine.segment import Segment, map_shared, text
from lbcore.errors import NoBackend, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from typing import Any, Self

_all: weakref.WeakSet[Picking] = weakref.WeakSet()


class Picking:
    """A process's picks in one segment: takes a section of it with the first pick, and gives it back with `close`.

    memory: the mapped segment, writable. Any thread. A child of a fork takes a section of its own; after `close` there is none.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._picks: _engine.Picks | None = None
        self._closed = False
        self._lock = locks.lock("picks")
        _all.add(self)

    def picks(self) -> _engine.Picks:
        """Raises OSError (EUSERS) when four other processes pick already, NotRunning after `close`."""
        with self._lock:
            if self._closed:
                raise NotRunning("the balancer is not running")
            if self._picks is None:
                self._picks = _engine.Picks(self._memory, int.from_bytes(os.urandom(7), "little"))
            return self._picks

    def close(self) -> None:
        """Give the section back; what is still held counts no more."""
        with self._lock:
            self._closed = True
            picks, self._picks = self._picks, None
        if picks is not None:
            picks.leave()

    def forget(self) -> None:
        """After a fork, in the child: the section is the parent's."""
        self._lock = locks.lock("picks")
        picks, self._picks = self._picks, None
        if picks is not None:
            picks.leave(forked=True)


def _after_fork() -> None:
    for picking in list(_all):
        picking.forget()


os.register_at_fork(after_in_child=_after_fork)


class PickPool:
    """A pool to pick from. row: finds its row; asked again when it was dropped and came back."""

    def __init__(self, picking: Picking, name: str, row: Callable[[], int]) -> None:
        self._picking = picking
        self._row = row
        self._index = row()
        self.name = name

    def pick(self, key: str | bytes | None = None, cost: int = 1) -> _engine.Pick:
        """A backend, by the pool's policy, charged with one session of this cost (1..65535) until it is released.

        key: what `maglev` keeps together, hashed as a field's or cookie's value is; so for `prefix`, but with a `hash` of
        json it is the text: a JSON array of messages, or any other text. Use it in a `with` block, or call `release(outcome)`:
        "ok", "refused", "failed" or "left"; a pick that is dropped without is "left". Raises NoBackend when none can
        take it, KeyError when the pool is gone, ValueError for a wrong cost.
        """
        if not 0 < cost < 65_536:
            raise ValueError(f"cost: {cost!r} is not allowed (allowed: a whole number from 1 to 65535)")
        hashed = key.encode() if isinstance(key, str) else key
        try:
            picked = self._picking.picks().pick(self._index, hashed, cost)
        except KeyError:
            self._index = self._row()
            picked = self._picking.picks().pick(self._index, hashed, cost)
        if picked is None:
            raise NoBackend(f"pool {self.name}: no backend can take it")
        return picked

    def __repr__(self) -> str:
        return f"<PickPool {self.name}>"


class Attached:
    """Another process's balancer: to pick from, and to look at. A context manager. Comes from `attach`."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._memory = map_shared(fd)
        finally:
            os.close(fd)
        try:
            self._segment = Segment(self._memory)
        except ValueError:
            self._memory.close()
            raise
        self._picking = Picking(self._memory)

    def pool(self, name: str | None = None) -> PickPool:
        """A pool by name; without one the default pool, or the only one. Raises KeyError."""
        names = self._pools()
        if name is None:
            name = next(iter(names)) if len(names) == 1 else "default"
        return PickPool(self._picking, name, lambda: self._pools()[name])

    def _pools(self) -> dict[str, int]:
        rows = ((index, self._segment.pool(index)) for index in range(self._segment.head.max_pools))
        return {text(row.name): index for index, row in rows if row.state}

    def status(self) -> dict[str, Any]:
        """The status document."""
        from lbcore.observe.status import document

        return document(self._segment)

    def close(self) -> None:
        """Let go of the segment; what was picked counts no more."""
        self._picking.close()
        self._segment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach(name: str = "lbcore") -> Attached:
    """A balancer that another process of this user runs (`lbcore run --name NAME`). Raises NotRunning or OSError."""
    from lbcore.control import runtime

    try:
        return Attached(runtime.segment_of(name))
    except FileNotFoundError:
        raise NotRunning(f"no balancer named {name!r} is running") from None
