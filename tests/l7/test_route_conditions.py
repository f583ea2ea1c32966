"""What routes ask for: networks, parameters, shares, suffixes, several values, negations and alternatives."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced
from http_balancers import OFF, settings_of
from http_peers import Backend, Client

from lbcore import _engine
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.observe.why import decisions
from lbcore.table import Table
from lbcore.table.routes import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REFUSED = "refused"


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table(name="conditions", version="0", workers=1, max_backends=16, datapath="auto")
    made.set_pool(PoolSettings(name="other"))
    made.set_pool(PoolSettings(name="meant"))
    yield made
    made.close()


def router(table: Table, *routes: dict[str, Any]) -> Callable[..., Any]:
    """Asks a worker's compiled routes: True if the pool "meant" is led to, False if not, REFUSED."""
    table.set_routes(pack([RouteSettings(**{"pool": "meant", **route}) for route in routes], {}, table.pool_rows()))
    made = _engine.Router(table._writer)

    def asked(target: str = "/", *lines: str, method: str = "GET", host: str = "a.example", ip: str = "192.0.2.1") -> Any:
        head = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()
        address = ipaddress.ip_address(ip)
        mapped = address if address.version == 6 else ipaddress.IPv6Address(f"::ffff:{ip}")
        try:
            found = made.match(head, ip=mapped.packed)
        except ValueError:
            return REFUSED
        return found == table.pool_rows()["meant"]

    return asked


# --- each kind -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "within", "outside"),
    [
        (["10.0.0.0/8"], ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0", "::a00:0", "2001:db8::1"]),
        (["192.0.2.1/32", "198.51.100.0/24"], ["192.0.2.1", "198.51.100.7"], ["192.0.2.0", "192.0.2.2", "198.51.101.0"]),
        (["2001:db8::/32", "10.0.0.0/9"], ["2001:db8:ffff::1", "10.127.0.1"], ["2001:db9::", "10.128.0.0", "::"]),
        (["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"], ["10.1.2.3", "10.1.2.4", "10.200.0.1"], ["12.0.0.1"]),
        (["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
        (["::/0"], ["::", "ffff::"], ["1.2.3.4"]),
        (["::/0", "0.0.0.0/0"], ["::", "1.2.3.4"], []),
        (["10.0.0.0/31", "10.0.0.4/30", "10.0.0.9/32"], ["10.0.0.1", "10.0.0.7", "10.0.0.9"], ["10.0.0.2", "10.0.0.8"]),
    ],
)
def test_source(table: Table, source: list[str], within: list[str], outside: list[str]) -> None:
    asked = router(table, {"source": source})
    assert [asked(ip=ip) for ip in within] == [True] * len(within)
    assert [asked(ip=ip) for ip in outside] == [False] * len(outside)
    negated = router(table, {"not": {"source": source}})
    assert [negated(ip=ip) for ip in within + outside] == [False] * len(within) + [True] * len(outside)


def test_many_networks(table: Table) -> None:
    networks = [f"10.{high}.{low}.0/25" for high in range(8) for low in range(0, 256, 2)]
    asked = router(table, {"source": networks})
    for high, low in itertools.product(range(9), range(0, 256, 7)):
        assert asked(ip=f"10.{high}.{low}.127") == (high < 8 and low % 2 == 0)
        assert not asked(ip=f"10.{high}.{low}.128")


@pytest.mark.parametrize(
    ("query", "target", "expected"),
    [
        ({"a": "1"}, "/?a=1", True),
        ({"a": "1"}, "/?b=2&a=1", True),
        ({"a": "1"}, "/", False),
        ({"a": "1"}, "/?a=11", False),
        ({"a": "1"}, "/?aa=1", False),
        ({"a": "1"}, "/?a", False),
        ({"a": "1"}, "/?A=1", False),
        ({"a": ""}, "/?a", True),
        ({"a": ""}, "/?a=", True),
        ({"a": True}, "/?x&a", True),
        ({"a": True}, "/?x=a", False),
        ({"a": False}, "/?x=a", True),
        ({"a": False}, "/?a=", False),
        ({"a": ["1", "2"]}, "/?a=2", True),
        ({"a": ["1", "2"]}, "/?a=3", False),
        ({"a": "1", "b": True}, "/?b&a=1", True),
        ({"a": "1", "b": True}, "/?a=1", False),
        ({"a": "x y"}, "/?a=x%20y", True),
        ({"a": "é=&"}, "/?a=%C3%a9%3D%26", True),
        ({"é&": "1"}, "/?%c3%A9%26=1", True),
        ({"a": "1%"}, "/?a=1%", True),
        ({"a": "1%zz"}, "/?a=1%zz", True),
        ({"a": "1=2"}, "/?a=1=2", True),
        ({"a": "1"}, "/?&&a=1&", True),
        # readings that differ: refused where they lead elsewhere, and only there
        ({"a": "1"}, "/?%61=%31", True),
        ({"a": "x y"}, "/?a=x+y", REFUSED),
        ({"a": "x+y"}, "/?a=x+y", REFUSED),
        ({"a": "x+y"}, "/?a=x%2By", True),
        ({"a": "1"}, "/?a=1&b=x+y", True),
        ({"a": "1"}, "/?b=2;a=1", REFUSED),
        ({"a": "1"}, "/?b=2;c=1", False),
        ({"a": "1"}, "/?a=1;b", REFUSED),
        ({"a": True}, "/?x;a", REFUSED),
        ({"a": "1"}, "/?a=1&a=2", REFUSED),
        ({"a": "1"}, "/?a=2&a=1", REFUSED),
        ({"a": "1"}, "/?a=1&a=1", True),
        ({"a": "1"}, "/?a=2&a=3", False),
        ({"a": True}, "/?a=1&a=2", True),
        ({"a": False}, "/?a=1&a=2", False),
    ],
)
def test_query(table: Table, query: dict[str, Any], target: str, expected: bool | str) -> None:
    assert router(table, {"query": query})(target) == expected
    negated = {True: False, False: True, REFUSED: REFUSED}
    assert router(table, {"not": {"query": query}})(target) == negated[expected]


def test_readings_of_path_and_query_together_are_refused(table: Table) -> None:
    asked = router(table, {"path": "/admin", "query": {"a": "1"}})
    assert asked("/admin?a=1") is True
    assert asked("//admin?a=1") == REFUSED
    assert asked("//admin?b;a=1") == REFUSED  # neither alone leads there
    assert asked("//admin?b=2&a=2") is False
    assert asked("//admin?a=2&a=1") == REFUSED


@pytest.mark.parametrize(
    ("suffix", "path", "expected"),
    [
        (".php", "/x/index.php", True),
        (".php", "/x/index.php7", False),
        (".php", "/x/index.PHP", False),
        (".php", "/x.php/y", False),
        (".php", "/.php?x", True),
        (".php", "/x?y=.php", False),
        ([".jpg", ".png"], "/a.png", True),
        ([".jpg", ".png"], "/a.gif", False),
        ("/status", "/a/status", True),
        ("/a/b/c/long", "/long", False),
        (".%70hp", "/x.php", True),
        (".php", "/x.%70hp", True),
        (".php", "/x%2Ephp", True),
        (".php", "/x.php;v=1", REFUSED),
        (".php", "/x.php%00", REFUSED),
        (".php", "/x.ph%2570", REFUSED),
        ("a:b", "/xa%3ab", REFUSED),
    ],
)
def test_suffix(table: Table, suffix: str | list[str], path: str, expected: bool | str) -> None:
    assert router(table, {"path_suffix": suffix})(path) == expected


def test_suffix_beside_a_prefix(table: Table) -> None:
    asked = router(table, {"path_prefix": "/app", "path_suffix": ".php"})
    assert [asked("/app/x.php"), asked("/app/x"), asked("/x.php")] == [True, False, False]


def test_several_values_of_each(table: Table) -> None:
    asked = router(
        table,
        {
            "host": ["a.example", "*.b.example"],
            "path": ["/one", "/two"],
            "method": ["GET", "PUT"],
            "header": {"X-Kind": ["red", "blue"]},
            "cookie": {"who": ["x", "y"]},
        },
    )
    for host, path, method, kind, who in itertools.product(
        ("a.example", "x.b.example", "b.example"), ("/one", "/two", "/one/"), ("GET", "POST"), ("red", "green"), ("y", "z")
    ):
        meant = host != "b.example" and path != "/one/" and method == "GET" and kind == "red" and who == "y"
        assert asked(path, f"X-Kind: {kind}", f"Cookie: who={who}", host=host, method=method) == meant
    prefixes = router(table, {"path_prefix": ["/one/", "/two"]})
    assert [prefixes(path) for path in ("/one", "/two/x", "/twos")] == [True, True, False]
    calls = router(table, {"grpc": ["pkg.A", "pkg.B/Do"]})
    assert [calls(path) for path in ("/pkg.A/Any", "/pkg.B/Do", "/pkg.B/Else")] == [True, True, False]


def test_header_cookie_and_parameter_that_are_absent(table: Table) -> None:
    asked = router(table, {"header": {"X-Old": False}, "cookie": {"old": False}, "query": {"old": False}})
    assert asked() is True
    assert asked("/?old") is False
    assert asked("/", "x-old: 1") is False
    assert asked("/", "Cookie: a=1; old=2") is False
    assert asked("/", "Cookie: older=2") is True


# --- negation and alternatives -------------------------------------------------------------------------------------------


INNER: list[tuple[dict[str, Any], tuple[str, ...], dict[str, str]]] = [
    ({"host": "b.example"}, ("/",), {"host": "b.example"}),
    ({"host": "*.b.example"}, ("/",), {"host": "x.B.example:80"}),
    ({"path": "/x"}, ("/x?q",), {}),
    ({"path_prefix": "/x/"}, ("/x",), {}),
    ({"path_prefix": ["/y", "/x"]}, ("/x/y",), {}),
    ({"path_suffix": ".x"}, ("/y.x",), {}),
    ({"path_regex": "^/u/[0-9]+$"}, ("/u/12",), {}),
    ({"grpc": "a.B/C"}, ("/a.B/C",), {}),
    ({"method": ["PUT", "POST"]}, ("/",), {"method": "POST"}),
    ({"header": {"X-A": "1"}}, ("/", "x-a: 1"), {}),
    ({"header": {"X-A": ["1", "2"]}, "cookie": {"c": True}}, ("/", "X-A: 2", "Cookie: c="), {}),
    ({"query": {"a": True}}, ("/?a",), {}),
    ({"source": ["2001:db8::/48", "10.0.0.0/8"]}, ("/",), {"ip": "10.1.2.3"}),
    ({"percent": 100}, ("/",), {"ip": "2001:db8::1"}),
    ({"any": [{"host": "z"}, {"not": {"path": "/"}}]}, ("/y",), {}),
]


@pytest.mark.parametrize(("inner", "request_", "more"), INNER, ids=[str(entry[0]) for entry in INNER])
def test_any_condition_may_be_negated_and_be_an_alternative(
    table: Table, inner: dict[str, Any], request_: tuple[str, ...], more: dict[str, str]
) -> None:
    never = {"header": {"X-Never": True}}
    everything = "percent" in inner
    for route, fits in (
        ({"not": inner}, False),
        ({"not": [never, inner]}, False),
        ({"not": [never]}, True),
        ({"any": [never, inner]}, True),
        ({"any": [inner]}, True),
        ({"any": [{**inner, **never}]}, False),
        ({"any": [{"not": inner}, never]}, False),
        ({"not": {"any": [never, inner]}}, False),
        ({"not": {"not": inner}}, True),
    ):
        asked = router(table, route)
        assert asked(*request_, **more) is fits, route
        if not everything and route != {"not": [never]}:
            assert asked("/", host="none.example") is (not fits) or route == {"any": [{**inner, **never}]}, route


def test_not_of_several_conditions_holds_unless_all_do(table: Table) -> None:
    asked = router(table, {"not": {"method": "GET", "path": "/x"}})
    assert [asked("/x"), asked("/y"), asked("/x", method="PUT"), asked("/y", method="PUT")] == [False, True, True, True]
    neither = router(table, {"not": [{"method": "GET"}, {"path": "/x"}]})
    assert [neither("/x"), neither("/y"), neither("/x", method="PUT"), neither("/y", method="PUT")] == [False] * 3 + [True]


@pytest.mark.parametrize("inner", [{"path": "/x"}, {"path_prefix": "/x"}, {"path_suffix": "x"}, {"path_regex": "^/x$"}])
@pytest.mark.parametrize("path", ["//x", "/a/..%2fx", "/x%3ba/..;/../x", "/%2578"])
def test_a_path_in_not_or_any_is_no_fence_to_walk_around(table: Table, inner: dict[str, Any], path: str) -> None:
    for route in ({"not": inner}, {"any": [{"method": "PUT"}, inner]}):
        asked = router(table, route)
        assert asked(path) == REFUSED or asked(path) == asked("/x"), route


def test_method_that_a_header_overrides_is_seen_in_not_and_any(table: Table) -> None:
    asked = router(table, {"not": {"method": "DELETE"}})
    assert asked("/", "X-HTTP-Method-Override: DELETE", method="POST") == REFUSED
    assert asked("/", "X-HTTP-Method-Override: PUT", method="POST") is True


def test_conditions_are_those_of_their_route(table: Table) -> None:
    asked = router(
        table,
        {"path": "/a", "any": [{"query": {"x": "1"}}, {"query": {"x": "2"}}], "pool": "other"},
        {"not": {"source": ["10.0.0.0/8"]}, "path": "/b", "pool": "other"},
        {"host": ["a.example", "b.example"], "path_prefix": ["/a", "/b"]},
    )
    assert [asked("/a?x=1"), asked("/a?x=3"), asked("/b"), asked("/b", ip="10.0.0.1")] == [False, True, False, True]


@pytest.mark.parametrize(("body", "expected"), [(b'{"model": "large"}', b"large"), (b'{"model": "small"}', b"small")])
def test_keys_of_a_body_in_not_and_any(body: bytes, expected: bytes) -> None:
    routes = [
        {"path": "/a", "any": [{"header": {"X-Large": True}}, {"json": {"model": "large"}}], "pool": "large"},
        {"path": "/b", "not": {"json": {"model": ["small", "tiny"]}}, "pool": "large"},
        {"pool": "small"},
    ]
    with Backend(name=b"large") as large, Backend(name=b"small") as small:
        with (
            balanced(settings=settings_of({"large": large, "small": small}, routes, "small")) as lb,
            Client(lb.address) as client,
        ):
            for path in (b"/a", b"/b"):
                client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" % path)
                client.send(b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:8]))
                client.send(body[8:])
                assert client.answer().body == expected, path
            assert client.get("/a", b"X-Large: 1\r\n").body == b"large"
            assert client.get("/b").body == b"large"  # without a body, it is no such model


# --- shares --------------------------------------------------------------------------------------------------------------


def share(asked: Callable[..., Any], kind: str, count: int = 4000) -> float:
    """Of so many keys, how many percent are led to "meant"."""

    def one(number: int) -> Any:
        if kind == "source":
            return asked(ip=str(ipaddress.ip_address(0x0A000000 + number * 7)))
        return asked("/", f"Cookie: a=b; x=user{number}" if kind == "cookie:x" else f"x: user{number}")

    return 100 * sum(one(number) for number in range(count)) / count


@pytest.mark.parametrize("kind", ["source", "cookie:x", "header:X"])
def test_shares_are_as_large_as_they_say(table: Table, kind: str) -> None:
    for percent, expected in ((10, 10), (0.5, 0.5), ("10-40", 30), (100, 100)):
        found = share(router(table, {"percent": percent, "percent_by": kind}), kind)
        assert abs(found - expected) <= 5 * (expected * (100 - expected) / 4000) ** 0.5, (percent, found)


def test_shares_divide_the_clients_and_grow_by_keeping_whom_they_have(table: Table) -> None:
    by = {"percent_by": "cookie:x"}
    parts = [router(table, {"percent": part, **by}) for part in ("0-10", "10-30", "30-100")]
    ten, twenty = router(table, {"percent": 10, **by}), router(table, {"percent": 20, **by})
    for number in range(500):
        line = f"Cookie: x={number}"
        assert sum(part("/", line) for part in parts) == 1
        assert ten("/", line) == ten("/other?q", line, host="b", ip="10.9.9.9") == parts[0]("/", line)
        assert not ten("/", line) or twenty("/", line)
    assert [ten("/"), ten("/", "Cookie: y=1")] == [False, False]


def test_share_of_a_client_of_ipv6_is_that_of_its_network(table: Table) -> None:
    asked = router(table, {"percent": 50})
    for number in range(50):
        assert len({asked(ip=f"2001:db8:0:{number:x}::{host}") for host in ("1", "2", "ffff:1")}) == 1
    assert len({asked(ip=f"2001:db8:0:{number:x}::1") for number in range(50)}) == 2


# --- from outside --------------------------------------------------------------------------------------------------------


def test_by_real_clients_of_both_versions() -> None:
    routes = [
        {"source": ["127.0.0.2/32"], "path_prefix": "/", "pool": "near"},
        {"query": {"beta": ["1", "yes"]}, "not": {"method": "POST"}, "pool": "beta"},
        {"any": [{"path_suffix": ".jpg"}, {"header": {"X-Images": True}}], "pool": "images"},
    ]
    with (
        Backend(name=b"near") as near,
        Backend(name=b"beta") as beta,
        Backend(name=b"images") as images,
        Backend(name=b"default") as default,
    ):
        pools = {"default": default, "near": near, "beta": beta, "images": images}
        with balanced(settings=settings_of(pools, routes)) as lb:
            host, port = lb.address
            for version, (words, expected) in itertools.product(
                ("--http1.1", "--http2-prior-knowledge"),
                (
                    (("/",), "default"),
                    (("/", "--interface", "127.0.0.2"), "near"),
                    (("/?beta=yes",), "beta"),
                    (("/?beta=yes", "-X", "POST"), "default"),
                    (("/x.jpg?y",), "images"),
                    (("/x", "-H", "X-Images: 1"), "images"),
                    (("/?beta=1&beta=0", "-o", "/dev/null", "-w", "%{http_code}"), "400"),
                ),
            ):
                call = ["curl", version, "-s", "--max-time", "20", f"http://{host}:{port}{words[0]}", *words[1:]]
                assert subprocess.run(call, capture_output=True, text=True, timeout=60).stdout == expected, (version, words)
            seen = [one["route"] for one in decisions(lb._running().table.segment)][:3]
            assert seen == [
                None,
                "route[0]: path_prefix=/ source=127.0.0.2/32",
                "route[1]: query:beta=1,yes not(method=POST)",
            ]


def test_address_of_a_proxy_header_is_the_source() -> None:
    with Backend(name=b"near") as near, Backend(name=b"default") as default:
        settings = settings_of({"default": default, "near": near}, [{"source": ["2001:db8::/32"], "pool": "near"}])
        listener = settings.listeners[0].replace(accept_proxy=True, trusted_proxies=["127.0.0.0/8"])
        with balanced(settings=settings.replace(listeners=[listener])) as lb:
            for address, expected in (("2001:db8::7", b"near"), ("2001:db9::7", b"default")):
                with Client(lb.address) as client:
                    client.send(f"PROXY TCP6 {address} ::1 1234 80\r\n".encode())
                    assert client.get().body == expected


def test_connections_of_tls_by_source() -> None:
    with Backend() as near, Backend() as far:
        listeners = [ListenerSettings(bind="tls://127.0.0.1:0", name="names")]
        routes = [
            RouteSettings(path_regex=".", pool="far"),  # of requests: no connection of tls is meant
            RouteSettings(header={"X": False}, pool="far"),
            RouteSettings(any=[{"source": ["127.0.0.2/32"], "not": {"host": "b.example"}}], pool="near"),
            RouteSettings(host=["a.example", "*.c.example"], pool="far"),
        ]
        pools = [PoolSettings(name=name, probe=OFF, backends=[peer.address]) for name, peer in (("near", near), ("far", far))]
        settings = BalancerSettings(listeners=listeners, routes=routes, pools=pools, workers=1, drain_timeout="1s")
        with balanced(settings=settings) as lb:
            for source, name, meant in (
                ("127.0.0.2", "a.example", near),
                ("127.0.0.2", "b.example", None),
                ("127.0.0.1", "a.example", far),
                ("127.0.0.1", "x.c.example", far),
            ):
                before = near.connections, far.connections
                with socket.create_connection(lb.address, 10, (source, 0)) as client:
                    client.settimeout(30)
                    with contextlib.suppress(OSError):  # one that nobody is meant for is reset
                        client.sendall(hello(name))
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(4096):
                            pass
                after = near.connections - before[0], far.connections - before[1]
                assert after == (int(meant is near), int(meant is far)), (source, name)


def hello(name: str) -> bytes:
    """A ClientHello that asks for this name."""
    import ssl

    context = ssl.create_default_context()
    out = ssl.MemoryBIO()
    secured = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        secured.do_handshake()
    return out.read()
