"""Headers that say who a client is, or how it came: of strangers none reaches a backend, of trusted proxies all do."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, free_port, wait_for
from http_balancers import http, settings_of
from http_peers import Backend, Client, field, fields
from real_peers import running

from lbcore._engine import is_claim_header
from lbcore.config.settings import ListenerSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAIMS = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-Protocol",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-By",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-User",
    "X-Forwarded-Path",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Never-Heard-Of",
    "X-Forwarded",
    "Forwarded",
    "Forwarded-For",
    "X-Real-IP",
    "X-Real-Port",
    "X-Scheme",
    "X-Url-Scheme",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "CF-Visitor",
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "Client-IP",
    "WL-Proxy-Client-IP",
    "Proxy-Client-IP",
    "X-ProxyUser-Ip",
    "X-Azure-ClientIP",
    "X-Remote-Addr",
    "X-Remote-IP",
    "X-Originating-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-Host",
    "X-Original-For",
    "X-Original-Proto",
    "X-Original-Forwarded-For",
    "X-Host",
    "X-Script-Name",
    "Script-Name",
    "Path-Info",
    "Front-End-Https",
    "X-Https",
    "X-ARR-SSL",
    "X-ARR-ClientCert",
    "X-SSL-Cert",
    "X-SSL-Client-Verify",
    "X-Client-Cert",
    "X-Client-Cert-DN",
    "Client-Cert",
    "Client-Cert-Chain",
    "SSL-Client-Cert",
    "Ssl-Client-S-Dn",
    "X-Amzn-Mtls-Clientcert-Subject",
    "Remote-Addr",
    "Remote-User",
    "X-Remote-User",
    "X-Auth-Request-Email",
    "X-Envoy-External-Address",
    "X-Appengine-User-Ip",
    "Proxy",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    "$WSRA",
    "CloudFront-Forwarded-Proto",
]

ORDINARY = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "DNT",
    "If-None-Match",
    "Origin",
    "Pragma",
    "Priority",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "Save-Data",
    "Sec-CH-UA",
    "Sec-Fetch-Site",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "X-API-Key",
    "X-Requested-With",
    "X-CSRF-Token",
    "X-Client-Data",
    "X-Client-Version",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amzn-Trace-Id",
    "X-Goog-Api-Client",
    "X-Ms-Version",
    "X-HTTP-Method-Override",
    "X-Correlation-Id",
    "X-Tenant",
    "X-Real",
    "X-Schema",
    "X-Hostname",
    "X-User-Agent",
    "Client",
    "Client-Id",
    "Remote",
    "Forward",
    "Sslx",
    "Via",
    "Early-Data",
    "X_Other",
    "X-Forward-For",
    "X",
]
"""Near misses of the rules are among them."""


def asked(backend: Backend, address: tuple[str, int], *names: str) -> bytes:
    """The head that a backend receives of a request with these headers, which say "claimed"."""
    with Client(address) as client:
        assert client.get(extra=b"".join(b"%s: claimed\r\n" % name.encode() for name in names)).status == 200
    return backend.heads[-1]


def claimed(head: bytes) -> list[str]:
    """The names of headers that say "claimed"."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [name.decode() for name, _, value in lines if b"claimed" in value]


def spellings(names: list[str]) -> list[str]:
    """Each name as it stands, in capitals and in small letters, and as CGI and WSGI would have it too."""
    return [spelt for name in names for spelt in (name, name.upper(), name.lower(), name.replace("-", "_"))]


@pytest.mark.parametrize("forwarded", ["both", "x", "rfc7239", "off"])
def test_strangers_claim_nothing_whatever_forwarded_sets(forwarded: str) -> None:
    with Backend() as backend, http(backend, listener={"forwarded": forwarded, "max_headers": 128}) as lb:
        names = spellings(CLAIMS)
        for start in range(0, len(names), 80):
            assert claimed(asked(backend, lb.address, *names[start : start + 80])) == []
        head = asked(backend, lb.address)
        tells = {
            "both": (b"127.0.0.1", b'for=127.0.0.1;host="a.example";proto=http'),
            "x": (b"127.0.0.1", None),
            "rfc7239": (None, b'for=127.0.0.1;host="a.example";proto=http'),
            "off": (None, None),
        }[forwarded]
        assert (field(head, b"X-Forwarded-For"), field(head, b"Forwarded")) == tells


def test_what_claims_nothing_passes() -> None:
    with Backend() as backend, http(backend, listener={"max_headers": 128}) as lb:
        assert claimed(asked(backend, lb.address, *ORDINARY)) == ORDINARY


@pytest.mark.parametrize("forwarded", ["both", "x", "rfc7239", "off"])
def test_trusted_proxies_claim_all(forwarded: str) -> None:
    listener = {"forwarded": forwarded, "trusted_proxies": ["127.0.0.0/8"], "max_headers": 128}
    with Backend() as backend, http(backend, listener=listener) as lb:
        head = asked(backend, lb.address, *CLAIMS)
        assert sorted(claimed(head)) == sorted(CLAIMS)
        chain = b"claimed, 127.0.0.1" if forwarded in ("both", "x") else b"claimed"
        assert field(head, b"X-Forwarded-For") == chain
        assert fields(head, b"Forwarded")[0] == b"claimed"


def test_named_exceptions_pass_and_nothing_else_does() -> None:
    named = ["X-Real-IP", "x_forwarded_port", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"]
    with Backend() as backend, http(backend, listener={"pass_client_headers": named}) as lb:
        head = asked(backend, lb.address, *named, "X-Scheme", "X-Forwarded-Host", "Forwarded", "X-Real-Port")
        assert sorted(claimed(head)) == sorted(named)
        assert field(head, b"X-Forwarded-For") == b"claimed, 127.0.0.1"
        assert fields(head, b"X-Forwarded-Proto") == [b"claimed"]
        assert field(head, b"X-Forwarded-Host") == b"a.example"
        assert claimed(asked(backend, lb.address, "X-FORWARDED-PORT", "X_Real_IP")) == ["X-FORWARDED-PORT", "X_Real_IP"]


def test_a_peer_that_is_no_longer_trusted_claims_nothing() -> None:
    with Backend() as backend, contextlib.ExitStack() as stack:
        settings = settings_of({"default": backend}, [])
        lb = stack.enter_context(balanced(settings=settings))
        trusting = [settings.listeners[0].replace(trusted_proxies=["127.0.0.0/8"])]
        lb.reload(settings.replace(listeners=trusting))
        wait_for(lambda: claimed(asked(backend, lb.address, "X-Scheme")), "the peer is trusted")
        lb.reload(settings)
        wait_for(lambda: not claimed(asked(backend, lb.address, "X-Scheme")), "the peer is not")


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ({"pass_client_headers": ["X-Other"]}, "pass_client_headers: 'X-Other' is not among the headers that are dropped"),
        ({"pass_client_headers": ["X-LB-Cost"]}, "'X-LB-Cost' is not among the headers that are dropped"),
        ({"pass_client_headers": ["X Real"]}, "'X Real' is not allowed (allowed: names of headers)"),
        ({"pass_client_headers": "X-Real-IP"}, "'X-Real-IP' is not allowed (allowed: a list of names like"),
        ({"pass_client_headers": [f"X-Forwarded-{n:03}" for n in range(20)]}, "longer than 255 bytes"),
        ({"pass_client_headers": ["X-Real-IP"], "bind": "tcp://127.0.0.1:0"}, "only for mode http or https, this is tcp"),
        ({"cost_header": "any", "bind": "udp://127.0.0.1:0"}, "cost_header: only for mode http or https, this is udp"),
        ({"early_hints": "never", "bind": "tcp://127.0.0.1:0"}, "early_hints: only for mode http or https, this is tcp"),
        ({"early_hints": True}, "early_hints: True is not allowed (allowed: browsers, always, never)"),
        ({"cost_header": "all"}, "cost_header: 'all' is not allowed (allowed: trusted, any)"),
    ],
)
def test_wrong_settings_are_named(listener: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ListenerSettings(**{"bind": "http://127.0.0.1:0", **listener})
    assert len(caught.value.problems) == 1
    assert words in caught.value.problems[0]


def test_the_table_in_the_docs_is_that_of_the_engine() -> None:
    page = (Path(__file__).parents[2] / "tools/docs/headers.md").read_text()
    rows = [
        line.split("|")[1] for line in page.partition("## Dropped")[2].partition("## Passed")[0].splitlines() if "| `" in line
    ]
    named = [name.strip().strip("`") for row in rows for name in row.split(",")]
    assert len(named) > 60
    assert [name for name in named if not is_claim_header(name.replace("*", "x").encode())] == []
    passed = [line.split("|")[1] for line in page.partition("## Passed")[2].splitlines() if "| `" in line]
    assert [name for row in passed for name in row.split(",") if is_claim_header(name.strip().strip("`").encode())] == []


@pytest.mark.parametrize("trailers", [False, True])
def test_trailers_claim_nothing(trailers: bool) -> None:
    with Backend() as backend, http(backend, trailers=trailers) as lb:
        for name in (*CLAIMS, "X_Real_IP"):
            with Client(lb.address) as client:
                client.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s: claimed\r\n\r\n" % name.encode()
                )
                assert client.answer().status in (200, 400), name
        assert b"claimed" not in b"".join(backend.bodies)


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "counts"),
    [
        ({}, False),
        ({"trusted_proxies": ["10.0.0.0/8"]}, False),
        ({"trusted_proxies": ["127.0.0.0/8"]}, True),
        ({"cost_header": "any"}, True),
    ],
)
def test_x_lb_cost_of_strangers_does_not_steer_the_pick(listener: dict[str, Any], counts: bool) -> None:
    release = threading.Event()

    class Held(Backend):
        def _talk(self, connection: Any) -> None:
            self.heads.append(connection.recv(65536))
            release.wait(10)

    with Held() as backend, http(backend, listener=listener, max_cost=100) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-LB-Cost: 40\r\n\r\n")
            wait_for(lambda: backend.heads, "it is under way")
            assert lb._running().table.segment.charges(0)[0] == (40 if counts else 1)
            assert field(backend.heads[0], b"X-LB-Cost") == (b"40" if counts else None)
            release.set()


# --- real servers -----------------------------------------------------------------------------------------------------

TORNADO = """
import sys, tornado.httpserver, tornado.ioloop, tornado.web


class Tell(tornado.web.RequestHandler):
    def get(self):
        self.write({"ip": self.request.remote_ip, "scheme": self.request.protocol, "host": self.request.host_name})


server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Tell)]), xheaders=True)
server.listen(int(sys.argv[1]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
"""


@contextlib.contextmanager
def tornado_server(tmp_path: Path) -> Iterator[str]:
    """Tornado with xheaders: its address."""
    pytest.importorskip("tornado")
    (tmp_path / "app.py").write_text(TORNADO)
    port = free_port()
    with running([sys.executable, "app.py", str(port)], port, tmp_path):
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("forwarded", ["both", "x", "rfc7239", "off"])
def test_tornado_with_xheaders_believes_no_stranger(tmp_path: Path, forwarded: str) -> None:
    claims = b"X-Real-Ip: 6.6.6.6\r\nX-Scheme: https\r\nX-Forwarded-For: 6.6.6.7\r\nX-Forwarded-Proto: https\r\n"
    honest = {"ip": "127.0.0.1", "scheme": "http", "host": "a.example"}
    believed = {"ip": "6.6.6.6", "scheme": "https", "host": "a.example"}
    with tornado_server(tmp_path) as address:
        with http(address, listener={"forwarded": forwarded}) as lb, Client(lb.address) as client:
            assert json.loads(client.get(extra=claims).body) == honest
        trusting = {"forwarded": forwarded, "trusted_proxies": ["127.0.0.0/8"]}
        with http(address, listener=trusting) as lb, Client(lb.address) as client:
            assert json.loads(client.get(extra=claims).body) == believed


WSGI = """
def wsgi(environ, start):
    told = repr([environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["wsgi.url_scheme"]]).encode()
    start("200 OK", [("Content-Length", str(len(told)))])
    return [told]
"""


def test_gunicorn_lets_no_stranger_name_the_script(tmp_path: Path) -> None:
    """By default gunicorn believes peers on loopback: its forwarder_headers, and its secure_scheme_headers."""
    (tmp_path / "app.py").write_text(WSGI)
    port = free_port()
    line = [sys.executable, "-m", "gunicorn", "app:wsgi", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
    with (
        running(line, port, tmp_path),
        http(f"127.0.0.1:{port}", listener={"forwarded": "off"}) as lb,
        Client(lb.address) as client,
    ):
        extra = b"SCRIPT_NAME: /x\r\nPATH_INFO: /y\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: ssl\r\n"
        assert client.get("/x/z", extra=extra).body == b"['', '/x/z', 'http']"
