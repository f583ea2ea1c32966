"""Clients that a cookie binds to a backend: full, draining, two pools with one cookie, several cookies, attributes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, wait_for
from http_balancers import OFF, cookie_of, figure, http
from http_peers import Backend, Client, answering, field, fields
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer


class Held(Backend):
    """A backend whose /slow is answered when it is released."""

    def __init__(self, name: bytes) -> None:
        self.release = threading.Event()
        super().__init__(self._slowly, name)

    def __enter__(self) -> Held:
        return self

    def _slowly(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if b" /slow" in head:
            self.release.wait(10)
        self._plain(connection, head, body)


def bound(client: Client, name: bytes) -> bytes:
    """A Cookie header that binds to the backend of this name."""
    for _ in range(20):
        answer = client.get()
        if answer.body == name:
            return b"Cookie: " + cookie_of(answer.head) + b"\r\n"
    raise AssertionError(name)


def send(client: Client, path: str, extra: bytes) -> None:
    """A request whose answer is read later."""
    client.send(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n")


def named(lb: Balancer, backend: Backend) -> Any:
    """Its handle."""
    return lb.pool().get(backend.address)


@contextlib.contextmanager
def full_backend(**pool: Any) -> Iterator[tuple[Balancer, Held, Held, Client, bytes]]:
    """A balancer whose backend "one" is full; the client that fills it, and a cookie that binds to it."""
    options = {"sticky": "lb", "max_active": 1, "queue_timeout": "5s", **pool}
    with Held(b"one") as one, Held(b"two") as two, http(one, two, **options) as lb:
        try:
            with Client(lb.address) as filling:
                cookie = bound(filling, b"one")
                send(filling, "/slow", cookie)
                wait_for(lambda: b"/slow" in one.heads[-1], "it is full")
                yield lb, one, two, filling, cookie
        finally:
            one.release.set()
            two.release.set()


# --- full -------------------------------------------------------------------------------------------------------------


def test_bound_client_waits_for_its_backend_that_is_full() -> None:
    with full_backend() as (lb, one, two, filling, cookie):
        before = len(two.heads)
        with Client(lb.address) as waiting, Client(lb.address) as later, Client(lb.address) as free:
            send(waiting, "/first", cookie)
            wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            send(later, "/second", cookie)
            wait_for(lambda: figure(lb, "queued") == 2, "so does the next")
            for _ in range(5):  # who is not bound is not held up by who waits
                assert free.get().body == b"two"
            one.release.set()
            assert filling.answer().body == b"one"
            for client in (waiting, later):
                answer = client.answer()
                assert (answer.body, field(answer.head, b"Set-Cookie")) == (b"one", None)
        assert len(two.heads) == before + 5
        assert [head.split()[1] for head in one.heads[-2:]] == [b"/first", b"/second"]


def test_bound_client_whose_wait_is_too_long_keeps_its_cookie() -> None:
    with full_backend(queue_timeout="200ms") as (lb, _one, two, _filling, cookie):
        before = len(two.heads)
        with Client(lb.address) as waiting:
            send(waiting, "/", cookie)
            answer = waiting.answer()
            assert (answer.status, fields(answer.head, b"Set-Cookie")) == (503, [])
            assert field(answer.head, b"Retry-After") is not None
        assert len(two.heads) == before


def test_bound_client_finds_no_room_in_the_queue() -> None:
    with full_backend(queue=0) as (lb, _one, two, _filling, cookie), Client(lb.address) as client, Client(lb.address) as free:
        before = len(two.heads)
        send(client, "/", cookie)
        assert client.answer().status == 503
        assert len(two.heads) == before
        assert free.get().body == b"two"


@pytest.mark.parametrize("how", ["removed", "down"])
def test_bound_client_that_waits_moves_when_its_backend_goes(how: str) -> None:
    with full_backend() as (lb, one, _two, _filling, cookie), Client(lb.address) as waiting:
        send(waiting, "/", cookie)
        wait_for(lambda: figure(lb, "queued") == 1, "it waits")
        if how == "removed":
            lb.pool().remove(one.address, drain_timeout=0)
        else:
            lb._running().table.set_state(named(lb, one)._row, "down", "test")
        answer = waiting.answer()
        assert answer.body == b"two"
        assert cookie_of(answer.head) not in cookie


def test_bound_client_that_waits_may_leave() -> None:
    with full_backend() as (lb, one, _two, filling, cookie):
        with Client(lb.address) as leaving, Client(lb.address) as waiting:
            send(leaving, "/left", cookie)
            wait_for(lambda: figure(lb, "queued") == 1, "it waits")
            send(waiting, "/stays", cookie)
            wait_for(lambda: figure(lb, "queued") == 2, "so does another")
            leaving.close()
            wait_for(lambda: figure(lb, "queued") == 1, "the first has left")
            one.release.set()
            assert filling.answer().body == b"one"
            assert waiting.answer().body == b"one"
        assert b"/left" not in b"".join(one.heads)


def test_bound_and_free_clients_wait_together() -> None:
    with full_backend() as (lb, one, two, filling, cookie):
        with Client(lb.address) as other, Client(lb.address) as waiting, Client(lb.address) as free:
            send(other, "/slow", b"")
            wait_for(lambda: two.heads and b"/slow" in two.heads[-1], "both are full")
            send(waiting, "/bound", cookie)
            wait_for(lambda: figure(lb, "queued") == 1, "one waits")
            send(free, "/free", b"")
            wait_for(lambda: figure(lb, "queued") == 2, "both wait")
            two.release.set()
            assert other.answer().body == b"two"
            assert free.answer().body == b"two"
            assert figure(lb, "queued") == 1
            one.release.set()
            assert filling.answer().body == b"one"
            assert waiting.answer().body == b"one"


# --- draining ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drain", "weight"])
@pytest.mark.parametrize("sticky_drain", ["keep", "move"])
def test_bound_clients_of_a_backend_that_drains(sticky_drain: str, how: str) -> None:
    with Backend(name=b"one") as one, Backend(name=b"two") as two:
        with http(one, two, sticky="lb", sticky_drain=sticky_drain) as lb, Client(lb.address) as client:
            cookie = bound(client, b"one")
            entry = named(lb, one)
            if how == "drain":
                entry.drain()
                wait_for(lambda: named(lb, one).state == "draining", "it drains")
            else:
                entry.set_weight(0)
            wait_for(lambda: {client.get().body for _ in range(4)} == {b"two"}, "nobody new comes")
            for _ in range(3):
                answer = client.get(extra=cookie)
                assert answer.body == (b"one" if sticky_drain == "keep" else b"two")
                assert (field(answer.head, b"Set-Cookie") is None) == (sticky_drain == "keep")


def test_bound_clients_move_when_the_drain_has_ended() -> None:
    with (
        Backend(name=b"one") as one,
        Backend(name=b"two") as two,
        http(one, two, sticky="lb") as lb,
        Client(lb.address) as client,
    ):
        cookie = bound(client, b"one")
        lb.pool().remove(one.address, drain_timeout=3)
        for _ in range(3):
            assert client.get(extra=cookie).body == b"one"
        assert {client.get().body for _ in range(4)} == {b"two"}
        wait_for(lambda: _server_of(lb.address, cookie) == b"two", "the drain has ended")


def _server_of(address: tuple[str, int], cookie: bytes) -> bytes:
    """Who answers a client with this cookie; nobody where the end of a drain cuts the request."""
    with Client(address) as client, contextlib.suppress(AssertionError, OSError):
        return client.get(extra=cookie).body
    return b""


def test_bound_clients_move_when_a_draining_backend_cannot_be_reached() -> None:
    with Backend(name=b"two") as two, contextlib.ExitStack() as stack:
        one = stack.enter_context(Backend(name=b"one"))
        with http(one, two, sticky="lb") as lb, Client(lb.address) as client:
            cookie = bound(client, b"one")
            named(lb, one).drain()
            stack.close()
            answer = client.get(extra=cookie)
            assert answer.body == b"two"
            assert cookie_of(answer.head) != b""


# --- cookies ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def two_pools(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> Iterator[Client]:
    """A client of two sticky pools behind one host, of two backends each: /a and all else."""
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=name)) for name in (b"a1", b"a2", b"b1", b"b2")]
        addresses = [backend.address for backend in backends]
        common: dict[str, Any] = {"probe": OFF, "policy": "round_robin", "sticky": "lb", "sticky_secret": "0123456789abcdef"}
        settings = BalancerSettings(
            workers=1,
            listeners=[ListenerSettings(bind="http://127.0.0.1:0", pool="b")],
            routes=[RouteSettings(path_prefix="/a", pool="a")],
            pools=[
                PoolSettings(**{**common, "name": "a", "backends": addresses[:2], **(first or {})}),
                PoolSettings(**{**common, "name": "b", "backends": addresses[2:], **(second or {})}),
            ],
        )
        lb = stack.enter_context(balanced(settings=settings))
        yield stack.enter_context(Client(lb.address))


def test_two_sticky_pools_behind_one_host_do_not_fight_for_a_cookie() -> None:
    with two_pools() as client:
        jar, seen, new = b"", set(), 0
        for number in range(20):
            answer = client.get("/a" if number % 2 else "/b", extra=b"Cookie: " + jar + b"\r\n" if jar else b"")
            seen.add(answer.body)
            if cookie_of(answer.head):
                jar, new = cookie_of(answer.head), new + 1
        assert new == 2
        assert sorted(name[:1] for name in seen) == [b"a", b"b"]


def test_a_pool_that_moves_a_client_leaves_the_other_pools_part_alone() -> None:
    with two_pools() as client:
        jar = cookie_of(client.get("/a").head)
        home = client.get("/a", extra=b"Cookie: " + jar + b"\r\n").body
        jar = cookie_of(client.get("/b", extra=b"Cookie: " + jar + b"\r\n").head)
        first, second = jar.partition(b"=")[2].split(b"-")
        for forged in (b"lb=" + second, b"lb=" + b"0" * 42 + b"-" + second, b"lb=" + first[:-1] + b"x-" + second):
            jar = cookie_of(client.get("/b", extra=b"Cookie: " + forged + b"\r\n").head)
            assert jar.endswith(b"-" + second)
            assert client.get("/a", extra=b"Cookie: " + jar + b"\r\n").body == home


def test_pools_with_other_cookies_know_nothing_of_each_other() -> None:
    with two_pools({}, {"sticky": "other"}) as client:
        jar = cookie_of(client.get("/a").head)
        assert re.fullmatch(rb"other=[0-9a-f.]{42}", cookie_of(client.get("/b", extra=b"Cookie: " + jar + b"\r\n").head))


@pytest.mark.parametrize("apart", [b"; ", b"\r\nCookie: "])
def test_of_several_cookies_of_one_name_the_valid_one_counts(apart: bytes) -> None:
    with (
        Backend(name=b"one") as one,
        Backend(name=b"two") as two,
        http(one, two, sticky="lb") as lb,
        Client(lb.address) as client,
    ):
        good = bound(client, b"one").partition(b": ")[2].strip()
        for others in ([b"lb=x"], [b"lb="], [b"lb=" + b"0" * 42], [b"lb=1", b"x=2", b"lb=3"], [b"xlb=1", b"lb"]):
            for jar in (apart.join([*others, good]), apart.join([good, *others])):
                for _ in range(2):
                    answer = client.get(extra=b"Cookie: " + jar + b"\r\n")
                    assert (answer.body, field(answer.head, b"Set-Cookie")) == (b"one", None), jar


def test_of_two_valid_cookies_that_of_a_backend_that_is_there_counts() -> None:
    with Backend(name=b"one") as one, Backend(name=b"two") as two, Backend(name=b"three") as three:
        with http(one, two, three, sticky="lb") as lb, Client(lb.address) as client:
            gone, stays = (bound(client, name).partition(b": ")[2].strip() for name in (b"one", b"two"))
            lb.pool().remove(one.address, drain_timeout=0)
            for jar in (gone + b"; " + stays, stays + b"; " + gone):
                for _ in range(3):
                    assert client.get(extra=b"Cookie: " + jar + b"\r\n").body == b"two"


def test_many_cookies_of_one_name_are_not_all_looked_at() -> None:
    with Backend(name=b"one") as one, http(one, sticky="lb") as lb, Client(lb.address) as client:
        jar = b"; ".join([b"lb=" + b"0" * 42] * 200)
        assert client.get(extra=b"Cookie: " + jar + b"\r\n").status == 200
        jar = b"lb=" + b"-".join([b"0" * 42] * 200)
        assert client.get(extra=b"Cookie: " + jar + b"\r\n").status == 200


# --- attributes -------------------------------------------------------------------------------------------------------


def attributes(head: bytes) -> list[str]:
    """Of the cookie that is set."""
    return (field(head, b"Set-Cookie") or b"").decode().split("; ")[1:]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({}, ["Path=/", "HttpOnly", "SameSite=Lax"]),
        ({"sticky_samesite": "strict"}, ["Path=/", "HttpOnly", "SameSite=Strict"]),
        (
            {"sticky_domain": "shop.example", "sticky_path": "/a/b"},
            ["Path=/a/b", "Domain=shop.example", "HttpOnly", "SameSite=Lax"],
        ),
        ({"sticky_max_age": "1h"}, ["Path=/", "Max-Age=3600", "HttpOnly", "SameSite=Lax"]),
    ],
)
@pytest.mark.parametrize("status", ["200", "101"])
def test_attributes_of_the_cookie(pool: dict[str, Any], expected: list[str], status: str) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    script = answering(switching, end=True) if status == "101" else None
    with Backend(script) as backend, http(backend, sticky="lb", **pool) as lb, Client(lb.address) as client:
        assert attributes(client.get(extra=b"Connection: Upgrade\r\nUpgrade: x\r\n").head) == expected


def test_cookie_is_secure_on_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("localhost")
    with Backend() as backend:
        settings = BalancerSettings(
            workers=1,
            listeners=[
                ListenerSettings(bind="https://127.0.0.1:0", certificates=[CertificateSettings(cert=str(certificate))]),
                ListenerSettings(bind="http://127.0.0.1:0"),
            ],
            pools=[PoolSettings(probe=OFF, backends=[backend.address], sticky="lb", sticky_samesite="none")],
        )
        with balanced(settings=settings) as lb:
            context = trusting(authority)
            with context.wrap_socket(socket.create_connection(lb.address), server_hostname="localhost") as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                head = b""
                while part := client.recv(65536):
                    head += part
            assert attributes(head.partition(b"\r\n\r\n")[0] + b"\r\n") == ["Path=/", "HttpOnly", "SameSite=None", "Secure"]


@pytest.mark.parametrize(
    ("trusted", "scheme", "secure"), [(True, b"https", True), (True, b"http", False), (False, b"https", False)]
)
def test_cookie_is_secure_behind_a_proxy_that_ends_tls(trusted: bool, scheme: bytes, secure: bool) -> None:
    listener = {"trusted_proxies": ["127.0.0.0/8"]} if trusted else {}
    with Backend() as backend, http(backend, listener=listener, sticky="lb") as lb, Client(lb.address) as client:
        assert ("Secure" in attributes(client.get(extra=b"X-Forwarded-Proto: %s\r\n" % scheme).head)) == secure


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ({"sticky_samesite": "None"}, "sticky_samesite: 'None' is not allowed (allowed: lax, strict, none)"),
        ({"sticky_samesite": "none"}, "pool default: sticky_samesite: none requires https"),
        ({"sticky": "__Secure-lb"}, "pool default: sticky: '__Secure-lb' requires https"),
        ({"sticky": "__Host-lb", "sticky_domain": "a.example"}, "'__Host-lb' can have no sticky_domain"),
        ({"sticky_domain": "a.example; x"}, "sticky_domain: 'a.example; x' is not allowed"),
        ({"sticky_domain": "10.0.0.1"}, "sticky_domain: '10.0.0.1' is not allowed"),
        ({"sticky_domain": ".a.example"}, "sticky_domain: '.a.example' is not allowed"),
        ({"sticky_path": "a"}, "sticky_path: 'a' is not allowed"),
        ({"sticky_path": "/a;b"}, "sticky_path: '/a;b' is not allowed"),
        ({"sticky_path": "/" + "a" * 250}, "longer than 255 bytes"),
        ({"sticky_max_age": "500ms"}, "sticky_max_age: '500ms' is not allowed (allowed: a duration from 1s to 9600h)"),
        ({"sticky_drain": "stay"}, "sticky_drain: 'stay' is not allowed (allowed: keep, move)"),
        ({"sticky": None, "sticky_path": "/a"}, "sticky_path: requires sticky"),
        ({"sticky": None, "sticky_drain": "keep"}, "sticky_drain: requires sticky"),
    ],
)
def test_wrong_settings_are_named(pool: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BalancerSettings(
            listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
            pools=[PoolSettings(**{"backends": ["10.0.0.1:80"], "sticky": "lb", **pool})],
        )
    assert len(caught.value.problems) == 1
    assert words in caught.value.problems[0]


def test_too_many_pools_of_one_cookie_are_refused() -> None:
    pools = [PoolSettings(name=f"p{number}", backends=["10.0.0.1:80"], sticky="lb") for number in range(5)]
    with pytest.raises(ConfigError, match="'lb' is the cookie of too many pools: p0, p1, p2, p3, p4"):
        BalancerSettings(listeners=[ListenerSettings(bind="http://127.0.0.1:0", pool="p0")], pools=pools)
    BalancerSettings(listeners=[ListenerSettings(bind="http://127.0.0.1:0", pool="p0")], pools=pools[:4])


# --- together ---------------------------------------------------------------------------------------------------------


def test_bound_upload_waits_whole_and_over_all_workers() -> None:
    with full_backend(workers=2) as (lb, one, two, filling, cookie), contextlib.ExitStack() as stack:
        before = len(two.heads)
        clients = [stack.enter_context(Client(lb.address)) for _ in range(6)]
        body = bytes(range(256)) * 200
        for client in clients:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n" % (len(body), cookie) + body)
        wait_for(lambda: figure(lb, "queued") == 6, "all wait")
        one.release.set()
        assert filling.answer().body == b"one"
        for client in clients:
            assert client.answer().body == b"one"
        assert one.bodies[-6:] == [body] * 6
        assert len(two.heads) == before


def test_reload_while_bound_clients_wait() -> None:
    with full_backend() as (lb, one, _two, filling, cookie), Client(lb.address) as waiting:
        send(waiting, "/", cookie)
        wait_for(lambda: figure(lb, "queued") == 1, "it waits")
        lb.reload(lb.settings.replace(pools=[lb.settings.pools[0].replace(max_active=2)]))
        assert waiting.answer().body == b"one"
        one.release.set()
        assert filling.answer().body == b"one"
