"""What goes wrong, told once until it changes: a full disk or a dead name server is no reason to fill the log."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class LogOnce:
    """log: called with a line. about: how each line begins. over: what is told when it goes well again; "": nothing."""

    def __init__(self, log: Callable[[str], None], about: str, over: str = "") -> None:
        self._log = log
        self._about = about
        self._over = over
        self._last = ""

    def tell(self, what: str) -> None:
        """It goes wrong like this; "": it does not any more."""
        if what != self._last and (what or self._over):
            self._log(f"{self._about}: {what or self._over}")
        self._last = what

    @property
    def last(self) -> str:
        """What goes wrong now; "": nothing."""
        return self._last
