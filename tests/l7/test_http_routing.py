"""Routes, stickiness and hashing, through a balancer and as the bytes that it is given."""

from __future__ import annotations

import collections
import contextlib
import socket
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, wait_for
from http_balancers import cookie_of, http, routed, settings_of
from http_peers import Backend, Client, field
from pace import late

from lbcore import _engine
from lbcore.config.settings import PoolSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    pass


def test_host_exact_wildcard_port_case_and_final_dot() -> None:
    routes = [
        {"host": "api.example.com", "pool": "api"},
        {"host": "*.example.com", "pool": "wild"},
        {"host": "Deep.Sub.example.org", "pool": "deep"},
    ]
    with routed(routes) as (_, client):
        found = {
            host: client.get(host=host).body
            for host in (b"api.example.com", b"API.Example.COM:8080", b"api.example.com.", b"x.example.com", b"x.y.example.com")
        }
        assert list(found.values()) == [b"api", b"api", b"api", b"wild", b"wild"]
        assert client.get(host=b"example.com").body == b"default"
        assert client.get(host=b"badexample.com").body == b"default"
        assert client.get(host=b"deep.sub.example.org").body == b"deep"
        assert client.get(host=b"[::1]:80").body == b"default"


def test_prefix_goes_by_segment() -> None:
    with routed([{"path_prefix": "/v2/", "pool": "two"}, {"path_prefix": "/v3", "pool": "three"}]) as (_, client):
        for path in ("/v2", "/v2/", "/v2/x", "/v2?q", "/v2/x/y?q"):
            assert client.get(path).body == b"two", path
        for path in ("/v3", "/v3/", "/v3/x"):
            assert client.get(path).body == b"three", path
        for path in ("/", "/v2x", "/v", "/x/v2", "/V2"):
            assert client.get(path).body == b"default", path


def test_exact_and_regular_expression() -> None:
    with routed([{"path": "/exact", "pool": "exact"}, {"path_regex": "^/u/[0-9]+$", "pool": "user"}]) as (_, client):
        assert client.get("/exact?x").body == b"exact"
        assert client.get("/exact/").body == b"default"
        assert client.get("/u/123").body == b"user"
        assert client.get("/u/12a").body == b"default"


def test_method_header_and_cookie() -> None:
    routes = [
        {"method": ["GET", "HEAD"], "path": "/m", "pool": "read"},
        {"header": {"X-Tenant": "acme"}, "pool": "acme"},
        {"header": {"X-Any": True}, "pool": "any"},
        {"cookie": {"canary": "1"}, "pool": "canary"},
        {"cookie": {"seen": True}, "pool": "seen"},
        {"cookie": {"a": "1"}, "header": {"B": "2"}, "method": "PUT", "pool": "all"},
    ]
    with routed(routes) as (_, client):
        assert client.get("/m").body == b"read"
        assert client.get("/m", method=b"DELETE").body == b"default"
        assert client.get(extra=b"x-tenant: acme\r\n").body == b"acme"
        assert client.get(extra=b"X-Tenant: other\r\nX-Tenant: acme\r\n").body == b"acme"
        assert client.get(extra=b"X-Tenant: Acme\r\n").body == b"default"
        assert client.get(extra=b"X-Any:\r\n").body == b"any"
        assert client.get(extra=b"Cookie: b=2; canary=1;c=3\r\n").body == b"canary"
        assert client.get(extra=b"Cookie: xcanary=1; canary=10\r\n").body == b"default"
        assert client.get(extra=b"Cookie: a=b\r\nCookie: seen=\r\n").body == b"seen"
        assert client.get(extra=b"Cookie: a=1\r\nB: 2\r\n", method=b"PUT").body == b"all"
        assert client.get(extra=b"Cookie: a=1\r\nB: 2\r\n").body == b"default"


def test_first_match_wins_across_kinds() -> None:
    routes = [
        {"path_regex": "^/a/special", "pool": "first"},
        {"host": "*.example.com", "path_prefix": "/a", "pool": "second"},
        {"host": "x.example.com", "pool": "third"},
        {"path_prefix": "/", "pool": "fourth"},
    ]
    with routed(routes) as (_, client):
        assert client.get("/a/special", host=b"x.example.com").body == b"first"
        assert client.get("/a/b", host=b"x.example.com").body == b"second"
        assert client.get("/b", host=b"x.example.com").body == b"third"
        assert client.get("/b", host=b"y").body == b"fourth"


def test_no_match_is_404_without_a_pool() -> None:
    with routed([{"host": "known", "pool": "known"}], default=None) as (_, client):
        assert client.get(host=b"known").body == b"known"
        assert client.get(host=b"unknown").status == 404


def test_paths_are_compared_normal_and_forwarded_as_received() -> None:
    with contextlib.ExitStack() as stack:
        admin, default = stack.enter_context(Backend(name=b"admin")), stack.enter_context(Backend(name=b"default"))
        settings = settings_of({"admin": admin, "default": default}, [{"path_prefix": "/admin", "pool": "admin"}])
        lb = stack.enter_context(balanced(settings=settings))
        client = stack.enter_context(Client(lb.address))
        for path in ("/x/../admin/y", "/%61dmin/y", "/./admin", "/x/%2e%2E/admin"):
            assert client.get(path).body == b"admin", path
            assert admin.heads[-1].startswith(b"GET " + path.encode() + b" HTTP/1.1\r\n")
        for path in ("/adm%69nx", "/xadmin", "/admin/../x"):
            assert client.get(path).body == b"default", path
        assert client.get("/api/a%2Fb").body == b"default"
        assert client.get("/admin/a%2Fb").body == b"admin"


@pytest.mark.parametrize(
    "path",
    [
        "/admin%2fx",
        "/%2fadmin/x",
        "//admin/x",
        "/x%2f..%2fadmin",
        "/admin/..%2f..%2fx",
        "/x/..\\admin",
        "/x%5c..%5cadmin",
        "/admin%00",
        "/x%00/admin",
        "/%zz",
    ],
)
def test_a_path_that_two_servers_would_read_differently_does_not_route_around_a_prefix(path: str) -> None:
    with routed([{"path_prefix": "/admin", "pool": "admin"}]) as (_, client):
        assert client.get(path).status == 400


def test_reload_changes_routes_and_keeps_connections() -> None:
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(Backend(name=name.encode())) for name in ("default", "new", "other")}
        lb = stack.enter_context(balanced(settings=settings_of(pools, [{"path_prefix": "/a", "pool": "new"}])))
        client = stack.enter_context(Client(lb.address))
        assert client.get("/a").body == b"new"
        lb.reload(settings_of(pools, [{"path_prefix": "/a", "pool": "other"}, {"path": "/b", "pool": "new"}]))
        wait_for(lambda: client.get("/a").body == b"other", "the new routes hold")
        assert client.get("/b").body == b"new"
        lb.reload(settings_of(pools, []))
        wait_for(lambda: client.get("/a").body == b"default", "there are none")
        assert lb.status()["workers"][0]["accepted"] == 1


def test_a_thousand_routes() -> None:
    routes = [
        {"host": f"h{number}.example.com", "path_prefix": f"/p{number}", "pool": f"p{number % 3}"} for number in range(1000)
    ]
    with routed(routes) as (_, client):
        for number in (0, 1, 500, 999):
            assert client.get(f"/p{number}/x", host=b"h%d.example.com" % number).body == b"p%d" % (number % 3)
        assert client.get("/p1", host=b"h2.example.com").body == b"default"


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ({"host": "a.example"}, "pool: missing"),
        ({"pool": "x"}, "'x' is unknown"),
        ({"pool": "default", "path": "x"}, "path: 'x' is not allowed"),
        ({"pool": "default", "path": "/x", "path_prefix": "/y"}, "one of grpc, path, path_prefix and path_regex"),
        ({"pool": "default", "path_regex": "("}, "path_regex: '(' is not allowed"),
        ({"pool": "default", "path_regex": "(a)\\1"}, "refers back"),
        ({"pool": "default", "host": "a.*.b"}, "host: 'a.*.b' is not allowed"),
        ({"pool": "default", "host": "a:80"}, "host: 'a:80' is not allowed"),
        ({"pool": "default", "method": ["G T"]}, "method: ['G T'] is not allowed"),
        ({"pool": "default", "header": {"a b": "x"}}, "header: "),
        ({"pool": "default", "cookie": {"a": 1}}, "cookie: "),
        ({"pool": "default", "listener": "tcp"}, "'tcp' is no http, https or tls listener"),
    ],
)
def test_bad_route_is_one_clear_line(route: dict[str, Any], problem: str) -> None:
    with Backend() as backend, pytest.raises(ConfigError) as caught:
        settings_of({"default": backend}, [route])
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


# --- stickiness ------------------------------------------------------------------------------------------------------


def test_sticky_cookie_keeps_a_client_with_its_backend() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"b%d" % number)) for number in range(4)]
        lb = stack.enter_context(http(*backends, sticky="lb", sticky_secret="0123456789abcdef"))
        client = stack.enter_context(Client(lb.address))
        first = client.get()
        cookie = cookie_of(first.head)
        assert cookie.startswith(b"lb=")
        assert b"HttpOnly" in (field(first.head, b"Set-Cookie") or b"")
        for _ in range(12):
            again = client.get(extra=b"Cookie: x=y; " + cookie + b"\r\n")
            assert again.body == first.body
            assert field(again.head, b"Set-Cookie") is None
        assert len({client.get().body for _ in range(8)}) == 4


def test_sticky_cookie_of_a_backend_that_left_is_set_anew() -> None:
    with (
        Backend(name=b"one") as one,
        Backend(name=b"two") as two,
        http(one, two, sticky="lb") as lb,
        Client(lb.address) as client,
    ):
        first = client.get()
        gone, stays = (one, b"two") if first.body == b"one" else (two, b"one")
        lb.pool().remove(gone.address, drain_timeout=0)
        again = client.get(extra=b"Cookie: " + cookie_of(first.head) + b"\r\n")
        assert again.body == stays
        assert cookie_of(again.head) != cookie_of(first.head)


@pytest.mark.parametrize("how", ["signature", "name", "short", "other_pool"])
def test_forged_sticky_cookie_is_not_believed(how: str) -> None:
    with Backend() as backend, http(backend, sticky="lb") as lb, Client(lb.address) as client:
        name, _, value = cookie_of(client.get().head).partition(b"=")
        index, signed, signature = value.split(b".")
        forged = {
            "signature": b".".join([index, signed, b"0" * 16]),
            "name": b".".join([index, b"0" * 16, signature]),
            "short": value[:-1],
            "other_pool": b".".join([index, signature, signed]),
        }[how]
        assert cookie_of(client.get(extra=b"Cookie: lb=" + forged + b"\r\n").head) == name + b"=" + value


def test_sticky_cookie_outlives_a_restart_with_a_secret() -> None:
    with Backend(name=b"one") as one, Backend(name=b"two") as two:
        options = {"sticky": "lb", "sticky_secret": "0123456789abcdef"}
        with http(one, two, **options) as lb, Client(lb.address) as client:
            answers = {}
            while len(answers) < 2:
                answer = client.get()
                answers[answer.body] = cookie_of(answer.head)
        with http(two, one, **options) as lb, Client(lb.address) as client:
            for name, cookie in answers.items():
                for _ in range(3):
                    assert client.get(extra=b"Cookie: " + cookie + b"\r\n").body == name


# --- maglev ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "request_of"),
    [
        ("header:X-User", lambda user: (f"/{id(user)}", b"x-user: %d\r\n" % user)),
        ("cookie:user", lambda user: ("/", b"Cookie: a=b; user=%d\r\n" % user)),
        ("path", lambda user: (f"/{user}?{id(user)}", b"")),
    ],
)
def test_maglev_keeps_a_key_with_one_backend(key: str, request_of: Any) -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"b%d" % number)) for number in range(5)]
        lb = stack.enter_context(http(*backends, policy="maglev", hash=key))
        client = stack.enter_context(Client(lb.address))
        homes: dict[int, set[bytes]] = collections.defaultdict(set)
        for _ in range(3):
            for user in range(60):
                path, extra = request_of(user)
                homes[user].add(client.get(path, extra).body)
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) == 5


def test_maglev_by_address_holds_for_tcp_too() -> None:
    from harness import dial, named

    with contextlib.ExitStack() as stack:
        from harness import Peer

        peers = [stack.enter_context(Peer(named(b"%d" % number))) for number in range(4)]
        lb = stack.enter_context(balanced(backends=[peer.address for peer in peers], policy="maglev"))
        seen = set()
        for _ in range(8):
            with dial(lb.address) as client:
                seen.add(client.recv(10))
        assert len(seen) == 1


def test_maglev_bounds_the_load_of_a_popular_key() -> None:
    class Holding(Backend):
        def _talk(self, connection: socket.socket) -> None:
            self.heads.append(connection.recv(65536))
            connection.recv(1)

    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Holding()) for _ in range(4)]
        lb = stack.enter_context(http(*backends, policy="maglev", hash="path"))
        for _ in range(80):
            stack.enter_context(Client(lb.address)).send(b"GET /popular HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sum(len(backend.heads) for backend in backends) == 80, "all are under way")
        assert max(len(backend.heads) for backend in backends) <= 80 / 4 + 10 + 1, "the mean and ten"


def _table(weights: dict[str, int]) -> Any:
    from lbcore.table import Table

    table = Table(name="t", version="0", workers=1, max_backends=128, datapath="auto")
    table.set_pool(PoolSettings(name="p", policy="maglev"))
    with table.batch():
        for address, weight in weights.items():
            table.add("p", address, weight=weight, source="api")
    return table


def _homes(table: Any, keys: int = 5000) -> dict[int, str]:
    picker = table.picker("p")
    key = 0x9E3779B97F4A7C15
    return {n: table.by_index(picker.pick(key=(n * key) % (1 << 64))).address for n in range(keys)}


def test_maglev_spread_follows_weights_and_is_the_same_everywhere() -> None:
    weights = {f"10.0.0.{number}:80": 1 + number % 3 for number in range(1, 31)}
    one, two = _table(weights), _table(dict(reversed(weights.items())))
    try:
        homes = _homes(one)
        assert homes == _homes(two)
        counts = collections.Counter(_homes(one, 60_000).values())
        shares = [counts[address] / weight for address, weight in weights.items()]
        assert statistics.pstdev(shares) / statistics.mean(shares) < 0.06
    finally:
        one.close()
        two.close()


def test_maglev_moves_hardly_more_than_the_keys_of_a_backend_that_left() -> None:
    table = _table({f"10.0.0.{number}:80": 1 for number in range(1, 51)})
    try:
        before = _homes(table)
        gone = table.find("p", "10.0.0.7:80")
        table.set_state(gone, "down", "test")
        after = _homes(table)
        moved = sum(before[key] != after[key] for key in before if before[key] != gone.address)
        assert gone.address not in after.values()
        assert moved / len(before) < 0.03
        table.set_state(gone, "up", "test")
        assert _homes(table) == before
    finally:
        table.close()


# --- ewma ------------------------------------------------------------------------------------------------------------


def test_ewma_prefers_the_quick_backend_and_returns_to_one_that_recovers() -> None:
    slow = late(0.05, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    with Backend(slow) as one, Backend(name=b"quick") as two, http(one, two, policy="ewma") as lb, Client(lb.address) as client:
        counts = collections.Counter(client.get().body for _ in range(200))
        assert counts[b"quick"] > 190, counts
        assert counts[b"slow"] >= 1


def test_normal_path_of_routes_is_that_of_the_engine() -> None:
    from lbcore.table.routes import normal_path

    for path in ("/a/../b/", "/%7Ea/./b", "/", "/a%2fb", "/a/.."):
        assert normal_path(path).encode() == _engine.normal_path(path.encode())
