"""Hosts that are slow to be resolved: nothing waits for them but the reload that names them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import SLOWER, Peer, dial, free_port, named, wait_for

from lbcore import Balancer, ConfigError, NotRunning
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.table.resolved import resolve_all

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_S = 1.0


class Over(threading.Event):
    """Set: names under .never.invalid fail now. asked: names under .invalid that were."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Over]:
    """Names under .invalid take a second to fail, or until the event is set where they are under .never.invalid."""
    asked, over = socket.getaddrinfo, Over()

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid") and not options.get("flags", 0) & socket.AI_NUMERICHOST:
            over.asked.append(str(host))
            over.wait(60 if ".never." in host else SLOW_S)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return asked(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield over
    over.set()


def settings(port: int, *backends: str) -> BalancerSettings:
    return BalancerSettings(
        workers=1,
        drain_timeout="1s",
        listeners=[ListenerSettings(bind=f"tcp://127.0.0.1:{port}")],
        pools=[PoolSettings(backends=list(backends), probe=ProbeSettings(kind="off"))],
    )


def dead(count: int, kind: str = "x") -> list[str]:
    return [f"host{number}.{kind}.invalid:80" for number in range(count)]


def test_twenty_dead_names_take_the_time_of_one(slow: Over) -> None:
    began = time.monotonic()
    found = resolve_all([(f"host{number}.x.invalid", 80) for number in range(20)] + [("127.0.0.1", 80)])
    assert time.monotonic() - began < 4 * SLOW_S * SLOWER
    assert sum(isinstance(answer, ValueError) for answer in found.values()) == 20
    assert found["127.0.0.1", 80].ip == "127.0.0.1"  # type: ignore[union-attr]


def test_names_that_no_server_answers_have_a_limit(slow: Over) -> None:
    began = time.monotonic()
    found = resolve_all([("host.never.invalid", 80)], limit_s=0.3)
    assert time.monotonic() - began < 2 * SLOWER
    assert "no name server replied" in str(found["host.never.invalid", 80])


def listening_at(*hosts: str) -> BalancerSettings:
    listeners = [ListenerSettings(name=f"l{at}", bind=f"tcp://{host}:{free_port()}") for at, host in enumerate(hosts)]
    return settings(free_port()).replace(listeners=listeners)


@pytest.mark.parametrize("reloads", [False, True], ids=["start", "reload"])
def test_twenty_dead_names_of_listeners_take_the_time_of_one(slow: Over, reloads: bool) -> None:
    dead_ones = listening_at("127.0.0.1", *(f"host{number}.x.invalid" for number in range(20)))
    lb = Balancer(settings=settings(free_port()) if reloads else dead_ones)
    if reloads:
        lb.start()
    try:
        began = time.monotonic()
        with pytest.raises(ConfigError, match=r"listener l1: tcp://host0\.x\.invalid:\d+: no name server answers"):
            lb.reload(dead_ones) if reloads else lb.start()
        assert time.monotonic() - began < 4 * SLOW_S * SLOWER
    finally:
        lb.stop(0)


def test_listeners_with_names_listen() -> None:
    with Peer(named(b"one")) as peer:
        known = listening_at("localhost", "localhost", "127.0.0.1").replace(pools=[PoolSettings(backends=[peer.address])])
        with Balancer(settings=known) as lb:
            for address in lb.addresses.values():
                with dial(address) as client:
                    assert client.recv(10) == b"one"


def test_a_worker_that_dies_during_such_a_reload_is_replaced(slow: Over) -> None:
    port = free_port()
    with Peer(named(b"one")) as peer:
        lb = Balancer(settings=settings(port, peer.address), isolation="processes")
        with lb:
            reload = threading.Thread(target=lb.reload, args=[settings(port, peer.address, *dead(1, "never"))], daemon=True)
            reload.start()
            wait_for(lambda: slow.asked, "the name is looked up")
            old = lb.status()["workers"][0]["pid"]
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: lb.status()["workers"][0]["pid"] != old, "it is replaced")
            with dial(lb.address) as client:
                assert client.recv(10) == b"one"
            assert reload.is_alive()
            slow.set()
            reload.join()
            assert [backend.state for backend in lb.pool().backends()] == ["up", "down"]


def test_a_reload_that_names_nothing_new_asks_nobody(slow: Over) -> None:
    port = free_port()
    with Peer(named(b"one")) as peer:
        with Balancer(settings=settings(port, peer.address)) as lb:
            began = time.monotonic()
            lb.reload(settings(port, peer.address))
            assert time.monotonic() - began < SLOW_S


def test_a_stop_does_not_wait_for_names(slow: Over) -> None:
    port = free_port()
    said: list[BaseException] = []
    with Peer(named(b"one")) as peer:
        lb = Balancer(settings=settings(port, peer.address)).start()

        def reload() -> None:
            try:
                lb.reload(settings(port, peer.address, *dead(3, "never")))
            except NotRunning as error:
                said.append(error)

        thread = threading.Thread(target=reload)
        thread.start()
        wait_for(lambda: slow.asked, "names are looked up")
        began = time.monotonic()
        lb.stop(0)
        assert time.monotonic() - began < 3 * SLOWER
        thread.join()
    assert len(said) == 1
