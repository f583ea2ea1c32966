"""lbcore why: which alternative of a route's `any` held, and by what each of them failed where none did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command_files import configuration
from harness import Command, balanced
from http_balancers import routed, settings_of
from http_peers import Backend, Client

from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from pathlib import Path

    from lbcore.api.balancer import Balancer

IMAGES = {
    "pool": "images",
    "any": [
        {"path_suffix": [".jpg", ".png"]},
        {"query": {"format": "image"}, "header": {"X-Kind": True}},
        {"not": {"method": ["GET"]}},
    ],
}


def told(lb: Balancer) -> list[dict[str, Any] | None]:
    return [entry["any"] for entry in decisions(lb._running().table.segment)]


def held(alternative: int, *asks: str) -> dict[str, Any]:
    return {"held": {"alternative": alternative, "asks": list(asks)}, "passed": None}


@pytest.mark.parametrize(
    ("line", "lines", "expected"),
    [
        ("GET /a.png", "", held(1, "path_suffix")),
        ("GET /a?format=image", "X-Kind: 1\r\n", held(2, "header:x-kind", "query:format")),
        ("DELETE /a", "", held(3, "not(method)")),
    ],
)
def test_the_alternative_that_held_is_named(line: str, lines: str, expected: dict[str, Any]) -> None:
    with routed([IMAGES]) as (lb, client):
        client.send(f"{line} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        assert client.answer().body == b"images"
        assert told(lb) == [expected]


@pytest.mark.parametrize(
    ("target", "lines", "failed"),
    [
        ("/a", "", ["path_suffix", "header:x-kind", "not(method)"]),
        ("/a", "X-Kind: 1\r\n", ["path_suffix", "query:format", "not(method)"]),
    ],
)
def test_each_alternative_that_failed_says_by_which_condition(target: str, lines: str, failed: list[str]) -> None:
    with routed([{"path": "/elsewhere", "pool": "default"}, IMAGES]) as (lb, client):
        assert client.get(target, lines.encode()).body == b"default"
        (only,) = told(lb)
        assert only is not None
        assert only["held"] is None
        assert only["passed"]["route"].startswith("route[1]: any(path_suffix=.jpg,.png | ")
        assert (only["passed"]["failed"], only["passed"]["more"]) == (failed, 0)


def test_a_request_that_no_route_takes_says_it_too() -> None:
    only = {"pool": "meant", "any": [{"path_suffix": ".png"}]}  # one alternative is told as several are
    with routed([only], default=None) as (lb, client):
        assert client.get("/a").status == 404
        (found,) = told(lb)
        assert found is not None
        assert (found["held"], found["passed"]["failed"]) == (None, ["path_suffix"])


def test_routes_that_are_not_meant_or_fail_by_something_else_are_not_told() -> None:
    one = [{"path_suffix": ".png"}]
    routes = [
        {"pool": "other", "host": "b.example", "any": one},
        {"pool": "other", "method": ["POST"], "any": one},
        {"pool": "other", "header": {"X-Kind": True}, "any": one},
        {"pool": "meant", "path_prefix": "/a"},
        {"pool": "other", "any": one},
    ]
    with routed(routes) as (lb, client):
        assert client.get("/a").body == b"meant"
        assert told(lb) == [None]


def test_of_many_alternatives_the_first_are_told_and_of_several_routes_the_first() -> None:
    many = [{"header": {f"X-{number}": True}} for number in range(300)]
    routes = [
        {"pool": "other", "any": many},
        {"pool": "other", "any": [{"path": "/never"}]},
        {"pool": "meant", "any": [*many, {"path": "/a"}]},
    ]
    with routed(routes) as (lb, client):
        assert client.get("/a").body == b"meant"
        (found,) = told(lb)
        assert found is not None
        assert found["passed"]["route"].startswith("route[0]: ")
        assert found["passed"]["failed"] == [f"header:x-{number}" for number in range(8)]
        assert found["passed"]["more"] == 255 - 8  # as far as a decision counts
        assert found["held"] == {"alternative": 255, "asks": []}


def test_alternatives_inside_each_other_are_told_by_the_outer_ones() -> None:
    inner = {"any": [{"header": {"X-A": True}}, {"header": {"X-B": True}}], "path_prefix": "/a"}
    with routed([{"pool": "meant", "any": [inner, {"cookie": {"c": ["1", "2"]}}]}]) as (lb, client):
        assert client.get("/a").body == b"default"
        assert client.get("/a", b"X-B: 1\r\n").body == b"meant"
        assert client.get("/b", b"X-B: 1\r\n").body == b"default"
        first, second, third = told(lb)
        assert first is not None
        assert third is not None
        assert first["passed"]["failed"] == ["any", "cookie:c"]
        assert second == held(1, "path_prefix", "any")
        assert third["passed"]["failed"] == ["path_prefix", "cookie:c"]


def test_keys_of_a_body_are_alternatives_too() -> None:
    route = {"pool": "meant", "any": [{"json": {"model": "a"}}, {"json": {"model": "b"}}]}
    with routed([route]) as (lb, client):
        for body, name in ((b'{"model": "b"}', b"meant"), (b'{"model": "c"}', b"default")):
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.send(head + body)
            assert client.answer().body == name
        first, second = told(lb)
        assert first == held(2, "json:model")
        assert second is not None
        assert second["passed"]["failed"] == ["json:model", "json:model"]


def test_limited_denied_and_answered_requests_say_it_too() -> None:
    one = [{"path_prefix": "/limited"}]
    routes = [
        {"pool": "default", "any": one, "rate": "1/minute"},
        {"pool": "default", "any": [{"path_prefix": "/denied"}], "deny_clients": ["127.0.0.0/8"]},
        {"any": [{"path_prefix": "/answered"}], "deny": True},
    ]
    with Backend(name=b"default") as default, balanced(settings=settings_of({"default": default}, routes)) as lb:
        with Client(lb.address) as client:
            for path, status in (("/limited", 200), ("/limited", 429), ("/denied", 403), ("/answered", 403)):
                assert client.get(path).status == status
        assert [entry and entry["held"] for entry in told(lb)] == [{"alternative": 1, "asks": ["path_prefix"]}] * 4


def test_every_try_of_a_request_says_it_and_reloaded_routes_do_not_lie() -> None:
    with Backend() as one, Backend(name=b"two") as two:
        settings = settings_of({"default": one, "images": two}, [IMAGES])
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            assert client.get("/a.png").body == b"two"
            assert told(lb) == [held(1, "path_suffix")]
            lb.reload(settings_of({"default": one, "images": two}, []))
            assert told(lb) == [None]


def test_the_command_shows_it(tmp_path: Path) -> None:
    with Backend() as backend:
        path = configuration(tmp_path / "lb.toml", {"web": "http://127.0.0.1:0"}, [backend.address])
        with path.open("a") as file:
            file.write('[[route]]\nlistener = "web"\npool = "default"\nany = [{ path = "/a" }, { cookie = { c = "1" } }]\n')
        running = Command(tmp_path, "-c", str(path))
        with Client(running.address) as client:
            client.get("/a")
            client.get("/b")
        shown = running.cli("why").stdout
        assert "1 of any: path" in shown
        assert "past route[0]: no path | cookie:c" in shown
        last = json.loads(running.cli("why", "--json").stdout.splitlines()[-1])
        assert last["any"]["passed"]["failed"] == ["path", "cookie:c"]
        assert running.cli("stop").returncode == 0
