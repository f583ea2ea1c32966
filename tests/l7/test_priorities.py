"""X-LB-Priority: who goes first of the requests that wait for a backend, and whose word on that is taken."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from h2_frames import H2Client
from harness import totals, wait_for
from http_balancers import http
from http_peers import Backend, Client, field

from lbcore.config.settings import ListenerSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

HIGH = b"X-LB-Priority: high\r\n"
ANY = {"priority_header": "any"}


class OneByOne(Backend):
    """It responds to each request when it is told to; `paths` are those that came, in their order."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        super().__init__(self._answer)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        self.go.acquire(timeout=60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    @property
    def paths(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.heads]

    def __exit__(self, *about: Any) -> None:
        self.go.release(100)
        super().__exit__(*about)


@contextlib.contextmanager
def busy(**options: Any) -> Iterator[tuple[Balancer, OneByOne, contextlib.ExitStack]]:
    """A balancer whose only backend has a request already. queue_timeout is long, so that all of high priority go first."""
    with OneByOne() as backend, contextlib.ExitStack() as clients:
        pool = {"max_active": 1, "queue_timeout": "10m", **options.pop("pool", {})}
        with http(backend, listener={**ANY, **options}, **pool) as lb, clients:
            ask(lb, clients, "/first")
            wait_for(lambda: backend.paths == ["/first"], "the backend is busy")
            yield lb, backend, clients


def ask(lb: Balancer, clients: contextlib.ExitStack, path: str, extra: bytes = b"") -> Client:
    """Ask, and wait for nothing."""
    client = clients.enter_context(Client(lb.address))
    client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path.encode(), extra))
    return client


def queued(lb: Balancer, count: int) -> None:
    """So many wait."""
    assert wait_for(lambda: totals(lb.status())["queued"] == count, f"{count} wait")


def served(backend: OneByOne, count: int) -> list[str]:
    """The order in which so many more come to the backend."""
    for number in range(count):
        backend.go.release()
        wait_for(lambda number=number: len(backend.heads) >= number + 2, "the next one comes")
    return backend.paths[1:]


def test_high_priority_goes_first_and_each_in_its_order() -> None:
    with busy() as (lb, backend, clients):
        for number, extra in enumerate([b"", HIGH, b"", b"x_lb-priority: low\r\n", b"x-lb-priority: HIGH\r\n"]):
            ask(lb, clients, f"/{number}", extra)
            queued(lb, number + 1)
        assert served(backend, 5) == ["/1", "/4", "/0", "/2", "/3"]
        assert totals(lb.status())["requests_urgent"] == 2


def test_streams_of_http2_wait_likewise() -> None:
    with busy() as (lb, backend, clients):
        ask(lb, clients, "/normal")
        queued(lb, 1)
        with H2Client(lb.address) as client:
            client.ask(1, "/stream")
            queued(lb, 2)
            client.ask(3, "/urgent", ("x-lb-priority", "high"))
            queued(lb, 3)
            assert served(backend, 3) == ["/urgent", "/normal", "/stream"]
            backend.go.release()


@pytest.mark.parametrize(("options", "counts"), [({"priority_header": "trusted"}, False), ({**ANY}, True)])
def test_word_of_strangers_counts_only_where_the_listener_says_so(options: dict[str, Any], counts: bool) -> None:
    with busy(**options) as (lb, backend, clients):
        ask(lb, clients, "/normal")
        queued(lb, 1)
        ask(lb, clients, "/urgent", HIGH)
        queued(lb, 2)
        assert served(backend, 2) == (["/urgent", "/normal"] if counts else ["/normal", "/urgent"])
        head = next(head for head in backend.heads if b"/urgent" in head)
        assert (field(head, b"X-LB-Priority") is not None) == counts, "backends are not told what does not count"


def test_word_of_trusted_proxies_counts() -> None:
    with busy(priority_header="trusted", trusted_proxies=["127.0.0.1/32"]) as (lb, backend, clients):
        ask(lb, clients, "/normal")
        queued(lb, 1)
        ask(lb, clients, "/urgent", HIGH)
        queued(lb, 2)
        assert served(backend, 2) == ["/urgent", "/normal"]


def test_queue_that_is_full_of_others_has_room_for_high_priority() -> None:
    with busy(pool={"queue": 1}) as (lb, backend, clients):
        ask(lb, clients, "/normal")
        queued(lb, 1)
        assert ask(lb, clients, "/more").answer().status == 503
        ask(lb, clients, "/urgent", HIGH)
        queued(lb, 2)
        assert ask(lb, clients, "/urgent-too", HIGH).answer().status == 503
        assert served(backend, 2) == ["/urgent", "/normal"]


def test_client_that_leaves_the_queue_leaves_the_others_in_order() -> None:
    with busy() as (lb, backend, clients):
        asked = []
        for number in range(6):
            asked.append(ask(lb, clients, f"/{number}", HIGH if number % 2 else b""))
            queued(lb, number + 1)
        for gone, left in ((0, 5), (3, 4), (5, 3)):
            asked[gone].close()
            queued(lb, left)
        assert served(backend, 3) == ["/1", "/2", "/4"]


def test_bad_value_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"priority_header: 'all' is not allowed \(allowed: trusted, any\)"):
        ListenerSettings(bind="http://127.0.0.1:0", priority_header="all")
    with pytest.raises(ConfigError, match="priority_header: only for mode http or https, this is tcp"):
        ListenerSettings(bind="tcp://127.0.0.1:0", priority_header="any")
