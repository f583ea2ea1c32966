"""What sources say: the backends of a pool."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Publish = Callable[[list["Found"]], None]
    """How a source tells the whole set that it knows now."""

MOST = 1024
"""Backends that DNS may name for a pool."""
MOST_ENTRIES = 10_000
"""Backends that a file or an engine may name for a pool."""


class Found(NamedTuple):
    """A backend as a source knows it: "IP:PORT" (IPv6 in brackets), its weight, 0..256, and its tier.

    It takes sessions only while none of a lower tier can.
    """

    address: str
    weight: int
    tier: int = 0


class Answer(NamedTuple):
    """What a source says when it is asked. skipped: why entries cannot be used, by their keys.

    told: it says itself that there is nothing else; an empty answer that is not told may come from a source that lost its data.
    note: what else there is to say of it.
    """

    found: list[Found]
    skipped: Mapping[str, str] = MappingProxyType({})
    told: bool = False
    note: str = ""


class SourceFailed(Exception):
    """A source gave no answer, or one that says nothing: in words. wait_s: it asks not to be asked again for so long."""

    def __init__(self, words: str = "", wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


def plain(text: str, most: int = 300) -> str:
    """What somebody else wrote, as a part of a line of ours."""
    return " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * most]).split())[:most]


def scaled(given: list[int]) -> list[int]:
    """Weights of 0..65535, where 0 is hardly any (RFC 2782), as those of backends, 1..256."""
    heaviest = max(given, default=0)
    if heaviest <= 256:
        return [max(1, weight) for weight in given]
    return [max(1, round(weight * 256 / heaviest)) for weight in given]
