"""Copies of requests that go to a route's mirror: whole, beside the request, and of no effect on its client."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_backends import CALL, MESSAGE, H2Backend, answer_call
from h2_frames import H2Client
from harness import balanced, free_port, wait_for
from http_balancers import OFF, figure
from http_peers import Backend, Client, answering

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, MirrorSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


def mirrored(
    main: str,
    shadow: str,
    *,
    percent: int = 100,
    route: dict[str, Any] | None = None,
    shadows: dict[str, Any] | None = None,
    **pool: Any,
) -> BalancerSettings:
    """A route to a pool of one backend, with a mirror of one backend."""
    return BalancerSettings(
        workers=1,
        drain_timeout="2s",
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        routes=[RouteSettings(pool="main", mirror=MirrorSettings(pool="shadow", percent=percent), **(route or {}))],
        pools=[
            PoolSettings(name="main", probe=OFF, backends=[main], **pool),
            PoolSettings(name="shadow", probe=OFF, backends=[shadow], **(shadows or {})),
        ],
    )


def at_rest(lb: Balancer) -> bool:
    return figure(lb, "mirrors_active") == 0


def descriptors() -> int:
    """Of this process, where the balancer's workers run."""
    return len(os.listdir("/proc/self/fd"))


def body_of(raw: bytes) -> bytes:
    """Of a body in one chunk, its data."""
    if raw == b"0\r\n\r\n":
        return b""
    return raw.partition(b"\r\n")[2].removesuffix(b"\r\n0\r\n\r\n") if raw.endswith(b"0\r\n\r\n") else raw


@pytest.mark.parametrize("client", ["http/1.1", "h2"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("body", [None, b"", b"x" * 100, b"y" * 15_000])
def test_mirror_gets_every_request_whole(client: str, protocol: str, body: bytes | None) -> None:
    main: Any = Backend(name=b"main") if protocol == "http/1.1" else H2Backend()
    shadow: Any = (
        Backend(answering(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nno reason")) if protocol == "http/1.1" else H2Backend()
    )
    rules = {"protocol": protocol}
    with main, shadow, balanced(settings=mirrored(main.address, shadow.address, shadows=rules, **rules)) as lb:
        if client == "h2":
            with H2Client(lb.address) as asking:
                for stream in range(1, 41, 2):
                    asking.ask(stream, method="GET" if body is None else "POST", body=body)
                    assert asking.response(stream).status == "200"
        else:
            with Client(lb.address) as plain:
                for _ in range(20):
                    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
                    if body is not None:
                        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
                    plain.send(head)
                    plain.send(body or b"")
                    assert plain.answer().status == 200
        wait_for(lambda: len(shadow.heads) == 20 and at_rest(lb), "all are copied")
        got = [call.body for call in shadow.calls] if protocol == "h2" else [body_of(raw) for raw in shadow.bodies]
        assert got == [body or b""] * 20
        assert figure(lb, "mirrors") == 20
        assert figure(lb, "mirrors_failed") == figure(lb, "mirrors_missed") == 0
        assert figure(lb, "requests") == figure(lb, "responses_2xx") == 20
        assert figure(lb, "responses_5xx") == 0


def test_mirror_that_hangs_holds_nobody_up() -> None:
    over = threading.Event()

    def hang(connection: socket.socket, head: bytes, body: bytes) -> bool:
        over.wait(30)
        return True

    with Backend() as main, Backend(hang) as shadow, balanced(settings=mirrored(main.address, shadow.address)) as lb:
        with Client(lb.address) as client:
            for _ in range(300):
                assert client.get().status == 200
            # more than may be under way at once
            assert figure(lb, "mirrors_active") == figure(lb, "mirrors") == 256
            assert figure(lb, "mirrors_missed") == 44
        over.set()
        wait_for(lambda: at_rest(lb), "all copies end")
        assert figure(lb, "mirrors_failed") == 256


def test_mirrors_that_hang_are_left_at_the_end() -> None:
    over = threading.Event()

    def hang(connection: socket.socket, head: bytes, body: bytes) -> bool:
        over.wait(30)
        return True

    with Backend() as main, Backend(hang) as shadow:
        before = descriptors()
        with Balancer(settings=mirrored(main.address, shadow.address)) as lb, Client(lb.address) as client:
            assert client.get().status == 200
            wait_for(lambda: len(shadow.heads) == 1, "it is asked")
        over.set()
        wait_for(lambda: descriptors() <= before, "no descriptor is left")


@pytest.mark.parametrize("how", ["closed", "reset", "bad", "gone", "interim", "upgrade"])
def test_whatever_a_mirror_does_is_no_matter(how: str) -> None:
    raw = {
        "closed": b"",
        "reset": b"",
        "bad": b"HTTP/9 nonsense\r\n\r\n",
        "gone": b"",
        "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    }[how]
    with Backend() as main, Backend(answering(raw, end=how != "interim")) as shadow:
        address = f"127.0.0.1:{free_port()}" if how == "gone" else shadow.address
        with balanced(settings=mirrored(main.address, address)) as lb, Client(lb.address) as client:
            for _ in range(20):
                assert client.get().status == 200
            wait_for(lambda: at_rest(lb), "all copies end")
            assert figure(lb, "mirrors") == 20
            assert figure(lb, "mirrors_failed") == (0 if how == "interim" else 20)
            assert figure(lb, "responses_1xx") == figure(lb, "responses_5xx") == 0


def test_large_responses_of_mirrors_are_read_and_dropped() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"ffff\r\n" + b"z" * 65535 + b"\r\n") * 30 + b"0\r\n\r\n"
    with Backend() as main, Backend(answering(raw)) as shadow:
        with balanced(settings=mirrored(main.address, shadow.address)) as lb, Client(lb.address) as client:
            for _ in range(5):
                assert client.get().status == 200
            wait_for(lambda: at_rest(lb) and len(shadow.heads) == 5, "all copies end")
            assert figure(lb, "mirrors_failed") == 0


def test_share_of_the_requests() -> None:
    with Backend() as main, Backend() as shadow:
        with balanced(settings=mirrored(main.address, shadow.address, percent=30)) as lb, Client(lb.address) as client:
            for _ in range(400):
                assert client.get().status == 200
            wait_for(lambda: at_rest(lb), "all copies end")
            assert 60 <= len(shadow.heads) <= 180


def test_body_that_is_not_held_is_not_copied() -> None:
    body = b"b" * 200_000
    with Backend() as main, Backend() as shadow:
        with balanced(settings=mirrored(main.address, shadow.address)) as lb, Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + body)
            assert client.answer().status == 200
            assert main.bodies == [body]
            assert figure(lb, "mirrors") == 0
            assert figure(lb, "mirrors_missed") == 1
            assert client.get().status == 200
            wait_for(lambda: at_rest(lb) and len(shadow.heads) == 1, "the next is copied")


def test_body_that_comes_in_parts_is_copied_whole() -> None:
    with Backend() as main, Backend() as shadow:
        with balanced(settings=mirrored(main.address, shadow.address)) as lb, Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            wait_for(lambda: len(main.heads) == 1, "its head is on its way")
            client.send(b"four")
            client.send(b"fives")
            client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [client.answer().status, client.answer().status] == [200, 200]
            wait_for(lambda: at_rest(lb) and len(shadow.heads) == 2, "both are copied")
            assert sorted(shadow.bodies) == [b"", b"fourfives"], "the two copies go side by side"


def test_calls_of_grpc() -> None:
    with H2Backend(answer_call) as main, H2Backend(answer_call) as shadow:
        with balanced(settings=mirrored(main.address, shadow.address)) as lb, H2Client(lb.address) as client:
            client.ask(1, "/s/m", *CALL, method="POST", body=MESSAGE)
            assert client.response(1).status == "200"
            wait_for(lambda: at_rest(lb) and len(shadow.calls) == 1, "it is copied")
            assert shadow.calls[0].body == MESSAGE
            assert figure(lb, "grpc_ok") == 1


def test_mirrors_and_retries_go_together() -> None:
    with Backend(answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as bad, Backend() as good, Backend() as shadow:
        settings = mirrored(good.address, shadow.address, route={"retry_on": [503], "retry_post": True})
        pools = [pool.replace(backends=[bad.address, good.address], policy="round_robin") for pool in settings.pools[:1]]
        with balanced(settings=settings.replace(pools=[*pools, settings.pools[1]])) as lb, Client(lb.address) as client:
            for _ in range(10):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                assert client.answer().status == 200
            wait_for(lambda: at_rest(lb) and len(shadow.heads) == 10, "each is copied once")
            assert bad.heads


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: MirrorSettings(), "pool: missing"),
        (lambda: MirrorSettings(pool="p", percent=0), "percent: 0 is not allowed"),
        (lambda: MirrorSettings(pool="p", percent=101), "percent: 101 is not allowed"),
        (lambda: RouteSettings(deny=True, mirror=MirrorSettings(pool="p")), "mirror: requires pool"),
        (
            lambda: BalancerSettings(
                listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
                routes=[RouteSettings(pool="a", mirror=MirrorSettings(pool="b"))],
                pools=[PoolSettings(name="a")],
            ),
            r"route\[0\]\.mirror\.pool: 'b' is unknown \(known: a\)",
        ),
        (
            lambda: BalancerSettings(
                listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
                routes=[RouteSettings(pool="a", mirror=MirrorSettings(pool="b"))],
                pools=[PoolSettings(name="a"), PoolSettings(name="b", send_proxy="v1")],
            ),
            r"route\[0\]\.mirror\.pool: b has send_proxy",
        ),
        (
            lambda: BalancerSettings(
                listeners=[ListenerSettings(bind="http://127.0.0.1:8081")],
                routes=[RouteSettings(pool="a", mirror=MirrorSettings(pool="b"))],
                pools=[PoolSettings(name="a"), PoolSettings(name="b", backends=["127.0.0.1:8081"])],
            ),
            "127.0.0.1:8081",
        ),
    ],
)
def test_bad_mirror_is_refused_in_one_line(made: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        made()
    assert str(caught.value).count("\n") == 0
