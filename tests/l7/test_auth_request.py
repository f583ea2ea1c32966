"""Requests that a service decides on (auth_request): who gets through, with what, and that nothing goes on unasked."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_frames import HEADERS, H2Client
from harness import balanced, wait_for
from http_balancers import OFF, figure
from http_peers import Backend, Client, answering, field, fields

from lbcore import Balancer
from lbcore.config.settings import AuthRequestSettings, BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager


YES = b"HTTP/1.1 200 OK\r\nX-Auth-User: anna\r\nX-Secret: s\r\nContent-Length: 2\r\n\r\nok"
NO = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="a"\r\nContent-Length: 0\r\n\r\n'


def by_token(connection: socket.socket, head: bytes, body: bytes) -> bool:
    """Whoever brings the token gets through, as its own service would have it."""
    connection.sendall(YES if b"Bearer good" in head else NO)
    return False


def deciding(auth: str, app: str, *, of: str = "route", pool: dict[str, Any] | None = None, **more: Any) -> BalancerSettings:
    """One listener, whose requests go to `app`, and are decided on by `auth`."""
    asked = AuthRequestSettings(**{"pool": "auth", "path": "/verify?a=1", "headers": ["X-Auth-User"], "timeout": "2s", **more})
    named: dict[str, Any] = {"auth_request": asked}
    return BalancerSettings(
        workers=1,
        drain_timeout="2s",
        listeners=[ListenerSettings(bind="http://127.0.0.1:0", name="web", **(named if of == "listener" else {}))],
        routes=[RouteSettings(path_prefix="/", pool="app", **(named if of == "route" else {}))],
        pools=[
            PoolSettings(name="app", probe=OFF, backends=[app]),
            PoolSettings(**{"name": "auth", "probe": OFF, "backends": [auth], "retries": 0, **(pool or {})}),
        ],
    )


def lb_of(auth: Backend | str, app: Backend | str, **more: Any) -> AbstractContextManager[Balancer]:
    addresses = [entry if isinstance(entry, str) else entry.address for entry in (auth, app)]
    return balanced(settings=deciding(*addresses, **more))


def get(client: Client, *more: str, path: str = "/a?b=c", method: str = "GET", body: bytes = b"") -> Any:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", *more]
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return client.answer()


GOOD = "Authorization: Bearer good"


@pytest.mark.parametrize("of", ["route", "listener"])
def test_yes_lets_on_with_what_it_grants_and_no_goes_to_the_client(of: str) -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app, of=of) as lb, Client(lb.address) as client:
        assert get(client).status == 401
        assert get(client, GOOD, "X-Auth-User: forged", "x_auth_user: forged").status == 200
        assert fields(app.heads[0], b"x-auth-user") == [b"anna"]
        assert fields(app.heads[0], b"x_auth_user") == []
        assert fields(app.heads[0], b"x-secret") == []
        assert len(app.heads) == 1
        assert (figure(lb, "auth_requests"), figure(lb, "auth_refused"), figure(lb, "auth_failed")) == (2, 1, 0)


def test_refusal_says_how_to_come() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app) as lb, Client(lb.address) as client:
        answer = get(client)
        assert answer.status == 401
        assert field(answer.head, b"www-authenticate") == b'Bearer realm="a"'


def test_question_is_a_get_with_the_requests_own_headers_and_no_body() -> None:
    with Backend(answering(YES)) as auth, Backend() as app, lb_of(auth, app) as lb, Client(lb.address) as client:
        more = (
            "Cookie: a=b",
            "X-Original-URI: /forged",
            "X-Original-Method: FORGED",
            "Content-Length: 4",
            "Connection: x-hop",
            "X-Hop: 1",
        )
        assert get(client, *more, path="/a/b?c=d", method="POST", body=b"body").status == 200
        asked = auth.heads[0]
        assert asked.startswith(b"GET /verify?a=1 HTTP/1.1\r\n")
        assert field(asked, b"host") == b"shop.example"
        assert field(asked, b"cookie") == b"a=b"
        assert fields(asked, b"x-original-uri") == fields(asked, b"x-forwarded-uri") == [b"/a/b?c=d"]
        assert fields(asked, b"x-original-method") == fields(asked, b"x-forwarded-method") == [b"POST"]
        assert fields(asked, b"content-length") == fields(asked, b"expect") == fields(asked, b"x-hop") == []
        assert field(asked, b"x-forwarded-for") == b"127.0.0.1"
        assert (auth.bodies, app.bodies) == ([b""], [b"body"])
        assert fields(app.heads[0], b"x-original-uri") in ([], [b"/forged"])


def test_bodies_wait_for_the_decision() -> None:
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        connection.sendall(YES)
        return False

    body = b"x" * 300_000
    with Backend(late) as auth, Backend() as app, lb_of(auth, app, timeout="20s") as lb, Client(lb.address) as client:
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        sender = threading.Thread(target=client.send, args=(head + body,))
        sender.start()
        wait_for(lambda: auth.heads, "it is asked")
        assert not app.heads
        go.set()
        assert client.answer().status == 200
        sender.join()
        assert app.bodies == [body]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_to_a_login_go_to_the_client(status: int) -> None:
    lines = b"Location: https://login.example/?rd=x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    raw = b"HTTP/1.1 %d Found\r\n" + lines
    with Backend(answering(raw % status)) as auth, Backend() as app, lb_of(auth, app) as lb, Client(lb.address) as client:
        answer = get(client)
        assert (answer.status, field(answer.head, b"location")) == (status, b"https://login.example/?rd=x")
        assert fields(answer.head, b"set-cookie") == [b"a=1", b"b=2"]
        assert not app.heads


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 503),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 503),
        (b"garbage\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\nX-Auth-User: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\nX-Auth-User: a\x01b\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 503),
        (b"", 503),
    ],
)
def test_all_else_goes_nowhere(raw: bytes, status: int) -> None:
    with Backend(answering(raw, end=True)) as auth, Backend() as app, lb_of(auth, app) as lb:
        for _ in range(2):
            with Client(lb.address) as client:
                assert get(client, GOOD).status == status
        assert not app.heads
        assert figure(lb, "auth_refused") + figure(lb, "auth_failed") == 2


def test_nobody_decides_and_nothing_goes_on() -> None:
    with Backend() as app, lb_of("127.0.0.1:1", app) as lb, Client(lb.address) as client:
        assert [get(client, GOOD).status for _ in range(3)] == [503] * 3
        assert not app.heads
        assert figure(lb, "auth_failed") == 3


def test_late_decision_is_none() -> None:
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        connection.sendall(YES)
        return True

    with Backend(late) as auth, Backend() as app, lb_of(auth, app, timeout="100ms") as lb, Client(lb.address) as client:
        assert get(client, GOOD).status == 504
        go.set()
        assert get(client, GOOD).status == 200
        assert len(app.heads) == 1


def test_client_that_leaves_ends_the_question() -> None:
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        return True

    with Backend(late) as auth, Backend() as app, lb_of(auth, app) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: auth.heads, "it is asked")
        wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "the client's end is seen")
        backend = lb.status()["pools"][1]["backends"][0]
        wait_for(lambda: lb.status()["pools"][1]["backends"][0]["active"] == 0, f"nothing is under way: {backend}")
        go.set()
        assert not app.heads


def test_connection_to_who_decides_is_used_again() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app) as lb, Client(lb.address) as client:
        assert [get(client, GOOD).status for _ in range(20)] == [200] * 20
        assert auth.connections == 1
        assert len(auth.heads) == 20


def test_pipelined_requests_are_asked_about_one_by_one() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app) as lb, Client(lb.address) as client:
        request = "GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n"
        client.send("".join(request.format(n, GOOD + "\r\n" if n % 2 else "") for n in range(6)).encode())
        assert [client.answer().status for _ in range(6)] == [401, 200] * 3
        assert len(app.heads) == 3


def test_streams_of_one_connection_are_decided_on_apart() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app) as lb, H2Client(lb.address) as client:
        for n in range(8):
            client.ask(2 * n + 1, "/", *([("authorization", "Bearer good")] if n % 2 else []))
        statuses: dict[int, str] = {}
        while len(statuses) < 8:
            got = client.receive()
            assert got is not None
            if got.kind == HEADERS:
                statuses[got.stream] = dict(client.decoder.decode(got.payload))[":status"]
        assert [statuses[2 * n + 1] for n in range(8)] == ["401", "200"] * 4
        assert len(app.heads) == 4


# --- the cache -----------------------------------------------------------------------------------------------------------


def test_cached_yes_holds_for_equal_credentials_alone() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app, cache="60s") as lb, Client(lb.address) as client:
        assert [get(client, GOOD, path=f"/{n}").status for n in range(5)] == [200] * 5
        assert len(auth.heads) == 1
        assert [fields(head, b"x-auth-user") for head in app.heads] == [[b"anna"]] * 5
        assert get(client, GOOD, "Cookie: a=b").status == 200  # another question
        client.send(f"GET / HTTP/1.1\r\nHost: other.example\r\n{GOOD}\r\n\r\n".encode())
        assert client.answer().status == 200  # and another one
        assert get(client, "Authorization: Bearer goo").status == 401
        assert get(client).status == 401
        assert get(client).status == 401
        assert len(auth.heads) == 6
        assert figure(lb, "auth_cached") == 4


def test_cached_yes_of_other_headers() -> None:
    with Backend(answering(YES)) as auth, Backend() as app, lb_of(auth, app, cache="60s", cache_by=["X-Key"]) as lb:
        with Client(lb.address) as client:
            for key in ("a", "a", "b"):
                assert get(client, f"X-Key: {key}").status == 200
            assert get(client, "X-Key: a", "X-Key: b").status == 200
        assert len(auth.heads) == 3


def test_cached_yes_ends() -> None:
    with Backend(by_token) as auth, Backend() as app, lb_of(auth, app, cache="50ms") as lb, Client(lb.address) as client:
        assert get(client, GOOD).status == 200
        wait_for(lambda: get(client, GOOD).status == 200 and len(auth.heads) > 1, "it is asked again")


# --- where it stands -------------------------------------------------------------------------------------------------------


def test_route_may_do_without_and_other_routes_may_not() -> None:
    with Backend(by_token) as auth, Backend() as app:
        settings = deciding(auth.address, app.address, of="listener")
        free = RouteSettings(path="/free", pool="app", auth_request=AuthRequestSettings(pool="off"))
        fixed = RouteSettings(path="/fixed", redirect="https://{host}/")
        with balanced(settings=settings.replace(routes=[free, fixed, *settings.routes])) as lb, Client(lb.address) as client:
            assert get(client, path="/free").status == 200
            assert get(client, path="/other").status == 401
            assert get(client, path="/fixed").status == 401
            assert get(client, GOOD, path="/fixed").status == 301


def test_routes_that_change_meanwhile_decide_anew() -> None:
    """What was asked by other routes grants nothing."""
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        connection.sendall(YES)
        return False

    with Backend(late) as first, Backend(answering(NO)) as second, Backend() as app:
        settings = deciding(first.address, app.address, timeout="20s")
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: first.heads, "it is asked")
            other = PoolSettings(name="auth2", probe=OFF, backends=[second.address])
            asked = settings.routes[0].auth_request.replace(pool="auth2")
            lb.reload(settings.replace(pools=[*settings.pools, other], routes=[settings.routes[0].replace(auth_request=asked)]))
            with Client(lb.address) as another:
                wait_for(lambda: get(another, path="/x").status == 401, "the new routes are there")
            go.set()
            assert client.answer().status == 401
        assert not app.heads


def test_bodies_lead_to_routes_and_are_decided_on() -> None:
    with Backend(by_token) as auth, Backend() as app, Backend() as other:
        settings = deciding(auth.address, app.address)
        asked = settings.routes[0].auth_request
        routes = [RouteSettings(json={"model": "a"}, pool="other", auth_request=asked), *settings.routes]
        pools = [*settings.pools, PoolSettings(name="other", probe=OFF, backends=[other.address])]
        with balanced(settings=settings.replace(routes=routes, pools=pools)) as lb, Client(lb.address) as client:
            body = json.dumps({"messages": "x" * 5000, "model": "a"}).encode()
            more = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            assert get(client, *more, method="POST", body=body).status == 401
            assert get(client, *more, GOOD, method="POST", body=body).status == 200
            assert (other.bodies, app.bodies) == ([body], [])


@pytest.mark.parametrize("rest", [b',"model":"big"}', b"garbage         "])
def test_yes_holds_for_the_route_that_was_asked_about(rest: bytes) -> None:
    """More of the body comes meanwhile, and leads to another route: that route's guard is asked, too."""
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        connection.sendall(YES)
        return False

    begun = b'{"model":"cheap"'
    with Backend(late) as auth, Backend() as app, Backend() as paid:
        settings = deciding(auth.address, app.address, timeout="20s")
        routes = [
            RouteSettings(json={"model": "cheap"}, pool="app", auth_request=settings.routes[0].auth_request),
            RouteSettings(path_prefix="/", pool="paid", deny_clients=["127.0.0.0/8"]),
        ]
        pools = [*settings.pools, PoolSettings(name="paid", probe=OFF, backends=[paid.address])]
        with balanced(settings=settings.replace(routes=routes, pools=pools)) as lb, Client(lb.address) as client:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            client.send(head % len(begun + rest) + begun)
            wait_for(lambda: auth.heads, "it is asked")
            came = lb.status()["workers"][0]["bytes_in"]
            client.send(rest)
            wait_for(lambda: lb.status()["workers"][0]["bytes_in"] > came, "the rest is there")
            go.set()
            assert client.answer().status == 403
            assert figure(lb, "requests_denied") == 1
        assert not paid.heads
        assert not app.heads


def test_host_of_the_target_is_one_header_more() -> None:
    """The question has a Host that the request had not: at the bound of headers it is refused, and the worker lives."""
    with Backend(answering(YES)) as auth, Backend() as app:
        settings = deciding(auth.address, app.address)
        listener = settings.listeners[0].replace(max_headers=1000, max_header_bytes="64KiB")
        with balanced(settings=settings.replace(listeners=[listener])) as lb:
            for count, status in ((999, 200), (1000, 431), (999, 200)):
                with Client(lb.address) as client:
                    client.send(b"GET http://a/ HTTP/1.0\r\n" + b"a: b\r\n" * count + b"\r\n")
                    assert client.answer().status == status


def test_drain_waits_for_decisions() -> None:
    go = threading.Event()

    def late(connection: socket.socket, head: bytes, body: bytes) -> bool:
        go.wait(10)
        connection.sendall(YES)
        return False

    with Backend(late) as auth, Backend() as app:
        lb = Balancer(settings=deciding(auth.address, app.address))
        lb.start()
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: auth.heads, "it is asked")
            stopping = threading.Thread(target=lb.stop)
            stopping.start()
            go.set()
            assert client.answer().status == 200
            stopping.join()


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "pool: missing"),
        ({"pool": "a", "path": "verify"}, "path: 'verify' is not allowed"),
        ({"pool": "a", "path": "/a b"}, "path: '/a b' is not allowed"),
        ({"pool": "a", "path": "/" + "a" * 1024}, "is not allowed (allowed: at most 1024"),
        ({"pool": "a", "headers": ["a b"]}, "headers: "),
        ({"pool": "a", "headers": ["X-A"] * 8}, "at most 7 headers"),
        ({"pool": "a", "headers": ["Content-Length"]}, "headers: Content-Length is not allowed"),
        ({"pool": "a", "cache_by": ["Cookie"]}, "cache_by: requires cache"),
        ({"pool": "a", "timeout": "0s"}, "timeout: "),
        ({"pool": "a", "cache": "2h"}, "cache: "),
    ],
)
def test_bad_values_are_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        AuthRequestSettings(**values)
    assert len(refused.value.problems) == 1
    assert said in refused.value.problems[0]


@pytest.mark.parametrize("of", ["route", "listener"])
def test_pool_that_is_not_there_is_refused(of: str) -> None:
    named = {"auth_request": AuthRequestSettings(pool="nobody")}
    right = deciding("127.0.0.1:1", "127.0.0.1:2")
    changes: dict[str, Any] = {
        "route": {"routes": [RouteSettings(path_prefix="/", pool="app", **named)]},
        "listener": {"listeners": [ListenerSettings(bind="http://127.0.0.1:0", pool="app", **named)]},
    }
    with pytest.raises(ConfigError, match=r"auth_request\.pool: 'nobody' is unknown \(known: app, auth\)"):
        right.replace(**changes[of])


def test_listeners_without_requests_have_none() -> None:
    with pytest.raises(ConfigError, match="auth_request: only for mode http or https, this is tcp"):
        ListenerSettings(bind="tcp://127.0.0.1:0", auth_request=AuthRequestSettings(pool="a"))
