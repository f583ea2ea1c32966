"""Conditions of routes as they are configured: what is refused, in one line, and what is not for connections of tls."""

from __future__ import annotations

from typing import Any

import pytest

from lbcore.config import toml
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"source": []}, "source: 0 networks are not allowed"),
        ({"source": ["10.0.0.1/8"]}, "source: ..10.0.0.1/8.. is not allowed"),
        ({"percent": 0}, "percent: 0 is not allowed"),
        ({"percent": 101}, "percent: 101 is not allowed"),
        ({"percent": "30-10"}, "percent: '30-10' is not allowed"),
        ({"percent": "10"}, "percent: '10' is not allowed"),
        ({"percent": True}, "percent: True is not allowed"),
        ({"percent": 0.001}, "percent: 0.001 is not allowed"),
        ({"percent_by": "source"}, "percent_by: requires percent"),
        ({"percent": 5, "percent_by": "path"}, "percent_by: 'path' is not allowed"),
        ({"percent": 5, "percent_by": "cookie:"}, "percent_by: 'cookie:' is not allowed"),
        ({"percent": 5, "percent_by": "source:x"}, "percent_by: 'source:x' is not allowed"),
        ({"path_suffix": ""}, "path_suffix: '' is not allowed"),
        ({"path_suffix": "a?b"}, "path_suffix: 'a.b' is not allowed"),
        ({"path_suffix": ".%zz"}, "path_suffix: '.%zz' is not allowed"),
        ({"host": []}, "host: .. is not allowed"),
        ({"host": ["a.example", "a.example:80"]}, "host: 'a.example:80' is not allowed"),
        ({"path": ["/a", "b"]}, "path: 'b' is not allowed"),
        ({"path": "/a", "path_prefix": "/b"}, "path_prefix: a route has one of"),
        ({"query": {"a": 1}}, "query: "),
        ({"query": {"a": []}}, "query: "),
        ({"header": {"X": ["a", 1]}}, "header: "),
        ({"not": "x"}, "not: 'x' is not allowed"),
        ({"not": {}, "any": [{}]}, r"any\[0\]: {} is not allowed"),
        ({"any": [{"path": "/a"}, {"path": "b"}]}, r"any\[1\].path: 'b' is not allowed"),
        ({"not": {"pool": "x"}}, "not.pool: unknown key"),
        ({"not": {"any": [{"source": ["x"]}]}}, r"not.any\[0\].source: "),
        ({"not": {"not": {"not": {"not": {"not": {"path": "/"}}}}}}, "not.not.not.not.not: deeper than 4"),
    ],
)
def test_bad_condition_is_refused_in_one_line(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RouteSettings(**{"pool": "p", **route})
    assert str(refused.value).count("\n") == 0


def test_keys_of_a_file() -> None:
    document = {
        "listener": [{"bind": "http://127.0.0.1:0", "pool": "p"}],
        "pool": [{"name": "p"}],
        "route": [
            {
                "host": ["a", "b"],
                "query": {"x": ["1", "2"], "y": False},
                "not": {"source": ["10.0.0.0/8"]},
                "any": [{"path_suffix": ".x"}, {"method": "PUT"}],
                "percent": "10-20.5",
                "percent_by": "header:X-User",
                "pool": "p",
            }
        ],
    }
    route = toml.from_document(document).routes[0]
    assert (route.host, route.percent, route.split) == (["a", "b"], (1000, 2050), ("header", "X-User"))
    assert route.none_of[0].source == ["10.0.0.0/8"]
    assert [entry.of_requests for entry in route.any_of] == [["path_suffix"], ["method"]]
    with pytest.raises(ConfigError, match=r"route\[0\].any\[0\].colour: unknown key"):
        toml.from_document({**document, "route": [{"pool": "p", "any": [{"colour": "red"}]}]})


def test_conditions_of_requests_are_not_for_tls() -> None:
    listeners = [ListenerSettings(bind="tls://127.0.0.1:0", name="names")]
    for route, key in (({"not": {"query": {"a": True}}}, "not"), ({"percent": 5, "percent_by": "cookie:x"}, "percent_by")):
        with pytest.raises(ConfigError, match=rf"route\[0\]\.{key}: connections of mode tls have none"):
            BalancerSettings(
                listeners=listeners,
                routes=[RouteSettings(listener="names", pool="p", **route)],
                pools=[PoolSettings(name="p")],
            )
