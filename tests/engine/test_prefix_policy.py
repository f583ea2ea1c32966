"""The policy prefix on traces of model servers (bench/prefix): what it must reach beside the best possible."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.prefix.model import Fleet
from bench.prefix.page import CHATS, WORKERS, added, chats, fresh, hot, lost, page
from bench.prefix.traces import Trace

SEEDS = (1, 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flights", [1, 16, 48])
def test_conversations_stay_where_they_are_and_are_spread(flights: int, seed: int) -> None:
    run = chats("prefix", keyed=False, trace=replace(CHATS, flights=flights), seed=seed)
    assert run.same_share >= 0.995
    assert run.hit >= run.best - 0.003
    assert run.spread(WORKERS) <= 1.3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_a_conversation_is_enough(seed: int) -> None:
    run = chats("prefix", keyed=True, trace=CHATS, seed=seed)
    assert run.same_share >= 0.995
    assert run.spread(WORKERS) <= 1.3


@pytest.mark.parametrize("trace", [CHATS, Trace(conversations=200, turns=5, flights=64, prompt=500)], ids=["4", "16"])
def test_maglev_keeps_keys_together_under_a_few_requests_a_backend(trace: Trace) -> None:
    assert chats("maglev", keyed=True, trace=trace, seed=1).same_share >= 0.99


@pytest.mark.parametrize("flights", [16, 64])
@pytest.mark.parametrize("equal", [False, True])
def test_a_prefix_that_all_ask_is_spread(flights: int, equal: bool) -> None:
    counts = hot("prefix", keyed=False, flights=flights, equal=equal, seed=1)
    assert max(counts) <= 1.3 * sum(counts) / WORKERS
    assert min(counts) >= 0.7 * sum(counts) / WORKERS


def test_prompts_that_share_nothing_are_spread_one_after_the_other() -> None:
    assert max(fresh("prefix", 1)) <= 60


@pytest.mark.parametrize("flights", [1, 16])
def test_an_added_worker_gets_conversations_though_no_new_one_comes(flights: int) -> None:
    first, share, same = added(flights=flights, seed=1)
    assert first < 200
    assert share > 0.1
    assert same >= 0.97


def test_a_lost_worker_moves_its_own_conversations_only() -> None:
    same, spread = lost(flights=16, seed=1)
    assert same >= 0.975
    assert spread <= 1.6


def test_shares_follow_weights() -> None:
    with Fleet("prefix", 1, keyed=False, seed=1) as fleet:
        fleet.join(weight=3)
        run = fleet.play(Trace(conversations=80, turns=4), 1)
    heavy = run.places.count("10.0.0.2:80") / len(run.places)
    assert 0.65 <= heavy <= 0.85


def test_the_page_is_made_of_these() -> None:
    assert "| `prefix`, the messages | **" in page(1)
