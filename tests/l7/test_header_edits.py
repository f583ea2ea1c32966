"""Headers that listeners, pools and routes set, add and remove: what backends and clients get, byte for byte."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import Call, H2Backend
from harness import balanced, wait_for
from http_balancers import OFF
from http_peers import Backend, Client, Reader, answering, field, fields
from tls_peers import TlsClient, shown, trusting

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings

if TYPE_CHECKING:
    from certificates import Authority
    from h2_backends import Talk

POOL = "default"


def edited(
    backend: Backend | H2Backend | str,
    *,
    listener: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    routes: tuple[dict[str, Any], ...] = (),
    **top: Any,
) -> BalancerSettings:
    """One pool, these edits of each."""
    address = backend if isinstance(backend, str) else backend.address
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(**{"bind": "http://127.0.0.1:0", "name": "web", "pool": POOL, **(listener or {})})],
        routes=[RouteSettings(**{"pool": POOL, **route}) for route in routes],
        pools=[PoolSettings(name=POOL, probe=OFF, backends=[address], **(pool or {}))],
        **top,
    )


def test_set_add_and_remove_see_the_head_as_lbcore_would_have_sent_it() -> None:
    edits = {
        "set": {"X-Tenant": "acme", "X-Forwarded-Proto": "https", "X-Real-IP": "{client}"},
        "add": {"Accept": "text/x", "X-New": "{{a}}"},
        "remove": ["Cookie", "X-Forwarded-For", "Forwarded", "User-Agent"],
    }
    with Backend() as backend, balanced(settings=edited(backend, listener={"request_headers": edits})) as lb:
        with Client(lb.address) as client:
            client.get(
                extra=b"cookie: a=1\r\nAccept: text/html\r\nx-tenant: evil\r\nX_Tenant: evil\r\nX-Tenant2: stays\r\n"
                b"X-REAL-IP: 6.6.6.6\r\nCookie: b=2\r\n"
            )
        head = backend.heads[0]
        assert fields(head, b"X-Tenant") == [b"acme"]
        assert b"evil" not in head
        assert b"6.6.6.6" not in head
        assert fields(head, b"Accept") == [b"text/html", b"text/x"]
        assert (field(head, b"X-New"), field(head, b"X-Tenant2")) == (b"{a}", b"stays")
        assert fields(head, b"X-Forwarded-Proto") == [b"https"]
        assert field(head, b"X-Real-IP") == b"127.0.0.1"
        for gone in (b"Cookie", b"X-Forwarded-For", b"Forwarded"):
            assert field(head, gone) is None, gone
        assert (field(head, b"Host"), field(head, b"Via")) == (b"a.example", b"1.1 lbcore")


def test_route_wins_over_pool_and_pool_over_listener() -> None:
    def say(who: str, *others: str) -> dict[str, Any]:
        return {"set": dict.fromkeys((f"X-{who}", "X-All", *others), who), "add": {"X-List": who}}

    settings = edited(
        Backend_ := Backend(answering(b"HTTP/1.1 200 OK\r\nX-All: backend\r\nX-Gone: 1\r\nContent-Length: 0\r\n\r\n")),
        listener={"request_headers": say("listener", "X-Two"), "response_headers": say("listener", "X-Two")},
        pool={"request_headers": say("pool", "X-Two"), "response_headers": say("pool", "X-Two") | {"remove": ["X-Gone"]}},
        routes=(
            {"path_prefix": "/r", "request_headers": say("route"), "response_headers": say("route")},
            {"path_prefix": "/none", "request_headers": {"remove": ["X-List", "X-All"]}},
            {},
        ),
    )
    with Backend_ as backend, balanced(settings=settings) as lb, Client(lb.address) as client:
        answer = client.get("/r").head
        for head in (backend.heads[0], answer):
            assert fields(head, b"X-All") == [b"route"]
            assert fields(head, b"X-Two") == [b"pool"]
            assert fields(head, b"X-List") == [b"listener", b"pool", b"route"]
        assert field(answer, b"X-Gone") is None
        client.get("/none")
        assert (field(backend.heads[1], b"X-All"), field(backend.heads[1], b"X-List")) == (None, None)
        assert field(backend.heads[1], b"X-Two") == b"pool"
        client.get("/else")
        assert field(backend.heads[2], b"X-All") == b"pool"
        assert fields(backend.heads[2], b"X-List") == [b"listener", b"pool"]


VARIABLES = "|".join(
    f"{{{name}}}"
    for name in (
        *("client", "client_port", "scheme", "method", "host", "path", "query", "listener", "pool", "backend"),
        *("tls_version", "tls_cipher", "tls_sni"),
    )
)


def test_variables_and_the_groups_of_an_expression() -> None:
    route = {
        "path_regex": "^/t/([a-z]+)/(x)?(.*)$",
        "request_headers": {"set": {"X-All": VARIABLES, "X-Groups": "{1}-{2}-{3}", "X-Empty": "{2}", "X-Id": "{request_id}"}},
        "response_headers": {"set": {"X-Back": "{1}@{backend}", "X-Request-Id": "{request_id}"}},
    }
    with Backend() as backend, balanced(settings=edited(backend, routes=(route, {}))) as lb, Client(lb.address) as client:
        port = client.socket.getsockname()[1]
        answer = client.get("/t/acme/%41b%2f/../c%20?q={host}&r=%0d%0aX-Evil:1", host=b"A.example:80", extra=b"X-Empty: 1\r\n")
        head = backend.heads[0]
        assert field(head, b"X-All") == (
            b"127.0.0.1|%d|http|GET|A.example|/t/acme/%%41b%%2f/../c%%20|?q={host}&r=%%0d%%0aX-Evil:1|web|default|%s|||"
            % (port, backend.address.encode())
        )
        assert field(head, b"X-Groups") == b"acme--c%20"
        assert field(head, b"X-Empty") is None, "an empty value is not sent"
        assert field(head, b"X-Id") == field(head, b"X-Request-Id") == field(answer.head, b"X-Request-Id")
        assert re.fullmatch(rb"[0-9a-f]{32}", field(head, b"X-Id") or b"")
        assert field(answer.head, b"X-Back") == b"acme@" + backend.address.encode()


def test_what_a_client_controls_brings_no_line_and_no_second_request() -> None:
    edits = {"set": {"X-Path": "{path}", "X-Query": "{query}", "X-Host": "{host}", "X-Method": "{method}"}}
    with Backend() as backend, balanced(settings=edited(backend, listener={"request_headers": edits})) as lb:
        for target in (b"/a\rX-Evil:1", b"/a\nX-Evil:1", b"/a\0b", b"/a\x01b", b"/?a\x7f"):
            with Client(lb.address) as client:
                client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.answer().status == 400, target
        with Client(lb.address) as client:
            assert client.get("/%0d%0aX-Evil:%201%01?%0aX-Evil:1").status == 200
        assert len(backend.heads) == 1
        assert field(backend.heads[0], b"X-Evil") is None
        assert field(backend.heads[0], b"X-Path") == b"/%0d%0aX-Evil:%201%01"


def test_host_for_the_backend_and_for_targets_in_absolute_form() -> None:
    routes = (
        {"path_prefix": "/in", "request_headers": {"set": {"Host": "inner.example:8080"}}},
        {"path_prefix": "/own", "request_headers": {"set": {"Host": "{backend}"}}},
        {"path_prefix": "/plain", "request_headers": {"set": {"Host": "{host}"}}},
    )
    with Backend() as backend, balanced(settings=edited(backend, routes=routes)) as lb, Client(lb.address) as client:
        client.get("/in")
        client.send(b"GET http://a.example/in HTTP/1.1\r\nHost: other\r\n\r\n")
        client.answer()
        client.get("/own")
        client.get("/plain", host=b"a.example:81")
        wanted = [b"inner.example:8080", b"inner.example:8080", backend.address.encode(), b"a.example"]
        assert [fields(head, b"Host") for head in backend.heads] == [[host] for host in wanted]
        assert field(backend.heads[0], b"X-Forwarded-Host") == b"a.example"


def test_edits_that_do_not_fit_are_refused_before_a_backend_is_asked() -> None:
    edits = {"set": {f"X-{number}": "{path}" for number in range(4)}}
    settings = edited(Backend_ := Backend(), listener={"request_headers": edits, "response_headers": {"set": {"X-R": "1"}}})
    with Backend_ as backend, balanced(settings=settings) as lb, Client(lb.address) as client:
        assert client.get("/" + "x" * 1500).status == 200
        answer = client.get("/" + "x" * 3000)
        assert (answer.status, field(answer.head, b"X-R")) == (431, b"1")
        assert client.get("/").status == 200
        assert len(backend.heads) == 2


def test_local_responses_are_edited_too() -> None:
    settings = edited(
        "127.0.0.1:9",
        listener={
            "health_path": "/health",
            "max_target": 64,
            "response_headers": {"set": {"X-Frame-Options": "DENY", "Content-Type": "text/x"}, "add": {"X-Pool": "{pool}"}},
        },
        routes=(
            {"path": "/no", "pool": None, "deny": True, "response_headers": {"set": {"X-Route": "{path}"}}},
            {"path": "/away", "pool": None, "redirect": "/there"},
            {"path_prefix": "/down"},
        ),
    )
    with balanced(settings=settings) as lb:
        for target, status, route, pool in (
            (b"/no", 403, b"/no", None),
            (b"/away", 301, None, None),
            (b"/down", 502, None, b"default"),
            (b"/health", 200, None, None),
            (b"/" + b"x" * 100, 414, None, None),
            (b"/%zz", 400, None, None),
            (b"/\x01", 400, None, None),
        ):
            with Client(lb.address) as client:
                client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = client.answer()
                assert answer.status == status, target
                assert fields(answer.head, b"X-Frame-Options") == [b"DENY"], target
                assert fields(answer.head, b"Content-Type") == [b"text/x"]
                assert (field(answer.head, b"X-Route"), field(answer.head, b"X-Pool")) == (route, pool), target
                assert int(field(answer.head, b"Content-Length") or 0) == len(answer.body)


def test_interim_responses_stay_and_upgrades_are_edited() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if b"Upgrade: websocket" in head:
            connection.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nServer: s\r\n\r\nhi")
            connection.sendall(connection.recv(100))
            return False
        connection.sendall(b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 0\r\n\r\n")
        return True

    listener = {"early_hints": "always", "response_headers": {"set": {"X-R": "1"}, "remove": ["Server", "Link"]}}
    with Backend(script) as backend, balanced(settings=edited(backend, listener=listener)) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            reader = Reader(client.socket)
            early, final = reader.head() or b"", reader.head() or b""
            assert (field(early, b"Link"), field(early, b"X-R")) == (b"</a>", None)
            assert (field(final, b"Server"), field(final, b"X-R")) == (None, b"1")
        with Client(lb.address) as client:
            client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            reader = Reader(client.socket)
            head = reader.head() or b""
            assert head.startswith(b"HTTP/1.1 101")
            assert (field(head, b"X-R"), field(head, b"Server"), field(head, b"Upgrade")) == (b"1", None, b"websocket")
            assert reader.exactly(2) == b"hi"
            client.send(b"more")
            assert reader.exactly(4) == b"more"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("kind", ["http/1.1", "h2"])
def test_all_pairs_of_versions(version: str, kind: str) -> None:
    route = {
        "path_prefix": "/a",
        "request_headers": {"set": {"X-One": "{path}", "Host": "inner"}, "remove": ["User-Agent"]},
        "response_headers": {"set": {"X-Two": "{backend}", "Cache-Control": "no-store"}, "remove": ["Server", "Via"]},
    }

    def script(call: Call) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "200"), ("server", "s"), ("cache-control", "x"), end=True))

    def plain(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nServer: s\r\nCache-Control: x\r\nContent-Length: 0\r\n\r\n")
        return True

    peer: Backend | H2Backend = H2Backend(script) if kind == "h2" else Backend(plain)
    settings = edited(peer, pool={"protocol": kind}, routes=(route, {"path": "/no", "pool": None, "deny": True}))
    with peer, balanced(settings=settings) as lb:
        base = f"http://{lb.address[0]}:{lb.address[1]}"
        words = ["curl", version, "-sS", "-D", "-", "-o", "/dev/null", "--max-time", "20", "-H", "X-One: evil"]
        done = subprocess.run([*words, f"{base}/a/b"], capture_output=True, timeout=60, check=True)
        head = done.stdout.lower()
        assert fields(head, b"x-two") == [str(peer.address).encode()]
        assert fields(head, b"cache-control") == [b"no-store"]
        assert (field(head, b"server"), field(head, b"via")) == (None, None)
        if isinstance(peer, H2Backend):
            got = peer.calls[0].head
            assert (got["x-one"], got[":authority"], got.get("user-agent")) == ("/a/b", "inner", None)
        else:
            request = peer.heads[0]
            assert fields(request, b"X-One") == [b"/a/b"]
            assert (field(request, b"Host"), field(request, b"User-Agent")) == (b"inner", None)


def test_trailers_of_grpc_stay() -> None:
    edits = {"set": {"X-R": "1"}, "remove": ["x-trailer"]}

    def script(call: Call) -> None:
        talk: Talk = call.talk
        talk.send(talk.head(call.stream, (":status", "200"), ("content-type", "application/grpc"), ("x-trailer", "head")))
        talk.send(talk.head(call.stream, ("grpc-status", "0"), ("x-trailer", "kept"), end=True))

    with (
        H2Backend(script) as backend,
        balanced(settings=edited(backend, listener={"response_headers": edits}, pool={"protocol": "h2"})) as lb,
    ):
        url = f"http://{lb.address[0]}:{lb.address[1]}/pkg.S/M"
        words = ["curl", "--http2-prior-knowledge", "-sS", "-i", "--max-time", "20", "-H", "content-type: application/grpc"]
        done = subprocess.run([*words, "-H", "te: trailers", "-d", "", url], capture_output=True, timeout=60, check=True)
        assert b"x-r: 1" in done.stdout
        assert done.stdout.count(b"x-trailer") == 1
        assert b"x-trailer: kept" in done.stdout
        assert b"grpc-status: 0" in done.stdout


def test_a_reload_changes_what_begins_after_it() -> None:
    """A request that is under way keeps the edits that it began with."""
    go = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b"/slow" in head:
            go.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def settings(value: str) -> BalancerSettings:
        listener = {"response_headers": {"set": {"X-R": f"{value}-{{path}}"}}}
        return edited(backend, listener=listener, pool={"response_headers": {"set": {"X-P": value}}})

    with Backend(script) as backend, balanced(settings=settings("old")) as lb, Client(lb.address) as slow:
        slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: backend.heads, "the backend has it")
        lb.reload(settings("new"))

        def is_new() -> bool:
            with Client(lb.address) as client:
                head = client.get("/x").head
                return (field(head, b"X-R"), field(head, b"X-P")) == (b"new-/x", b"new")

        wait_for(is_new, "the reload holds")
        go.set()
        head = slow.answer().head
        assert (field(head, b"X-R"), field(head, b"X-P")) == (b"old-/slow", b"old")
        lb.reload(edited(backend))

        def is_gone() -> bool:
            with Client(lb.address) as client:
                return field(client.get("/x").head, b"X-R") is None

        wait_for(is_gone, "without edits again")


def test_routes_to_one_pool_with_other_edits_are_told_apart_in_every_reading() -> None:
    routes = (
        {"path_prefix": "/private", "request_headers": {"set": {"X-Role": "guest"}}},
        {"request_headers": {"set": {"X-Role": "user"}}},
    )
    with Backend() as backend, balanced(settings=edited(backend, routes=routes)) as lb:
        for path in ("/x/..%2fprivate", "//private", "/private;a", "/%2570rivate"):
            with Client(lb.address) as client:
                assert client.get(path).status == 400, path
        with Client(lb.address) as client:
            client.get("/%70rivate")
            client.get("/x/../private")
        assert [field(head, b"X-Role") for head in backend.heads] == [b"guest", b"guest"]


# --- HSTS -------------------------------------------------------------------------------------------------------------


def test_hsts_over_tls_alone_in_the_place_of_the_backends(authority: Authority) -> None:
    site = authority.issue("a.test", "DNS:a.test")
    raw = b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n"
    with Backend(answering(raw)) as backend:
        secure = ListenerSettings(
            bind="https://127.0.0.1:0",
            name="secure",
            pool=POOL,
            certificates=shown(site),
            hsts="365d includeSubDomains preload",
            request_headers={"set": {"X-Tls": "{tls_version} {tls_cipher} {tls_sni} {scheme}"}},
        )
        plain = ListenerSettings(
            bind="http://127.0.0.1:0",
            name="plain",
            pool=POOL,
            hsts="1h",
            accept_proxy=True,
            trusted_proxies=["127.0.0.0/8"],
        )
        pools = [PoolSettings(name=POOL, probe=OFF, backends=[backend.address])]
        with balanced(settings=BalancerSettings(workers=1, listeners=[secure, plain], pools=pools)) as lb:
            listeners = {entry["name"]: entry["address"] for entry in lb.status()["listeners"]}
            ports = {name: int(address.rpartition(":")[2]) for name, address in listeners.items()}
            with TlsClient(("127.0.0.1", ports["secure"]), trusting(authority), "a.test") as client:
                hsts = b"max-age=31536000; includeSubDomains; preload"
                assert fields(client.get("/").head, b"Strict-Transport-Security") == [hsts]
                client.send(b"GET /\x01 HTTP/1.1\r\n\r\n")
                assert fields(client.answer().head, b"Strict-Transport-Security") == [hsts], "of local responses, too"
            told = field(backend.heads[0], b"X-Tls") or b""
            assert re.fullmatch(rb"TLSv1\.[23] [A-Z0-9_-]+ a\.test https", told), told
            with Client(("127.0.0.1", ports["plain"])) as client:
                client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n")
                assert fields(client.get("/").head, b"Strict-Transport-Security") == [b"max-age=1"]
