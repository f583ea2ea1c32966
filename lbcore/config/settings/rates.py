"""Rates as settings say them: "10/minute", "0.5/s"."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?/ ?([a-z]+)")
FASTEST, SLOWEST_S = 1_000_000, 86_400
"""A second at most, and seconds from one to the next at most."""


class Rate(NamedTuple):
    """step_ns: from one to the next, if they come evenly. whole: how many come in the time that the rate names, at least 1."""

    step_ns: int
    whole: int


def parse_rate(text: object) -> Rate:
    """What "10/minute" says. Raises ValueError."""
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if not match or match[2] not in _UNITS:
        raise ValueError
    count, seconds = float(match[1]), _UNITS[match[2]]
    if not seconds / SLOWEST_S <= count <= seconds * FASTEST:
        raise ValueError
    return Rate(round(seconds * 1e9 / count), max(1, int(count)))
