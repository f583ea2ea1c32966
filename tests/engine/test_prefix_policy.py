"""The policy prefix on traces of model servers (bench/prefix): what it must reach beside the best possible."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.prefix.model import Fleet
from bench.prefix.page import CHATS, WORKERS, added, chats, fresh, hot, lost, small
from bench.prefix.traces import Trace, message, words

SEEDS = (1, 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flights", [1, 16, 48])
def test_conversations_stay_where_they_are_and_are_spread(flights: int, seed: int) -> None:
    run = chats("prefix", keyed=False, trace=replace(CHATS, flights=flights), seed=seed)
    assert run.same_share >= 0.995
    assert run.hit >= 0.92  # of a best possible 0.923
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


@pytest.mark.parametrize("flights", [8, 16, 64])
def test_a_text_that_all_continue_is_spread(flights: int) -> None:
    counts = hot("prefix", keyed=False, flights=flights, equal=False, seed=1, served=True)
    assert max(counts) <= 1.3 * sum(counts) / WORKERS


@pytest.mark.parametrize("flights", [1, 16])
@pytest.mark.parametrize("form", ['"{}{}"', '["{}","{}"]'])
def test_prompts_that_are_no_messages_are_spread(form: str, flights: int) -> None:
    counts = hot("prefix", keyed=False, flights=flights, equal=False, seed=1, form=form)
    assert max(counts) <= 1.3 * sum(counts) / WORKERS


def continued(text: Callable[[random.Random, list[str]], str], flights: int) -> float:
    """40 conversations of 15 turns; text: what the next turn sends, by what was said. The share of turns that stay."""
    dice, same, turns = random.Random(1), 0, 0
    said: list[list[str]] = [[] for _ in range(40)]
    last: dict[int, int] = {}
    with Fleet("prefix", WORKERS, keyed=False, seed=1) as fleet:
        under_way: list[tuple[int, int]] = []
        for _ in range(600):
            number = dice.randrange(len(said))
            if len(under_way) == flights:
                fleet.end(*under_way.pop(0))
            under_way.append(fleet.begin(text(dice, said[number]).encode()))
            row = under_way[-1][0]
            turns += number in last
            same += last.get(number) == row
            last[number] = row
    return same / turns


SHARED = words(random.Random(2), 2000)


def tool_calls(dice: random.Random, said: list[str]) -> str:
    """An agent's turn: many messages at once."""
    said += [message("tool", words(dice, 80)) for _ in range(30)]
    return f"[{message('system', SHARED)},{','.join(said)}]"


def prose(dice: random.Random, said: list[str]) -> str:
    """A string that grows by less than its last block."""
    said.append(words(dice, 200))
    return f'"{SHARED} {" ".join(said)}"'


def tokens(dice: random.Random, said: list[str]) -> str:
    """Numbers of tokens."""
    said += [str(dice.randrange(30_000)) for _ in range(120)]
    return f"[{','.join(map(str, range(500)))},{','.join(said)}]"


@pytest.mark.parametrize("flights", [1, 16])
@pytest.mark.parametrize("text", [tool_calls, prose, tokens])
def test_what_continues_stays_whatever_its_form(text: Callable[[random.Random, list[str]], str], flights: int) -> None:
    assert continued(text, flights) >= 0.99


def test_prompts_that_share_nothing_are_spread_one_after_the_other() -> None:
    assert max(fresh("prefix", 1)) <= 60


@pytest.mark.parametrize("flights", [1, 16])
def test_an_added_worker_gets_conversations_though_no_new_one_comes(flights: int) -> None:
    first, share, same, _ = added(flights=flights, seed=1)
    assert first < 200
    assert share > 0.1
    assert same >= 0.97


def test_a_lost_worker_moves_its_own_conversations_only() -> None:
    same, spread, _ = lost(flights=16, seed=1)
    assert same >= 0.975
    assert spread <= 1.6


def test_shares_follow_weights() -> None:
    with Fleet("prefix", 1, keyed=False, seed=1) as fleet:
        fleet.join(weight=3)
        run = fleet.play(Trace(conversations=80, turns=4), 1)
    heavy = run.places.count("10.0.0.2:80") / len(run.places)
    assert 0.65 <= heavy <= 0.85


def test_who_is_told_of_small_caches_loses_nothing() -> None:
    runs = [small("prefix", keyed=False, cache=500_000, told=told, seed=1) for told in (False, True)]
    assert all(run.same_share >= 0.995 for run in runs)
    assert runs[1].hit >= runs[0].hit - 0.01
