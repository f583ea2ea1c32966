"""Routes with a response of their own, and what calls of gRPC and `lbcore why` are told of routes that answer."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from grpc_calls import channel
from harness import balanced, command, wait_for
from http_balancers import OFF, figure, settings_of
from http_peers import Backend, Client, field

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RespondSettings, RouteSettings
from lbcore.errors import ConfigError
from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from pathlib import Path

LONG = "0123456789abcdef" * 2048
ROUTES: list[dict[str, Any]] = [
    {"path": "/robots.txt", "respond": RespondSettings(body="User-agent: *\nDisallow: /\n")},
    {"path": "/gone", "respond": RespondSettings(status=410, content_type="text/html", body="<p>é</p>")},
    {"path": "/long", "respond": RespondSettings(body=LONG)},
    {"path": "/empty", "respond": RespondSettings(status=204)},
    {"path": "/none", "respond": RespondSettings(status=503)},
    {"path": "/odd", "respond": RespondSettings(status=599, body="odd")},
]


def test_status_type_and_body_are_those_of_the_route() -> None:
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb, Client(lb.address) as client:
        robots = client.get("/robots.txt?x")
        assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")
        assert field(robots.head, b"Content-Type") == b"text/plain; charset=utf-8"
        gone = client.get("/gone")
        assert (gone.status, gone.body, field(gone.head, b"Content-Type")) == (410, "<p>é</p>".encode(), b"text/html")
        assert gone.head.startswith(b"HTTP/1.1 410 Gone\r\n")
        head = client.get("/long", method=b"HEAD")
        assert (head.status, field(head.head, b"Content-Length")) == (200, b"32768")
        assert client.get("/long").body == LONG.encode()
        empty = client.get("/empty")
        assert (empty.status, field(empty.head, b"Content-Length"), field(empty.head, b"Content-Type")) == (204, None, None)
        none = client.get("/none")
        assert (none.status, none.body, field(none.head, b"Retry-After")) == (503, b"", None)
        assert client.get("/odd").head.startswith(b"HTTP/1.1 599 Error\r\n")
        assert client.get("/else").status == 200
        assert len(backend.heads) == 1
        assert figure(lb, "responses_4xx") == 1


def test_one_after_another_in_one_segment() -> None:
    asked = b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in (b"/gone", b"/empty", b"/long", b"/robots.txt"))
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb, Client(lb.address) as client:
        client.send(asked * 3)
        said = [client.answer() for _ in range(12)]
        assert [one.status for one in said] == [410, 204, 200, 200] * 3
        assert [len(one.body) for one in said[:4]] == [9, 0, 32768, 26]


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl(version: str) -> None:
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb:
        base = "http://{}:{}".format(*lb.address)
        for words, expected in (
            ((f"{base}/long",), LONG + "200 text/plain; charset=utf-8"),
            ((f"{base}/gone",), "<p>é</p>410 text/html"),
            (("-I", "-o", "/dev/null", f"{base}/long"), "200 text/plain; charset=utf-8"),
            ((f"{base}/empty",), "204 "),
            (("-X", "POST", f"{base}/robots.txt"), "User-agent: *\nDisallow: /\n200 text/plain; charset=utf-8"),
        ):
            call = ["curl", version, "-s", "-w", "%{http_code} %{content_type}", "--max-time", "20", *words]
            assert subprocess.run(call, capture_output=True, text=True, timeout=60).stdout == expected
        assert not backend.heads


def test_calls_of_grpc_are_told_in_its_own_words() -> None:
    routes = [
        {"grpc": "a.Denied", "deny": True},
        {"grpc": "a.Moved", "redirect": "https://{host}{path}"},
        {"grpc": "a.Fixed", "respond": RespondSettings(body="hello")},
        {"grpc": "a.Down", "respond": RespondSettings(status=503, body="back soon")},
    ]
    grpc = pytest.importorskip("grpc")
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, routes)) as lb:
        with channel("{}:{}".format(*lb.address)) as made:
            said = {}
            for service in ("Denied", "Moved", "Fixed", "Down"):
                with pytest.raises(grpc.RpcError) as caught:
                    made.unary_unary(f"/a.{service}/Call")(b"hi", timeout=20)
                said[service] = (caught.value.code().name, caught.value.details())
        assert said == {
            "Denied": ("PERMISSION_DENIED", "a route denies it"),
            "Moved": ("UNKNOWN", "a route leads elsewhere"),
            "Fixed": ("UNKNOWN", "a route responds by itself"),
            "Down": ("UNAVAILABLE", "a route responds by itself"),
        }
        assert figure(lb, "grpc_permission_denied") == 1
        assert not backend.heads


def test_why_names_the_route_and_what_it_asks_for() -> None:
    routes = [
        {"host": "a.example", "path_prefix": "/private", "header": {"X-Key": True}, "deny": True},
        {"path": "/old", "redirect": "/new"},
        {"method": "GET", "cookie": {"canary": "1"}, "pool": "default"},
    ]
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, routes, None)) as lb:
        with Client(lb.address) as client:
            for path, extra in (("/private", b"X-Key: 1\r\n"), ("/old", b""), ("/", b"Cookie: canary=1\r\n"), ("/", b"")):
                client.get(path, extra)
        seen = decisions(lb._running().table.segment)
        assert [(one["route"], one["why"], one["pool"], one["status"], one["outcome"]) for one in seen] == [
            (
                "route[0]: host=a.example path_prefix=/private header:X-Key",
                "a route answers by itself",
                None,
                403,
                "answered",
            ),
            ("route[1]: path=/old", "a route answers by itself", None, 301, "answered"),
            ("route[2]: method=GET cookie:canary=1", seen[2]["why"], "default", 200, "done"),
            (None, "no route matches", None, 404, "answered"),
        ]
        lb.reload(settings_of({"default": backend}, routes[1:], None))
        earlier = [one["route"] for one in decisions(lb._running().table.segment)][:2]
        assert earlier == ["route[0] of earlier routes", "route[1] of earlier routes"]


def test_body_of_a_file_is_read_at_the_start_and_at_a_reload(tmp_path: Path) -> None:
    page = tmp_path / "down.html"
    page.write_text("<h1>one</h1>\n")
    file = tmp_path / "site.toml"
    file.write_text(
        '[[listener]]\nname = "web"\nbind = "http://127.0.0.1:0"\n[[route]]\n'
        'respond = { status = 503, body_file = "down.html", content_type = "text/html; charset=utf-8" }\n'
    )
    with command(tmp_path, "-c", str(file)) as lb, Client(lb.address) as client:
        answer = client.get()
        assert (answer.status, answer.body) == (503, b"<h1>one</h1>\n")
        assert "(lbcore)" in lb.cli("why").stdout
        page.write_bytes(b"\x00two")
        assert lb.cli("reload").returncode == 0
        wait_for(lambda: client.get().body == b"\x00two", "the worker has the new routes")
        page.write_bytes(b"x" * 32769)
        refused = lb.cli("reload")
        assert "route[0].respond.body_file: " in refused.stderr
        assert "larger than 32k" in refused.stderr
        assert client.get().body == b"\x00two"


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        ({"status": 301}, "respond.status: 301 is not allowed"),
        ({"status": 206}, "respond.status: 206 is not allowed"),
        ({"status": 600}, "respond.status: 600 is not allowed"),
        ({"status": 204, "body": "x"}, "respond.status: 204 has no body"),
        ({"body": "x", "body_file": "/dev/null"}, "respond.body_file: '/dev/null' cannot be read"),
        ({"body_file": "/nowhere/at/all"}, "cannot be read .No such file"),
        ({"body": "x" * 32769}, "respond.body: "),
        ({"body": "a\0b"}, "respond.body: "),
        ({"content_type": "html"}, "respond.content_type: 'html' is not allowed"),
        ({"content_type": "text/html\r\nX: y"}, "respond.content_type: "),
        ({"content_type": "text/" + "x" * 123}, "respond.content_type: "),
        ({"colour": "red"}, "respond.colour: unknown key"),
    ],
)
def test_bad_response_is_refused_in_one_line(respond: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RespondSettings(**respond)
    assert str(refused.value).count("\n") == 0


def test_a_route_has_one_answer() -> None:
    with pytest.raises(ConfigError, match="respond: a route has one of pool, map, redirect, deny, respond"):
        RouteSettings(pool="p", respond=RespondSettings())


def test_routes_that_tls_listeners_pass_over_are_told() -> None:
    listeners = [ListenerSettings(bind="tls://127.0.0.1:0", name="names", pool="p")]
    listeners += [ListenerSettings(bind="http://127.0.0.1:0", name="web", pool="p")]
    routes = [
        RouteSettings(redirect="https://{host}{path}"),
        RouteSettings(host="a.example", deny=True),
        RouteSettings(path="/x", deny=True),
        RouteSettings(listener="web", respond=RespondSettings()),
    ]
    settings = BalancerSettings(listeners=listeners, routes=routes, pools=[PoolSettings(name="p", probe=OFF)])
    assert [line.partition(":")[0] for line in settings.advice()] == ["route[0].redirect", "route[1].deny"]
    assert "tls listeners (names)" in settings.advice()[0]
