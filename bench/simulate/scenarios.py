"""What is simulated: kinds of work, and pools of unequal servers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.simulate.model import Server

POLICIES = ("round_robin", "random", "p2c", "least_conn", "ewma", "maglev")
LOADS = (0.7, 0.9)
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Work:
    """A kind of request: `draw` gives its work in seconds of a server of speed 1, `mean` of it."""

    name: str
    what: str
    draw: Callable[[random.Random], float]
    mean: float
    slots: int
    slowdown: float = 0.0


@dataclass(frozen=True)
class Pool:
    """Servers: (speed, declared weight) each."""

    name: str
    what: str
    servers: tuple[tuple[float, int], ...]


def _llm(chance: random.Random) -> float:
    """A prompt and its answer: half a second to a minute, the logarithm even."""
    return float(0.5 * 120 ** chance.random())


WORKS = (
    Work("short", "exponential, 1 ms on average, 4 at once", lambda chance: chance.expovariate(1000.0), 0.001, 4),
    Work(
        "long-tailed",
        "lognormal, the 99th percentile 30 times the median, 4 at once",
        lambda chance: chance.lognormvariate(-6.9, 1.46),
        0.00293,
        4,
    ),
    Work("LLM-like", "half a second to a minute, 16 at once that slow each other down (5% each)", _llm, 12.43, 16, 0.05),
)

POOLS = (
    Pool("declared", "4 servers of speed 1, 2 of speed 2, 2 of speed ½, and their weights say so",
         ((1, 2), (1, 2), (1, 2), (1, 2), (2, 4), (2, 4), (0.5, 1), (0.5, 1))),
    Pool("undeclared", "the same servers, but all have weight 1",
         ((1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (0.5, 1), (0.5, 1))),
    Pool("one lies", "8 servers of speed 1, but one of them is 5 times slower than its weight says",
         ((1, 1),) * 7 + ((0.2, 1),)),
)  # fmt: skip


def servers(pool: Pool, work: Work) -> list[Server]:
    """The servers of a pool for a kind of work."""
    return [Server(speed, weight, work.slots, work.slowdown) for speed, weight in pool.servers]


def capacity(pool: Pool, work: Work) -> float:
    """Requests a second that the pool can serve: all slots at work."""
    shared = 1 + work.slowdown * (work.slots - 1)
    return sum(speed for speed, _ in pool.servers) * work.slots / shared / work.mean
