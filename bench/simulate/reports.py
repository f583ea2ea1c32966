"""The second half of the page: what it does to a pool that its servers report their load, beside not reporting it."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from bench.simulate.model import Simulation
from bench.simulate.scenarios import POOLS, SEEDS, WORKS, Work, capacity, servers

POLICIES = ("p2c", "least_conn", "ewma")
BEATS = (0.05, 5.0)
LOAD = 0.8
ELSEWHERE = 0.6
"""Share of its capacity that every second server spends on requests that this balancer does not see."""


def rows(count: int, first_seed: int) -> list[str]:
    """Lines of Markdown."""
    lines = [
        f"| work | heartbeat | {' | '.join(f'`{policy}`' for policy in POLICIES)} |"
        f" {' | '.join(f'`{policy}`, elsewhere' for policy in POLICIES)} |",
        "| --- | --- |" + " --- |" * (2 * len(POLICIES)),
    ]
    for work in WORKS:
        for beat_s in BEATS:
            cells = [
                _cell([_ratio(work, policy, beat_s, elsewhere, first_seed + seed, count) for seed in SEEDS])
                for elsewhere in (0.0, ELSEWHERE)
                for policy in POLICIES
            ]
            lines.append(f"| {work.name} | {beat_s:g} s | {' | '.join(cells)} |")
    return lines


def section(count: int, first_seed: int) -> str:
    """The whole of it."""
    return "\n".join(
        [
            "## Reports of load",
            "",
            "p99 with heartbeats that report the share of slots in use, over the p99 of the same policy and seed without: below"
            f" 1 the reports help. {POOLS[0].what[0].upper()}{POOLS[0].what[1:]}; {LOAD:.0%} of their capacity is used."
            f" `elsewhere`: every second server spends {ELSEWHERE:.0%} of its capacity on requests that do not come through"
            " this balancer.",
            "",
            *rows(count, first_seed),
        ]
    )


def _ratio(work: Work, policy: str, beat_s: float, elsewhere: float, seed: int, count: int) -> float:
    return p99(work, policy, beat_s, elsewhere, seed, count) / p99(work, policy, 0.0, elsewhere, seed, count)


def p99(work: Work, policy: str, beat_s: float, elsewhere: float, seed: int, count: int) -> float:
    """Seconds. beat_s 0: no reports."""
    pool = POOLS[0]
    shared = 1 + work.slowdown * (work.slots - 1)
    there = [elsewhere * (at % 2) * speed * work.slots / shared / work.mean for at, (speed, _) in enumerate(pool.servers)]
    at_work = [replace(server, beat_s=beat_s, elsewhere=rate) for server, rate in zip(servers(pool, work), there, strict=True)]
    rate = LOAD * capacity(pool, work) - sum(there)
    with Simulation(at_work, policy, work.draw, rate, seed) as simulation:
        responses = sorted(simulation.run(count).responses)
    return responses[int(0.99 * len(responses))]


def _cell(ratios: list[float]) -> str:
    return f"**{median(ratios):.2f}** ({min(ratios):.2f}..{max(ratios):.2f})"
