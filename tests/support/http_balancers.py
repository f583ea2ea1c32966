"""Balancers before HTTP backends, and what tests ask of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from harness import (
    balanced,
    settled,
    totals,
)
from http_peers import Backend, Client, field

from lbcore import Balancer
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


def path_of(head: bytes) -> bytes:
    """The target that a request asks for."""
    return head.split(b" ")[1]


def told(connection: socket.socket, path: bytes) -> None:
    """Answer with the path that was asked for."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


def backend_of(lb: object, address: str) -> dict[str, object]:
    """The status entry of a backend."""
    entries = lb.status()["pools"][0]["backends"]  # type: ignore[attr-defined]
    return next(entry for entry in entries if entry["address"] == address)


OFF = ProbeSettings(kind="off")


GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def http(
    *backends: Backend | str,
    listener: dict[str, Any] | None = None,
    workers: int = 1,
    top: dict[str, Any] | None = None,
    **pool: Any,
) -> Iterator[Balancer]:
    """A balancer of mode http before these backends."""
    addresses = [entry if isinstance(entry, str) else entry.address for entry in backends]
    settings = BalancerSettings(
        workers=workers,
        drain_timeout="2s",
        listeners=[ListenerSettings(bind="http://127.0.0.1:0", **(listener or {}))],
        pools=[PoolSettings(**{"probe": OFF, "backends": addresses, "policy": "round_robin", **pool})],
        **(top or {}),
    )
    with balanced(settings=settings) as lb:
        yield lb


def figure(lb: Balancer, name: str) -> int:
    """A worker figure, summed."""
    return totals(settled(lb))[name]


def settings_of(pools: dict[str, Backend], routes: list[dict[str, Any]], default: str | None = "default") -> BalancerSettings:
    """Pools of one backend each, and routes to them by name."""
    listener: dict[str, Any] = {"bind": "http://127.0.0.1:0", "name": "web"}
    if default:
        listener["pool"] = default
    return BalancerSettings(
        workers=1,
        listeners=[ListenerSettings(**listener)],
        routes=[RouteSettings(**route) for route in routes],
        pools=[PoolSettings(name=name, probe=OFF, backends=[backend.address]) for name, backend in pools.items()],
    )


@contextlib.contextmanager
def routed(routes: list[dict[str, Any]], default: str | None = "default") -> Iterator[tuple[Balancer, Client]]:
    """A balancer whose pools answer with their names, and a client. Pools: those of the routes, and "default"."""
    names = {route["pool"] for route in routes} | ({default} if default else set())
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(Backend(name=name.encode())) for name in sorted(names)}
        lb = stack.enter_context(balanced(settings=settings_of(pools, routes, default)))
        yield lb, stack.enter_context(Client(lb.address))


def cookie_of(head: bytes) -> bytes:
    """name=value of the Set-Cookie."""
    return (field(head, b"Set-Cookie") or b"").partition(b";")[0]


@contextlib.contextmanager
def dripping(send: Callable[[bytes], object], piece: bytes = b"x", every_s: float = 0.05) -> Iterator[None]:
    """So much, again and again, while the block runs."""
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(every_s):
                send(piece)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
