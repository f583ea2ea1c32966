"""What lbcore raises, beside builtin OSError and ValueError."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class LbcoreError(Exception):
    """The root of lbcore's own errors. Its text is one clear line a problem."""


class ConfigError(LbcoreError, ValueError):
    """A configuration, flag or argument is wrong.

    problems: one line each, naming the key, the value and what is allowed.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NotRunning(LbcoreError):
    """No balancer of that name runs, or this one is not started."""


class NoBackend(LbcoreError):
    """No backend of the pool can be picked now."""


class NameTaken(LbcoreError):
    """A balancer of that name runs already."""


class PortTaken(LbcoreError, OSError):
    """An address that was asked for cannot be bound: somebody listens there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)


class WorkerFailed(LbcoreError):
    """A worker did not begin to serve."""


class StillDraining(LbcoreError):
    """Workers that were replaced before have sessions left; their places are needed.

    wait_s: after so many seconds they have ended at the latest.
    """

    def __init__(self, text: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(text)
