"""The order of locks, as the debug mode checks it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from lbcore import locks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def broken() -> Iterator[list[str]]:
    """What was wrong, forgotten at the end: these faults are meant."""
    yield locks.broken
    locks.broken.clear()


def test_locks_are_taken_from_the_outside_in() -> None:
    with locks.rlock("balancer"), locks.rlock("membership"), locks.rlock("table"):
        pass


def test_an_outer_lock_under_an_inner_one(broken: list[str]) -> None:
    table, membership = locks.rlock("table"), locks.rlock("membership")
    with table, pytest.raises(locks.LockOrderBroken, match="membership is taken under table"):
        membership.acquire()
    assert broken == ["membership is taken under table"]
    with membership, table:  # what was refused is not held
        pass


def test_two_locks_of_one_level(broken: list[str]) -> None:
    """Two balancers' tables, say: another thread may take them the other way round."""
    with locks.rlock("table"), pytest.raises(locks.LockOrderBroken):
        locks.rlock("table").acquire()


def test_a_lock_that_is_held_may_be_taken_again() -> None:
    membership, table = locks.rlock("membership"), locks.rlock("table")
    with membership, table, membership:
        pass
    with membership:
        pass


def test_who_does_not_wait_may_try() -> None:
    table, workers = locks.rlock("table"), locks.rlock("workers")
    with table:
        assert workers.acquire(blocking=False)
        workers.release()


def test_a_lock_that_another_thread_holds_is_none_of_ours() -> None:
    table, membership = locks.rlock("table"), locks.rlock("membership")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with table:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with membership:
        done.set()
    thread.join()


def test_a_condition_is_waited_on() -> None:
    changed = locks.condition("workers_changed")
    with changed:
        assert not changed.wait(0.01)
    with locks.rlock("workers"), changed:
        changed.notify_all()


def test_without_the_debug_mode_they_are_ordinary_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCORE_CHECK_LOCKS", "0")
    assert type(locks.lock("table")) is type(threading.Lock())
    assert type(locks.rlock("table")) is type(threading.RLock())
