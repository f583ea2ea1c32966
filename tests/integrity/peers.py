"""Both ends of some sessions, played by one loop: each does as its script says, and looks at every byte that it is sent."""

from __future__ import annotations

import contextlib
import selectors
import time
from typing import TYPE_CHECKING

from harness import PATIENCE_S, SLOWER

from integrity.pattern import Stream, Wrong
from integrity.scenarios import PROPER, Script, total
from integrity.wires import RECEIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from integrity.wires import Plain

READS = 16
"""In a row, before others have their turn."""


class Side:
    """One end of a session.

    sent, received: bytes. ended: how the other's direction ended: "" not yet, "properly", "broken". gone: this end has closed.
    """

    def __init__(self, name: str, wire: Plain, script: Script, mine: Stream, theirs: Stream) -> None:
        self.name, self.wire, self.script = name, wire, script
        self.sent, self.received, self.ended, self.gone = script.early, 0, "", False
        self._mine, self._theirs = mine, theirs
        self._writes = list(reversed(script.writes))
        self._left = 0
        self._broken = False
        self._finished = False
        self._reads_from = self._writes_from = 0.0
        self.other: Side

    def begin(self, now: float) -> None:
        """The session is open."""
        self._reads_from = now + self.script.stall_ms / 1000
        self._next_write(now)

    def _next_write(self, now: float) -> None:
        if self._writes:
            self._left, pause_ms = self._writes.pop()
            self._writes_from = now + pause_ms / 1000

    # --- what it waits for

    def interest(self, now: float) -> int:
        """The events that it can use now."""
        reads = now >= self._reads_from and not self.ended
        writes = (now >= self._writes_from and self._left) or self._holds()
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if writes else 0)

    def wakes_at(self, now: float) -> float:
        """When it will want something that it does not want yet."""
        times = [at for at in (self._reads_from, self._writes_from if self._left else 0) if at > now]
        return min(times, default=float("inf"))

    def is_ready(self, now: float) -> bool:
        """Has it something to do that no event will tell of?"""
        return now >= self._reads_from and not self.ended and self.wire.has_more

    def _holds(self) -> bool:
        try:
            self.wire.flush()
        except BlockingIOError:
            return True
        except OSError:
            self._broken = True
        return False

    # --- what it does

    def run(self, now: float) -> None:
        """Whatever can be done. Raises Wrong when bytes are."""
        if now >= self._reads_from and not self.ended:
            self._read()
            if self.script.gulp:
                self._reads_from = now + 0.001
        if now >= self._writes_from:
            self._write(now)
        self._leave(now)

    def _read(self) -> None:
        for _ in range(1 if self.script.gulp else READS):
            try:
                data = self.wire.recv(self.script.gulp or RECEIVE)
            except BlockingIOError:
                return
            except OSError:
                self.ended = "broken"
                return
            if not data:
                self.ended = "broken" if self._broken else "properly"  # an error is told once, to whoever asks first
                return
            self._theirs.check(self.received, data)
            self.received += len(data)
            if self.received > self.other.sent:
                raise Wrong(f"{self.name}: received {self.received} bytes, of which {self.other.sent} were sent")

    def _write(self, now: float) -> None:
        while self._left and now >= self._writes_from:
            try:
                count = self.wire.send(self._mine.piece(self.sent, self._left))
            except BlockingIOError:
                return
            except OSError:
                self._broken, self._left = True, 0
                self._writes.clear()
                return
            self.sent += count
            self._left -= count
            if not self._left:
                self._next_write(now)

    def _leave(self, now: float) -> None:
        if self._left or self._writes or self._holds():
            return None
        if self._broken and not self.ended and now >= self._reads_from:
            self._read()
        if self.script.end == "reset":
            return self._go(self.wire.reset)
        if self.script.end == "close":
            return self._go(self.wire.close)
        if not self._finished and not self.wire.has_more and (self.script.end == "finish" or self.ended):
            self._finished = True
            with contextlib.suppress(OSError):
                self.wire.finish()
        if self.ended and (self._finished or self._broken) and not self._holds():
            self._go(self.wire.close)
        return None

    def _go(self, how: Callable[[], None]) -> None:
        self.gone = True
        how()

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.script.end}): sent {self.sent} of {total(self.script)}, received {self.received} of "
            f"{total(self.other.script)}, {'gone' if self.gone else 'open'}, the other ended {self.ended or 'not yet'}"
        )


def play(pairs: Iterable[tuple[Side, Side]], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Play these sessions to their ends. meanwhile: called in each turn. Raises AssertionError when one hangs, or is wrong."""
    sides = [side for pair in pairs for side in pair]
    deadline = time.monotonic() + PATIENCE_S * SLOWER
    with selectors.DefaultSelector() as selector:
        for side in sides:
            side.begin(time.monotonic())
        while sides:
            now = time.monotonic()
            assert now < deadline, "stuck:\n" + "\n".join(map(str, sides))
            meanwhile()
            for side in sides:
                side.run(now)
            sides = _watch(selector, sides, now)
            wake_s = min((side.wakes_at(now) for side in sides), default=now) - now
            ready = any(side.is_ready(now) for side in sides)
            selector.select(0 if ready else max(0, min(wake_s, 0.05)))


def _watch(selector: selectors.BaseSelector, sides: list[Side], now: float) -> list[Side]:
    for key in list(selector.get_map().values()):
        if key.data.gone:
            selector.unregister(key.fileobj)
    left = [side for side in sides if not side.gone]
    watched = {key.data: key for key in selector.get_map().values()}
    for side in left:
        events = side.interest(now)
        if side not in watched:
            if events:
                selector.register(side.wire.socket, events, side)
        elif not events:
            selector.unregister(side.wire.socket)
        elif watched[side].events != events:
            selector.modify(side.wire.socket, events, side)
    return left


def judge(client: Side, backend: Side) -> None:
    """Did each learn what it had to learn of the other? See the rules in csrc/l4/session.c: judge."""
    for side, other in ((client, backend), (backend, client)):
        if side.script.end not in PROPER:
            continue
        whole = side.received == total(other.script)
        assert side.ended, side
        if other.script.end in PROPER:
            assert whole, f"lost its end: {side}"
            assert side.ended == "properly", f"was broken off: {side}"
        elif other.script.end == "reset":
            assert side.ended == "broken", f"took a broken session for a whole one: {side}"
        else:
            assert whole or side.ended == "broken", f"took a part for the whole: {side}"
