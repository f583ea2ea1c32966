"""When each pool's view, what workers pick from, is made anew. Guarded by the table's lock."""

from __future__ import annotations

import contextlib
import time

from lbcore.topic import Topic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE_POOL = 500
PUBLISH_EVERY_S = 0.02
"""Views of large pools are made anew at most so often: a state is seen at once anyway, since it is written in place; a schedule
follows. Ten thousand backends that register one after another would else cost as many views of ten thousand."""


class Views:
    """Publishes pools: now, at the end of a batch, or, when one is large and has just been, a moment later.

    pools: the row of each pool, by name; the table's own. make: makes the view of a pool, by its row, and returns how many
    backends it has. on_put_off, to subscribe to: when `publish_due` is wanted (monotonic seconds).
    """

    def __init__(self, pools: dict[str, int], make: Callable[[int], int]) -> None:
        self._pools = pools
        self._make = make
        self.on_put_off: Topic[[float]] = Topic()
        self._batch_depth = 0
        self._dirty: set[str] = set()
        self._put_off: dict[str, float] = {}
        self._published: dict[str, tuple[float, int]] = {}

    def publish(self, pool: str, *, at_once: bool = False) -> None:
        """Something changed in a pool. at_once: other backends take turns now, which cannot wait however large the pool is."""
        if self._batch_depth or pool not in self._pools:
            self._dirty.add(pool)
            return
        last, members = self._published.get(pool, (0.0, 0))
        if at_once or members < LARGE_POOL or time.monotonic() >= last + PUBLISH_EVERY_S:
            self._publish_now(pool)
        elif pool not in self._put_off:
            self._put_off[pool] = last + PUBLISH_EVERY_S
            self.on_put_off(last + PUBLISH_EVERY_S)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Put off everything to the end of the outermost batch; then each pool that changed is published once."""
        self._batch_depth += 1
        try:
            yield
        finally:
            self._batch_depth -= 1
            if not self._batch_depth:
                dirty, self._dirty = self._dirty, set()
                for pool in dirty & set(self._pools):
                    self._publish_now(pool)

    def publish_due(self, now: float) -> list[float]:
        """Make the views that were put off and whose time has come. Returns the times of the others."""
        for pool, when in list(self._put_off.items()):
            if now >= when or pool not in self._pools:
                del self._put_off[pool]
                if pool in self._pools:
                    self._publish_now(pool)
        return list(self._put_off.values())

    def _publish_now(self, pool: str) -> None:
        self._put_off.pop(pool, None)
        self._published[pool] = (time.monotonic(), self._make(self._pools[pool]))
