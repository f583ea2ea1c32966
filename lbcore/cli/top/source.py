"""Where top's documents come from: the segment, also of a balancer that hangs, or whose control plane is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbcore.cli import contact, control
from lbcore.control import runtime
from lbcore.engine.segment import Segment, SegmentError
from lbcore.errors import LbcoreError, NotRunning
from lbcore.observe.status import document

if TYPE_CHECKING:
    from types import TracebackType

ACT_LIMIT_S = 5.0
"""How long an order may take; the balancer's response takes milliseconds when it does not hang."""


class Source:
    """A balancer by its name, whichever process has it. `state` says what is known of its control plane."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path: str | None = None
        self._segment: Segment | None = None
        self.state: str = ""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._detach()

    def _detach(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment, self._path = None, None

    def read(self) -> dict[str, Any]:
        """The status document now. Raises NotRunning, OSError or SegmentError."""
        path = runtime.segment_of(self.name)
        try:
            if path != self._path or self._segment is None:
                self._detach()
                self._segment, self._path = Segment.attach(path), path
            found = document(self._segment)
        except (OSError, SegmentError):
            self._detach()
            raise
        if runtime.orphans(self.name):
            self.state = "no control plane: workers go on with the last table"
        else:
            self.state = "draining" if found["draining"] else "serving"
        return found

    def sources(self) -> list[tuple[str, dict[str, Any]]] | None:
        """(pool, source) of each source of backends, as in the status document; None: the control plane does not respond."""
        try:
            told = contact.sources(runtime.find(self.name))
        except LbcoreError:
            return None
        return None if told is None else [(pool, source) for pool, found in told.items() for source in found]

    def act(self, verb: str, address: str, pool: str, weight: int | None = None) -> str:
        """Have a backend drained, made ready or weighed: what became of it, in words. Raises LbcoreError."""
        try:
            answer = control.act(self.name, verb, address, pool, weight, ACT_LIMIT_S)
        except NotRunning:
            if runtime.orphans(self.name):
                raise LbcoreError(
                    "its control plane has crashed and takes no commands: `lbcore stop`, then run it again"
                ) from None
            raise
        return f"{answer['address']}: {answer['state']}, weight {answer['weight']}"
