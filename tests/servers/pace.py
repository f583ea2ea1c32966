"""How long the measurements take: whole for the page, quick for a look, short for the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds, unless it is said otherwise.

    idle: how long an idle connection is watched.
    at_idle_rounds: how often POSTs are sent at the time of the idle close; 0: not at all.
    early, head: requests of these measurements, a count for each front.
    socket: how long the end of a WebSocket is waited for.
    terms, term_at, load: how often, and when, one of two servers is stopped, and how long the load lasts.
    recycle_load, recycle_after: how long, and after how many requests a process ends.
    keep, grace: the servers' own times where these are set, instead of their defaults.
    """

    idle: float
    at_idle_rounds: int
    early: int
    head: int
    socket: float
    terms: int
    term_at: float
    load: float
    recycle_load: float
    recycle_after: int
    keep: float | None = None
    grace: float | None = None


WHOLE = Pace(
    idle=130,
    at_idle_rounds=3,
    early=8,
    head=20,
    socket=35,
    terms=3,
    term_at=1,
    load=6,
    recycle_load=10,
    recycle_after=60,
)
QUICK = Pace(
    idle=12,
    at_idle_rounds=1,
    early=4,
    head=5,
    socket=8,
    terms=1,
    term_at=1,
    load=4,
    recycle_load=4,
    recycle_after=25,
)
SHORT = Pace(
    idle=5,
    at_idle_rounds=2,
    early=4,
    head=20,
    socket=10,
    terms=1,
    term_at=1,
    load=3,
    recycle_load=3,
    recycle_after=25,
    keep=1,
    grace=2,
)
