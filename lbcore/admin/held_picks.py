"""Picks that callers over HTTP hold: by name, each until it is released or its time is over."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbcore._engine import Pick

MOST = 100_000


class HeldPicks:
    """Of one event loop."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Pick, asyncio.TimerHandle]] = {}

    def keep(self, pick: Pick, hold_s: float) -> str | None:
        """The name under which it is held; None when too many are."""
        if len(self._held) >= MOST:
            return None
        name = os.urandom(12).hex()
        timer = asyncio.get_running_loop().call_later(hold_s, self.release, name, "left")
        self._held[name] = pick, timer
        return name

    def release(self, name: str, outcome: str) -> bool:
        """Was it held?"""
        pick, timer = self._held.pop(name, (None, None))
        if pick is None or timer is None:
            return False
        timer.cancel()
        pick.release(outcome)
        return True

    def close(self) -> None:
        """Let go of all."""
        for name in list(self._held):
            self.release(name, "left")
