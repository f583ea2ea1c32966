"""Rates of routes: how many requests of a key pass, what the others are told, and what many keys do."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from h2_frames import H2Client
from harness import balanced, settled, totals, wait_for
from http_balancers import settings_of
from http_peers import Backend, Client, field
from hypothesis import given
from hypothesis import strategies as st

from lbcore.config.settings import BalancerSettings, RouteSettings
from lbcore.config.settings.rates import parse_rate
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore import Balancer

NO_MORE = b"429 Too Many Requests: too many requests for this route\n"


def limited(backend: Backend, *routes: dict[str, Any], workers: int = 1) -> BalancerSettings:
    """Routes to one pool, and a default without a route."""
    return settings_of({"default": backend}, [{"pool": "default", **route} for route in routes]).replace(workers=workers)


def statuses(lb: Balancer, count: int, path: str = "/", extra: bytes = b"") -> list[int]:
    """Of so many requests in turn on one connection."""
    with Client(lb.address) as client:
        return [client.get(path, extra).status for _ in range(count)]


def token(**claims: Any) -> bytes:
    """A header with a token that nobody signed."""
    parts = ({"alg": "none"}, claims)
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return b"Authorization: Bearer " + text + b".c2ln\r\n"


def test_requests_over_the_rate_are_told_429_and_when_to_come_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as backend:
        settings = limited(backend, {"path_prefix": "/api", "rate": "3/minute"}).replace(access_log=str(log))
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            assert [client.get("/api/x").status for _ in range(3)] == [200] * 3
            for _ in range(12):
                answer = client.get("/api/x")
                assert (answer.status, answer.body) == (429, NO_MORE)
                assert 10 <= int(field(answer.head, b"Retry-After") or 0) <= 20
                assert field(answer.head, b"Connection") == b"keep-alive"
            assert client.get("/else").status == 200, "another route"
            figures = totals(settled(lb))
            assert (figures["requests_rate_limited"], figures["requests_limited"]) == (12, 0)
            assert lb.status()["listeners"][0]["tally"]["limited"] == 12
            assert len(backend.heads) == 4, "what was refused reached no backend"
            assert {(line["status"], line["end"]) for line in logged(log, 16)} == {(200, "done"), (429, "local_response")}


def test_one_passes_each_step_when_the_burst_is_spent() -> None:
    with (
        Backend() as backend,
        balanced(settings=limited(backend, {"rate": "2/s", "burst": 1})) as lb,
        Client(lb.address) as client,
    ):
        answers = [client.get() for _ in range(3)]
        assert answers[0].status == 200
        assert 429 in [answer.status for answer in answers]
        assert wait_for(lambda: client.get().status == 200, "half a second later")


def test_streams_of_http2_are_limited_as_requests_are() -> None:
    heads = []
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "2/hour"})) as lb, H2Client(lb.address) as client:
        for stream in (1, 3, 5, 7):
            client.ask(stream)
            heads.append(client.response(stream).heads[-1])
        assert [head[":status"] for head in heads] == ["200", "200", "429", "429"]
        assert 1700 <= int(heads[-1]["retry-after"]) <= 1800
        assert client.ping(), "the connection goes on"


def test_curl_waits_as_it_is_told() -> None:  # by HTTP/2 curl 7.88.1 fails to use a connection again that it knew to speak it
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "1/s", "burst": 1})) as lb:
        host, port = lb.address
        words = ["curl", "-s", "--http1.1", "--retry", "5", "--max-time", "60", "-w", " %{http_code}"]
        url = f"http://{host}:{port}/"
        for _ in range(2):
            said = subprocess.run([*words, url], capture_output=True, text=True, timeout=90).stdout
            assert said.endswith(" 200")
        assert totals(settled(lb))["requests_done"] == 2


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("header:X-User", b"X-User: a\r\n", b"x-user: b\r\n"),
        ("cookie:user", b"Cookie: x=1; user=a\r\n", b"Cookie: user=b; x=1\r\n"),
        ("api_key", b"Authorization: Bearer sk-1\r\n", b"Authorization: bearer  sk-2\r\n"),
        ("api_key", b"X-Api-Key: one\r\n", b"Api-Key: two\r\n"),
        ("jwt:sub", token(sub="a", n=1), token(n=1, sub="b")),
        ("jwt:https://a.example/plan", token(**{"https://a.example/plan": 1}), token(**{"https://a.example/plan": 2})),
    ],
)
def test_each_key_has_its_own_rate(key: str, one: bytes, other: bytes) -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "2/hour", "limit_key": key})) as lb:
        assert statuses(lb, 3, extra=one) == [200, 200, 429]
        assert statuses(lb, 3, extra=other) == [200, 200, 429]
        assert statuses(lb, 3) == [200, 200, 429], "without that the client's address counts"
        assert statuses(lb, 1, extra=one) == [429], "on another connection, too"


def test_token_that_is_none_is_limited_by_its_source() -> None:
    bad = [b"Authorization: Bearer sk-1\r\n", b"Authorization: Bearer a.b.c\r\n", b"Authorization: Basic YTpi\r\n"]
    bad += [token(other="a"), token(sub=["a"]), token(sub="x" * 300), b""]
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "1/hour", "limit_key": "jwt:sub"})) as lb:
        assert [statuses(lb, 1, extra=extra) for extra in bad] == [[200]] + [[429]] * (len(bad) - 1)


def test_paths_have_their_own_rates_however_they_are_written() -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "1/hour", "limit_key": "path"})) as lb:
        assert statuses(lb, 2, "/a?x") == [200, 429]
        assert statuses(lb, 1, "/%61") == statuses(lb, 1, "/b/../a") == [429]
        assert statuses(lb, 2, "/b") == [200, 429]


def test_a_route_as_a_whole_has_one_rate() -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "3/hour", "limit_key": "route"})) as lb:
        assert statuses(lb, 2, "/a", b"X-Api-Key: 1\r\n") + statuses(lb, 2, "/b", b"X-Api-Key: 2\r\n") == [200, 200, 200, 429]


def test_workers_share_what_they_count() -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "10/hour"}, workers=2)) as lb:
        told = [statuses(lb, 1)[0] for _ in range(40)]
        assert told.count(200) == 10


def test_reload_keeps_what_was_counted() -> None:
    route = {"path_prefix": "/api", "rate": "2/hour"}
    with Backend() as backend, balanced(settings=limited(backend, route)) as lb:
        assert statuses(lb, 3, "/api") == [200, 200, 429]
        first = RouteSettings(path="/first", pool="default")
        lb.reload(lb.settings.replace(routes=[first, RouteSettings(**{**route, "pool": "default", "burst": 3})]))
        assert wait_for(lambda: statuses(lb, 3, "/api") == [429] * 3, "one more, then none")
        assert statuses(lb, 1, "/first") == [200]


def test_other_limits_of_the_client_stay_as_they_are() -> None:
    with Backend() as backend:
        settings = limited(backend, {"path": "/api", "rate": "1/hour"})
        listener = settings.listeners[0].replace(client_request_rate=1, client_request_burst=2)
        with balanced(settings=settings.replace(listeners=[listener])) as lb:
            assert statuses(lb, 2, "/api") == [200, 429]
            figures = totals(settled(lb))
            assert (figures["requests_rate_limited"], figures["requests_limited"]) == (1, 0)


def test_path_that_leads_past_a_rate_in_another_reading_is_refused() -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"path_prefix": "/api", "rate": "1/hour"})) as lb:
        for path in ("//api", "/x/..%2fapi", "/api;a"):
            assert statuses(lb, 1, path) == [400], path


def test_why_says_who_was_limited() -> None:
    with Backend() as backend, balanced(settings=limited(backend, {"rate": "1/hour"})) as lb:
        statuses(lb, 2)
        last = decisions(lb._running().table.segment)[-1]
        assert (last["backend"], last["why"], last["outcome"]) == (None, "over the route's rate", "limited")


def test_health_path_is_not_limited() -> None:
    with Backend() as backend:
        settings = limited(backend, {"rate": "1/hour"})
        settings = settings.replace(listeners=[settings.listeners[0].replace(health_path="/healthz")])
        with balanced(settings=settings) as lb:
            assert statuses(lb, 3, "/healthz") == [200] * 3


def test_client_that_waits_as_it_is_told_is_served() -> None:
    with (
        Backend() as backend,
        balanced(settings=limited(backend, {"rate": "1/s", "burst": 1})) as lb,
        Client(lb.address) as client,
    ):
        answer = client.get()
        while answer.status != 429:
            answer = client.get()
        time.sleep(float(field(answer.head, b"Retry-After") or 0))
        assert client.get().status == 200


@pytest.mark.parametrize(
    ("text", "step_ns", "whole"),
    [
        ("10/minute", 6_000_000_000, 10),
        ("0.5/s", 2_000_000_000, 1),
        ("1/day", 86_400_000_000_000, 1),
        ("1000000/s", 1000, 1_000_000),
        ("90 / h", 40_000_000_000, 90),
        ("2.5/min", 24_000_000_000, 2),
    ],
)
def test_rate_is_read(text: str, step_ns: int, whole: int) -> None:
    assert parse_rate(text) == (step_ns, whole)


@given(st.text(max_size=12))
def test_what_is_no_rate_is_refused(text: str) -> None:
    try:
        step_ns, whole = parse_rate(text)
    except ValueError:
        return
    assert 1000 <= step_ns <= 86_400 * 10**9
    assert whole >= 1


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"rate": "10"}, "rate: '10' is not allowed"),
        ({"rate": "0/s"}, "rate: '0/s' is not allowed"),
        ({"rate": "-1/s"}, "rate: '-1/s' is not allowed"),
        ({"rate": "1/week"}, "rate: '1/week' is not allowed"),
        ({"rate": "0.5/day"}, "rate: '0.5/day' is not allowed"),
        ({"rate": "2000000/s"}, "rate: '2000000/s' is not allowed"),
        ({"burst": 5}, "burst: requires rate"),
        ({"limit_key": "path"}, "limit_key: requires rate"),
        ({"rate": "1/s", "burst": 0}, "burst: 0 is not allowed"),
        *(
            ({"rate": "1/s", "limit_key": key}, f"limit_key: '{key}' is not allowed")
            for key in ("ip", "header:", "header:a b", "source:x", "cookie", "jwt:", "path:/x")
        ),
    ],
)
def test_bad_rate_is_refused_in_one_line(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RouteSettings(pool="p", **route)
    assert words in str(refused.value)
    assert str(refused.value).count("\n") == 0


def test_routes_that_answer_by_themselves_have_no_rate() -> None:
    with pytest.raises(ConfigError, match="rate: requires pool"):
        RouteSettings(deny=True, rate="1/s")
