"""What backends say of themselves."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """What a backend says of itself; None: nothing.

    status: ready, alive, starting, busy or draining. weight: 0..256. capacity: becomes the weight where none is given.
    load: 0..1. for_s: how long it stays busy, seconds. in_flight: requests that it has under way, from wherever they came.
    seq: grows with each report of an instance; one that is not newer than the last changes nothing. backup: it takes sessions
    only while no other can. instance: which of several processes that serve one address; "" or None: the only one.
    """

    status: str | None = None
    weight: int | None = None
    capacity: float | None = None
    load: float | None = None
    for_s: float | None = None
    in_flight: int | None = None
    seq: int | None = None
    backup: bool | None = None
    instance: str | None = None


def weight_of(report: Report) -> int | None:
    """The weight that a backend asks for, 0..256; None: none."""
    if report.weight is not None:
        return int(report.weight)
    return None if report.capacity is None else max(1, min(256, round(report.capacity)))


MOST_INSTANCES = 255
"""Processes that may share an address: of more, the one that was silent for longest is forgotten."""
