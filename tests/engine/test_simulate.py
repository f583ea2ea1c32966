"""The simulator: what its seed promises, that nothing is lost in it, and what its page says of the policies."""

from __future__ import annotations

import random
from statistics import median

import pytest

from bench.simulate import reports
from bench.simulate.model import Server, Simulation
from bench.simulate.page import page, quantile, results, simulate
from bench.simulate.scenarios import POLICIES, POOLS, WORKS, Work, capacity, servers

SHORT, LONG, LLM = WORKS
DECLARED, UNDECLARED, LIES = POOLS


def test_the_same_seed_gives_the_same_page() -> None:
    assert page(results(60, 3), 60, 3) == page(results(60, 3), 60, 3)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_ends_and_nothing_stays_charged(policy: str) -> None:
    with Simulation(servers(DECLARED, LLM), policy, LLM.draw, 0.9 * capacity(DECLARED, LLM), 1) as simulation:
        outcome = simulation.run(500)
        assert len(outcome.responses) == 500
        assert simulation.in_flight() == 0
        assert all(0 < used <= 1 for used in outcome.used)


def test_one_server_alone_is_the_queue_of_the_textbook() -> None:
    """M/M/1 at half its capacity: a response takes 2 service times on average (Kleinrock, "Queueing Systems", 1975)."""
    work = lambda chance: chance.expovariate(1.0)  # noqa: E731
    with Simulation([Server(1.0, 1, slots=1)], "p2c", work, 0.5, 7) as simulation:
        outcome = simulation.run(20_000)
    assert sum(outcome.responses) / 20_000 == pytest.approx(2.0, rel=0.1)
    assert outcome.used[0] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_the_mean_of_each_kind_of_work_is_what_it_says(work: object) -> None:
    chance = random.Random(5)
    drawn = [work.draw(chance) for _ in range(200_000)]  # type: ignore[attr-defined]
    assert sum(drawn) / len(drawn) == pytest.approx(work.mean, rel=0.05)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(5))
def test_policies_that_look_beat_those_that_do_not(seed: int) -> None:
    """Long-tailed work and servers that do not say how fast they are."""
    tails = {
        policy: quantile(simulate(LONG, UNDECLARED, 0.9, policy, seed, 3000).responses, 0.99)
        for policy in ("round_robin", "p2c", "least_conn")
    }
    assert tails["p2c"] < 0.7 * tails["round_robin"]
    assert tails["least_conn"] < 0.7 * tails["round_robin"]


@pytest.mark.parametrize("seed", range(3))
def test_ewma_keeps_away_from_one_that_is_slower_than_it_says(seed: int) -> None:
    used = {policy: simulate(SHORT, LIES, 0.7, policy, seed, 3000).used for policy in ("round_robin", "ewma")}
    served = {policy: figures[-1] * 0.2 / sum(figures[:-1]) for policy, figures in used.items()}
    assert served["ewma"] < 0.5 * served["round_robin"]


@pytest.mark.parametrize("policy", reports.POLICIES)
@pytest.mark.parametrize("work", [SHORT, LONG], ids=["short", "long-tailed"])
def test_reports_of_load_that_say_nothing_new_do_little_harm(work: Work, policy: str) -> None:
    """Stale and noisy as they are, all that they tell is in the balancer's own counts already."""
    ratios = [reports.p99(work, policy, 0.05, 0, seed, 3000) / reports.p99(work, policy, 0, 0, seed, 3000) for seed in range(5)]
    assert median(ratios) < 1.15


def test_ewma_remembers_answers_that_take_a_minute() -> None:
    """A server of a fifth of its speed stays known as such between its answers."""
    tails = [quantile(simulate(LLM, LIES, 0.7, policy, 1, 3000).responses, 0.99) for policy in ("ewma", "p2c")]
    assert tails[0] < tails[1]
