"""Pauses before something is tried again."""

from __future__ import annotations

from lbcore.pauses import Pauses


def test_they_double_up_to_the_longest_and_are_cut_by_half_at_most() -> None:
    pauses = Pauses(0.1, 5.0)
    for whole in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        assert whole / 2 <= pauses.next() <= whole


def test_after_a_success_they_begin_anew() -> None:
    pauses = Pauses(0.1, 5.0)
    for _ in range(10):
        pauses.next()
    pauses.begin_anew()
    assert pauses.next() <= 0.1


def test_a_refusal_makes_them_the_longest_at_once() -> None:
    pauses = Pauses(0.1, 5.0)
    pauses.lengthen()
    assert 2.5 <= pauses.next() <= 5.0
    assert 2.5 <= pauses.next() <= 5.0
