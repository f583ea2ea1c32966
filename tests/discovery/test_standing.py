"""What the status says of a source: up, stale or waiting, and why in words. By a clock of the test's own."""

from __future__ import annotations

import pytest

from lbcore.discovery import standing as standing_module
from lbcore.discovery.standing import Standing


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(standing_module, "time", made)
    return made


def shown(standing: Standing) -> tuple[str, str | None]:
    document = standing.document()
    return document["state"], document["trouble"]


def test_a_source_waits_for_its_first_answer(clock: Clock) -> None:
    standing = Standing("web", "etcd", "/shop/", 60)
    assert shown(standing) == ("waiting", "no answer yet")
    standing.failed("http://10.0.0.1:2379: connection refused")
    assert shown(standing) == ("waiting", "no answer yet: http://10.0.0.1:2379: connection refused")
    standing.heard("7")
    assert shown(standing) == ("up", None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (119, "119 s"), (720, "12 min"), (7300, "2 h"), (260_000, "3 days")]
)
def test_a_lost_source_says_for_how_long(clock: Clock, seconds: float, words: str) -> None:
    standing = Standing("web", "etcd", "/shop/", 60)
    standing.heard("7")
    standing.took(3, 1)
    standing.failed("it closed the connection")
    clock.now += seconds
    assert shown(standing) == (
        "stale",
        f"nothing heard for {words}, its last 3 backends stay in force: it closed the connection",
    )


def test_a_source_that_has_fallen_silent_is_stale_though_nothing_has_failed(clock: Clock) -> None:
    standing = Standing("web", "etcd", "/shop/", 60)
    standing.heard("7")
    standing.took(1)
    clock.now += 60
    assert shown(standing) == ("up", None)
    clock.now += 1
    assert shown(standing) == ("stale", "nothing heard for 61 s, its last backend stays in force")


def test_a_source_whose_answer_is_not_believed_is_stale(clock: Clock) -> None:
    standing = Standing("web", "consul", "shop", 60)
    standing.heard("7")
    standing.took(2, 0, "it names no backend: the last 2 are kept")
    assert shown(standing) == ("stale", "it names no backend: the last 2 are kept")
    standing.took(1)
    assert shown(standing) == ("up", None)
