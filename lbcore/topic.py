"""What one part has to tell and others want to hear, without either knowing the other."""

from __future__ import annotations

from typing import Generic, ParamSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")


class Topic(Generic[P]):
    """Called, it calls all that have subscribed, in that order, on the caller's thread."""

    def __init__(self) -> None:
        self._told: list[Callable[P, object]] = []

    def subscribe(self, told: Callable[P, object]) -> None:
        """Have it called, too. A part subscribes when it is made."""
        self._told.append(told)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for told in self._told:
            told(*args, **kwargs)
