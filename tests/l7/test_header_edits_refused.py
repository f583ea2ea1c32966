"""Edits of headers that are refused, each in one line with its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from http_balancers import settings_of
from http_peers import Backend
from tls_peers import shown

from lbcore.config.settings import BalancerSettings, HeaderEdits, ListenerSettings, PoolSettings, RouteSettings
from lbcore.config.toml import from_document
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from certificates import Authority


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        *(
            ({"set": {name: "x"}}, f"set.{name}: lbcore writes this header itself")
            for name in ("Connection", "content-length", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "grpc-status", "Date")
        ),
        ({"remove": ["Keep-Alive"]}, "remove.Keep-Alive: lbcore writes"),
        ({"set": {"X A": "x"}}, "set: 'X A' is not allowed"),
        ({"set": {"X:": "x"}}, "set: 'X:' is not allowed"),
        ({"set": {":path": "x"}}, "set: ':path' is not allowed"),
        ({"remove": ["X\r\nY"]}, "remove: "),
        *(
            ({"add": {"X": value}}, "add.X: ")
            for value in ("a\r\nY: z", "a\n", "a\0", "\x7f", "é", " a", "a ", "", "{nobody}", "{", "a}", "{0}", "{path")
        ),
        ({"set": {"X": 1}}, "set: \\*\\*\\* is not allowed"),
        ({"set": {"X-A": "1", "X_A": "2"}}, "set.X_A: X-A is named in set, too"),
        ({"set": {"X-A": "1"}, "remove": ["x-a"]}, "remove.x-a: X-A is named in set, too"),
        ({"set": {f"X-{i}": "1" for i in range(33)}}, "set: 33 edits are too many"),
        ({"set": {"X": "a" * 2600}}, "set: names and values take"),
        ({"put": {"X": "1"}}, "put: unknown key"),
    ],
)
def test_bad_edit_is_refused_in_one_line(edits: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        HeaderEdits(**edits)
    assert str(refused.value).count("\n") == 0


OWNERS: dict[str, Callable[..., object]] = {
    "listener": lambda **keys: ListenerSettings(bind="http://127.0.0.1:0", **keys),
    "tcp": lambda **keys: ListenerSettings(bind="tcp://127.0.0.1:0", **keys),
    "pool": lambda **keys: PoolSettings(name="p", **keys),
    "route": lambda **keys: RouteSettings(**{"pool": "p", **keys}),
}


@pytest.mark.parametrize(
    ("owner", "keys", "words"),
    [
        ("listener", {"request_headers": {"set": {"X": "{1}"}}}, r"request_headers.set.X: \{1\} requires a path_regex"),
        ("route", {"path_regex": "^/(a)", "request_headers": {"set": {"X": "{2}"}}}, r"\{2\} requires a path_regex"),
        ("pool", {"request_headers": {"remove": ["Host"]}}, "request_headers.remove.Host: only in set"),
        ("pool", {"request_headers": {"set": {"Host": "{path}"}}}, "request_headers.set.Host: allowed are"),
        ("pool", {"request_headers": {"set": {"Host": "a b"}}}, "request_headers.set.Host: allowed are"),
        ("pool", {"response_headers": {"set": {"Host": "a"}}}, "response_headers.set.Host: only in request_headers"),
        ("pool", {"request_headers": {"set": {"Via": "a"}}}, "request_headers.set.Via: only in response_headers"),
        ("tcp", {"response_headers": {"set": {"X": "a"}}}, "response_headers: only for mode http or https"),
        ("route", {"pool": None, "deny": True, "request_headers": {"set": {"X": "a"}}}, "request_headers: requires pool"),
        ("listener", {"hsts": "365d"}, "hsts: only for clients that speak TLS"),
        ("tcp", {"hsts": "365d"}, "hsts: only for mode"),
        *(
            ("listener", {"accept_proxy": True, "trusted_proxies": ["127.0.0.1"], "hsts": text}, f"hsts: '{text}' is not")
            for text in ("forever", "1d preload", "30d includeSubDomains preload", "365d, preload", "-1d", "365d x")
        ),
    ],
)
def test_bad_place_is_refused_in_one_line(owner: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        OWNERS[owner](**keys)
    assert str(refused.value).count("\n") == 0


def test_hsts_beside_the_header_by_hand(authority: Authority) -> None:
    site = shown(authority.issue("a.test", "DNS:a.test"))
    with pytest.raises(ConfigError, match="hsts: response_headers names Strict-Transport-Security, too"):
        ListenerSettings(
            bind="https://127.0.0.1:0",
            certificates=site,
            hsts="1d",
            response_headers={"remove": ["strict-transport-security"]},
        )


def test_file_names_key_and_header() -> None:
    document = {
        "listener": [{"bind": "http://127.0.0.1:0", "request_headers": {"set": {"Upgrade": "x"}}}],
        "pool": [{"name": "p", "response_headers": {"set": {"X": "{nobody}"}}}],
        "route": [{"pool": "p", "request_headers": {"remove": ["TE"], "add": {"X-Key": "secret\n"}}}],
    }
    with pytest.raises(ConfigError) as refused:
        from_document(document)
    lines = sorted(refused.value.problems)
    assert [line.partition(":")[0] for line in lines] == [
        "listener[0].request_headers.set.Upgrade",
        "pool[0].response_headers.set.X",
        "route[0].request_headers.add.X-Key",
        "route[0].request_headers.remove.TE",
    ]
    assert "secret" not in str(refused.value), "a value may be a secret"


def test_edits_of_a_pool_that_no_request_reaches() -> None:
    pools = [PoolSettings(name="p", request_headers={"remove": ["Cookie"]})]
    with pytest.raises(ConfigError, match="pool p: request_headers: only for requests"):
        BalancerSettings(listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")], pools=pools)


def test_settings_of_pools_and_routes_stay_comparable() -> None:
    with Backend() as backend:
        one, other = (settings_of({"default": backend}, [{"pool": "default", "strip_prefix": False}]) for _ in range(2))
        assert one == other
