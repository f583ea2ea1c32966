"""Routes that answer by themselves: redirects and refusals, by HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import balanced
from http_balancers import figure, settings_of
from http_peers import Backend, Client, field

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from certificates import Authority

ALL = "https://{host}{path}{query}"
ROUTES: list[dict[str, Any]] = [
    {"path_prefix": "/private", "deny": True},
    {"path": "/old", "redirect": "/new{query}", "status": 308},
    {"path_prefix": "/away", "redirect": "http://other.example:8080/from/{host}{path}", "status": 302},
    {"host": "*.example", "redirect": ALL},
    {"path": "/six", "redirect": ALL},
]


def location(client: Client, path: str, **more: Any) -> tuple[int, bytes | None]:
    answer = client.get(path, **more)
    return answer.status, field(answer.head, b"Location")


def test_redirects_and_refusals_keep_the_connection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Backend() as backend:
        settings = settings_of({"default": backend}, ROUTES).replace(access_log=str(log))
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            assert location(client, "/a%20b/%2e?x=1&y={host}", host=b"a.example:80") == (
                301,
                b"https://a.example/a%20b/%2e?x=1&y={host}",
            )
            assert location(client, "/old?q", host=b"b") == (308, b"/new?q")
            assert location(client, "/away/x?q", host=b"b") == (302, b"http://other.example:8080/from/b/away/x")
            assert location(client, "//evil.test/", method=b"HEAD") == (301, b"https://a.example//evil.test/")
            assert location(client, "/six", host=b"[::1]:80") == (301, b"https://[::1]/six")
            assert location(client, "/private/x", host=b"b") == (403, None)
            assert client.get("/else", host=b"b").status == 200
            lines = logged(log, 7)
            assert [line["status"] for line in lines] == [301, 308, 302, 301, 301, 403, 200]
            assert figure(lb, "responses_2xx") >= 5
            assert len(backend.heads) == 1


def test_body_that_is_still_to_come_ends_the_connection() -> None:
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb:
        with Client(lb.address) as client:
            client.send(b"POST /private HTTP/1.1\r\nHost: b\r\nContent-Length: 100000\r\n\r\nhalf")
            answer = client.answer()
            assert (answer.status, field(answer.head, b"Connection")) == (403, b"close")
        with Client(lb.address) as client:
            client.send(b"POST /private HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nhalf" * 2)
            assert [client.answer().status, client.answer().status] == [403, 403]


def test_path_that_leads_past_a_refusal_in_another_reading_is_refused() -> None:
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb:
        for path in ("/%70rivate", "/x/../private", "//private", "/x/..%2fprivate", "/private;a"):
            with Client(lb.address) as client:
                assert client.get(path, host=b"b").status in (400, 403), path
        assert not backend.heads


def test_host_that_is_missing_and_location_that_is_too_long() -> None:
    long = [{"redirect": "https://{host}" + "{path}" * 4}]
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, long)) as lb:
        with Client(lb.address) as client:
            assert client.get("/" + "x" * 3000).status == 414
            assert location(client, "/x") == (301, b"https://a.example/x/x/x/x")
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.answer().status == 400


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl(version: str) -> None:
    with Backend() as backend, balanced(settings=settings_of({"default": backend}, ROUTES)) as lb:
        host, port = lb.address
        base = f"http://{host}:{port}"
        shown = ("-s", "-o", "/dev/null", "-w", "%{http_code} %header{location}\n", "--max-time", "20")
        asked = (("-H", "Host: a.example", f"{base}/x?y"), ("-I", f"{base}/old?z"), ("-X", "DELETE", f"{base}/private"))
        said = [
            subprocess.run(["curl", version, *shown, *words], capture_output=True, text=True, timeout=60).stdout.strip()
            for words in asked
        ]
        assert said == ["301 https://a.example/x?y", "308 /new?z", "403"]
        assert not backend.heads


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({}, "pool: missing"),
        ({"pool": "p", "deny": True}, "deny: a route has one of"),
        ({"deny": True, "redirect": "/x"}, "deny: a route has one of"),
        ({"deny": True, "status": 301}, "status: requires redirect"),
        ({"redirect": "/x", "status": 304}, "status: 304 is not allowed"),
        ({"deny": True, "cost": 3}, "cost: requires pool"),
        *(
            ({"redirect": text}, "redirect: ")
            for text in (
                *(
                    "",
                    "x",
                    "//evil.test",
                    "/{path}",
                    "{path}",
                    "https://{path}",
                    "https://{host}x",
                    "ftp://a/",
                    "/a b",
                    "/\\evil",
                ),
                *("/a\r\nX: y", "/a\n", "/{port}", "/a{", "/é", "https://", "/" + "a" * 1024),
            )
        ),
    ],
)
def test_bad_answer_is_refused_in_one_line(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RouteSettings(**route)
    assert str(refused.value).count("\n") == 0


def test_redirect_that_leads_back(authority: Authority) -> None:
    shown = CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example")))
    secure = ListenerSettings(bind="https://127.0.0.1:0", name="secure", certificates=[shown])
    plain = ListenerSettings(bind="http://127.0.0.1:0", name="plain")
    pools = [PoolSettings(name="default")]
    with pytest.raises(ConfigError, match=r"route\[0\]\.redirect: leads back to listener secure"):
        BalancerSettings(listeners=[plain, secure], routes=[RouteSettings(redirect=ALL)], pools=pools)
    BalancerSettings(listeners=[plain, secure], routes=[RouteSettings(redirect=ALL, listener="plain")], pools=pools)


def test_connections_without_requests_are_not_refused_so() -> None:
    names = ListenerSettings(bind="tls://127.0.0.1:0", name="names")
    with pytest.raises(ConfigError, match=r"route\[0\]\.deny: connections of mode tls have none"):
        BalancerSettings(
            listeners=[names], routes=[RouteSettings(listener="names", deny=True)], pools=[PoolSettings(name="default")]
        )
