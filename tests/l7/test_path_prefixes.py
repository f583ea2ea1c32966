"""Routes that take a prefix from the path, or put another in its place."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from h2_backends import H2Backend
from harness import balanced
from http_balancers import path_of, settings_of
from http_peers import Backend, Client, field, fields

from lbcore.config.settings import RouteSettings
from lbcore.errors import ConfigError
from lbcore.table.routes import deeds


def rewritten(routes: list[dict[str, Any]], *targets: str) -> list[tuple[bytes, bytes | None]]:
    """What a backend gets for each target: the target, and X-Forwarded-Prefix."""
    with Backend() as backend:
        settings = settings_of({"default": backend}, [{"pool": "default", **route} for route in routes])
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            for target in targets:
                assert client.get(target).status == 200, target
        return [(path_of(head), field(head, b"X-Forwarded-Prefix")) for head in backend.heads]


@pytest.mark.parametrize("prefix", ["/api", "/api/"])
@pytest.mark.parametrize("strip", [True, "/api"])
def test_strip_takes_whole_segments_and_keeps_query_and_escapes(prefix: str, strip: str | bool) -> None:
    asked = {
        "/api": b"/",
        "/api/": b"/",
        "/api?q=/api": b"/?q=/api",
        "/api/users/1?a=b&c": b"/users/1?a=b&c",
        "/api/a%2Fb%20c": b"/a%2Fb%20c",
        "/%61pi/x": b"/x",
        "/api/%41/./b/../c": b"/A/c",
        "/x/../api/y": b"/y",
        "/api/api": b"/api",
    }
    got = rewritten([{"path_prefix": prefix, "strip_prefix": strip}, {}], *asked, "/apix/y", "/else")
    assert got == [*((path, b"/api") for path in asked.values()), (b"/apix/y", None), (b"/else", None)]


def test_strip_of_a_part_and_of_an_exact_path() -> None:
    routes = [
        {"path_prefix": "/api/v1", "strip_prefix": "/api"},
        {"path": "/one/page", "strip_prefix": "/one"},
        {"path": "/all", "strip_prefix": True},
    ]
    assert rewritten(routes, "/api/v1/x", "/api/v1", "/one/page?q", "/all") == [
        (b"/v1/x", b"/api"),
        (b"/v1", b"/api"),
        (b"/page?q", b"/one"),
        (b"/", b"/all"),
    ]


def test_replace_strip_and_replace_and_a_prefix_that_is_added() -> None:
    routes = [
        {"path_prefix": "/old", "replace_prefix": "/new/"},
        {"path_prefix": "/a/b", "strip_prefix": "/a", "replace_prefix": "/z"},
        {"path": "/page", "replace_prefix": "/index.html"},
        {"path_prefix": "/root", "replace_prefix": "/"},
        {"replace_prefix": "/v2"},
    ]
    assert rewritten(routes, "/old", "/old/", "/old/x?q", "/a/b/c", "/page?x", "/root/y", "/root", "/other", "/") == [
        (b"/new", b"/old"),
        (b"/new/", b"/old"),
        (b"/new/x?q", b"/old"),
        (b"/z/b/c", b"/a"),
        (b"/index.html?x", b"/page"),
        (b"/y", b"/root"),
        (b"/", b"/root"),
        (b"/v2/other", None),
        (b"/v2/", None),
    ]


def test_targets_that_are_no_plain_path() -> None:
    routes = [{"pool": "default", "path_prefix": "/api", "strip_prefix": True}, {"pool": "default", "replace_prefix": "/v2"}]
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, routes)) as lb, Client(lb.address) as client:
        for line in (
            b"GET http://a.example/api/x?q HTTP/1.1",
            b"GET http://a.example HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"OPTIONS http://a.example HTTP/1.1",
        ):
            client.send(line + b"\r\nHost: a.example\r\n\r\n")
            assert client.answer().status == 200, line
        assert [path_of(head) for head in backend.heads] == [b"/x?q", b"/v2/", b"*", b"*"]
        assert all(fields(head, b"Host") == [b"a.example"] for head in backend.heads)


def test_no_escape_leads_past_the_prefix() -> None:
    routes = [{"pool": "default", "path_prefix": "/api", "strip_prefix": True}, {"pool": "default"}]
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, routes)) as lb:
        for path in ("/api/..%2fadmin", "/api/%2e%2e%2fadmin", "/x/..%2fapi/y", "/api;a/x", "/%2561pi/x", "//api/x"):
            with Client(lb.address) as client:
                assert client.get(path).status == 400, path
        assert not backend.heads
        with Client(lb.address) as client:
            client.get("/api/../admin")
            client.get("/api/../api/./x/../y")
        assert [path_of(head) for head in backend.heads] == [b"/api/../admin", b"/y"]


def test_prefix_that_a_stranger_brings_and_forwarded_off() -> None:
    routes = [{"pool": "default", "path_prefix": "/api", "strip_prefix": True}]
    for listener, wanted in (
        ({}, [b"/api"]),
        ({"trusted_proxies": ["127.0.0.0/8"]}, [b"/outer", b"/api"]),
        ({"forwarded": "off"}, []),
        ({"request_headers": {"remove": ["X-Forwarded-Prefix"]}}, []),
    ):
        with Backend() as backend:
            settings = settings_of({"default": backend}, routes)
            settings = settings.replace(listeners=[settings.listeners[0].replace(**listener)])
            with balanced(settings=settings) as lb, Client(lb.address) as client:
                client.get("/api/x", extra=b"X-Forwarded-Prefix: /outer\r\n")
            assert fields(backend.heads[0], b"X-Forwarded-Prefix") == wanted, listener


def test_from_http2_to_http2_and_a_location_stays() -> None:
    def script(call: Any) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "302"), ("location", "/login"), end=True))

    routes = [{"pool": "default", "path_prefix": "/api", "strip_prefix": True}]
    with H2Backend(script) as backend:
        settings = settings_of({"default": backend}, routes)  # type: ignore[dict-item]
        settings = settings.replace(pools=[settings.pools[0].replace(protocol="h2")])
        with balanced(settings=settings) as lb:
            url = f"http://{lb.address[0]}:{lb.address[1]}/api/x%20y?q"
            words = ["curl", "--http2-prior-knowledge", "-sS", "-D", "-", "--max-time", "20", url]
            done = subprocess.run(words, capture_output=True, timeout=60, check=True)
        got = backend.calls[0].head
        assert (got[":path"], got["x-forwarded-prefix"]) == ("/x%20y?q", "/api")
        assert field(done.stdout, b"location") == b"/login"


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"strip_prefix": True}, "strip_prefix: requires path_prefix or path"),
        ({"strip_prefix": "/a", "path_prefix": "/b"}, "strip_prefix: '/a' does not begin /b"),
        ({"strip_prefix": "/ap", "path_prefix": "/api"}, "strip_prefix: '/ap' does not begin /api"),
        ({"strip_prefix": True, "path_regex": "^/a"}, "strip_prefix: not with path_regex"),
        ({"replace_prefix": "/x", "grpc": "pkg.S"}, "replace_prefix: not with grpc"),
        ({"strip_prefix": True, "path_prefix": "/a", "pool": None, "deny": True}, "strip_prefix: requires pool"),
        *(
            ({"replace_prefix": text}, "replace_prefix: ")
            for text in ("x", "", "//evil.test", "/a?b", "/a#b", "/a b", "/a\r\nX: y", "/%zz", "/é", "/" + "a" * 1024)
        ),
        ({"strip_prefix": 1, "path_prefix": "/a"}, "strip_prefix: 1 is not allowed"),
    ],
)
def test_bad_rewriting_is_refused_in_one_line(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RouteSettings(**{"pool": "p", **route})
    assert str(refused.value).count("\n") == 0


def test_why_says_what_a_route_does_beside() -> None:
    route = RouteSettings(
        path_prefix="/api",
        pool="p",
        strip_prefix=True,
        request_headers={"set": {"X-Key": "secret"}, "remove": ["Cookie"]},
        response_headers={"add": {"X-R": "1"}},
    )
    assert deeds(route) == ["strip /api", "remove Cookie", "set X-Key", "add X-R in the response"]
    assert deeds(RouteSettings(pool="p", replace_prefix="/v2")) == ["replace / by /v2"]
