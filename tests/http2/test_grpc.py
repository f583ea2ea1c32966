"""gRPC by grpcio, at both ends: calls of all kinds, and what they come to when a server stops or dies."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from grpc_servers import GrpcServer
from harness import wait_for
from http_balancers import figure, http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

grpc = pytest.importorskip("grpc")


@contextlib.contextmanager
def channel(lb: Balancer) -> Iterator[Any]:
    """A channel with a connection of its own, that tries nothing again."""
    host, port = lb.address
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"{host}:{port}", options) as made:
        yield made


def name(made: Any, **more: Any) -> bytes:
    return bytes(made.unary_unary("/a.B/Name")(b"hi", timeout=10, **more))


def test_calls_of_all_kinds() -> None:
    with GrpcServer("one") as server, http(server.address) as lb, channel(lb) as made:
        assert name(made) == b"one:hi"
        assert len(list(made.unary_stream("/a.B/Count")(b"1000", timeout=10))) == 1000
        assert made.stream_unary("/a.B/Sum")((b"x" * 100_000 for _ in range(30)), timeout=10) == b"3000000"
        echoed = made.stream_stream("/a.B/Echo")((b"%d" % at for at in range(300)), timeout=10)
        assert list(echoed) == [b"%d" % at for at in range(300)]
        assert len(made.unary_unary("/a.B/Name")(b"z" * 3_000_000, timeout=10)) == 3_000_004


def test_messages_of_a_stream_go_on_one_by_one() -> None:
    with GrpcServer("one") as server, http(server.address) as lb, channel(lb) as made:
        sent = threading.Semaphore(1)

        def requests() -> Iterator[bytes]:
            for at in range(20):
                sent.acquire(timeout=10)
                yield b"%d" % at

        for at, got in enumerate(made.stream_stream("/a.B/Echo")(requests(), timeout=10)):
            assert got == b"%d" % at
            sent.release()


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DATA_LOSS"])
def test_a_status_and_its_details_arrive(code: str) -> None:
    with GrpcServer("one") as server, http(server.address) as lb, channel(lb) as made:
        with pytest.raises(grpc.RpcError) as caught:
            made.unary_unary("/a.B/Fail")(code.encode(), timeout=10)
        assert (caught.value.code().name, caught.value.details()) == (code, "as asked: é")
        assert figure(lb, f"grpc_{code.lower()}") == 1


def test_metadata_arrives_both_ways() -> None:
    with GrpcServer("one") as server, http(server.address) as lb, channel(lb) as made:
        asked = made.unary_unary("/a.B/Metadata")
        response, call = asked.with_call(b"", timeout=10, metadata=[("x-asked", "what"), ("x-raw-bin", b"\xff\0")])
        assert response == b"one"
        first = {entry.key: entry.value for entry in call.initial_metadata()}
        assert (first["x-first"], first["x-bin"]) == ("1", b"\0\1")
        assert {entry.key: entry.value for entry in call.trailing_metadata()}["x-last"] == "what"


def test_calls_of_one_channel_are_spread() -> None:
    with GrpcServer("a") as one, GrpcServer("b") as two, http(one.address, two.address) as lb, channel(lb) as made:
        assert {name(made) for _ in range(10)} == {b"a:hi", b"b:hi"}


def test_a_deadline_and_a_cancel_reach_the_server() -> None:
    with GrpcServer("one") as server, http(server.address) as lb, channel(lb) as made:
        with pytest.raises(grpc.RpcError) as caught:
            made.unary_unary("/a.B/Wait")(b"", timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        call = made.unary_unary("/a.B/Wait").future(b"", timeout=20)
        wait_for(lambda: figure(lb, "requests_active") == 1, "the call is under way")
        call.cancel()
        wait_for(lambda: figure(lb, "requests_active") == 0, "nothing is left of it")
        assert name(made) == b"one:hi"


def test_a_call_to_nobody_is_unavailable() -> None:
    with http("127.0.0.1:9") as lb, channel(lb) as made:
        with pytest.raises(grpc.RpcError) as caught:
            name(made)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "no backend could be reached" in caught.value.details()


def test_a_route_by_service_and_method() -> None:

    from harness import balanced

    from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings

    with GrpcServer("a") as one, GrpcServer("b") as two, GrpcServer("c") as three:
        settings = BalancerSettings(
            listeners=[ListenerSettings(bind="http://127.0.0.1:0", name="web", pool="one")],
            pools=[
                PoolSettings(name=key, backends=[server.address], probe=ProbeSettings(kind="off"))
                for key, server in (("one", one), ("two", two), ("three", three))
            ],
            routes=[RouteSettings(grpc="pkg.Other", pool="two"), RouteSettings(grpc="pkg.Third/Name", pool="three")],
            drain_timeout="2s",
            workers=1,
        )
        with balanced(settings=settings) as lb, channel(lb) as made:
            for service, response in (
                ("a.B", b"a:hi"),
                ("pkg.Other", b"b:hi"),
                ("pkg.Third", b"c:hi"),
                ("pkg.Otherwise", b"a:hi"),
            ):
                assert made.unary_unary(f"/{service}/Name")(b"hi", timeout=10) == response


def test_the_access_log_has_the_status(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = {"access_log": str(path)}
    with GrpcServer("one") as server, http(server.address, top=log) as lb, channel(lb) as made:
        name(made)
        with pytest.raises(grpc.RpcError):
            made.unary_unary("/a.B/Fail")(b"NOT_FOUND", timeout=10)
        wait_for(lambda: path.exists() and path.read_text().count("\n") == 2, "both lines are written")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(line["path"], line["status"], line["grpc_status"]) for line in lines] == [
            ("/a.B/Name", 200, 0),
            ("/a.B/Fail", 200, 5),
        ]


def called(lb: Balancer, threads: int, each: int, at_third: Any) -> list[str]:
    """What failed of so many calls, while something happens at a third of them."""
    failed: list[str] = []
    lock, done = threading.Lock(), [0]

    def call() -> None:
        with channel(lb) as made:
            for _ in range(each):
                try:
                    name(made)
                except grpc.RpcError as error:
                    failed.append(f"{error.code().name}: {error.details()}")
                with lock:
                    done[0] += 1
                    if done[0] == threads * each // 3:
                        at_third()

    running = [threading.Thread(target=call) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return failed


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_no_call_fails_when_one_of_two_servers_goes(how: str) -> None:
    """Of unary calls, none of grpcio 1.85.1 has begun its response before it is whole."""
    with GrpcServer("a") as one, GrpcServer("b") as two, http(one.address, two.address, retries=3) as lb:
        assert called(lb, 8, 250, getattr(one, how)) == []
