"""Backoff before something is tried again."""

from __future__ import annotations

from lbcore.backoff import Backoff


def test_they_double_up_to_the_longest_and_are_cut_by_half_at_most() -> None:
    backoff = Backoff(0.1, 5.0)
    for whole in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        assert whole / 2 <= backoff.next() <= whole


def test_after_a_success_they_begin_anew() -> None:
    backoff = Backoff(0.1, 5.0)
    for _ in range(10):
        backoff.next()
    backoff.begin_anew()
    assert backoff.next() <= 0.1


def test_a_refusal_makes_them_the_longest_at_once() -> None:
    backoff = Backoff(0.1, 5.0)
    backoff.lengthen()
    assert 2.5 <= backoff.next() <= 5.0
    assert 2.5 <= backoff.next() <= 5.0
