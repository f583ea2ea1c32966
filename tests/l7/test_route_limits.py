"""What routes say of their requests in the place of listener and pool: response_timeout, total_timeout, max_body."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from h2_backends import H2Backend
from h2_frames import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, H2Client, frame
from harness import balanced, settled, totals, wait_for
from http_balancers import figure, settings_of
from http_peers import Backend, Client, field

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, ProbeSettings, RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lbcore import Balancer

HTTP = ["--http1.1", "--http2-prior-knowledge"]
LATE = b"504 Gateway Timeout: the request took longer than its route allows\n"


def limited(routes: list[dict[str, Any]], backend: Backend, **listener: Any) -> BalancerSettings:
    """Routes to one pool, and a default without a route."""
    settings = settings_of({"default": backend}, [{"pool": "default", **route} for route in routes])
    return settings.replace(listeners=[settings.listeners[0].replace(**listener)])


class Silent(Backend):
    """It keeps whoever asks for /hang or /drip waiting until it is let go; /drip begins a response and sends on and on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.cut = threading.Event()
        super().__init__(self._answer)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        path = head.split(b" ")[1]
        if path == b"/drip":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                while not self.go.wait(0.02):
                    connection.sendall(b"6\r\ndata\n\n\r\n")
            self.cut.set()
            return True
        if path == b"/hang":
            self.go.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return False

    def __exit__(self, *about: Any) -> None:
        self.go.set()
        super().__exit__(*about)


@contextlib.contextmanager
def silent(
    routes: list[dict[str, Any]], top: dict[str, Any] | None = None, **listener: Any
) -> Iterator[tuple[Balancer, Silent]]:
    """Before a backend that does not respond."""
    with Silent() as backend, balanced(settings=limited(routes, backend, **listener).replace(**(top or {}))) as lb:
        yield lb, backend


def curl(lb: Balancer, path: str, *words: str) -> tuple[int, bytes, int]:
    """Status, body, and curl's exit status."""
    host, port = lb.address
    asked = ["curl", "-sS", "-w", "%{stderr}%{http_code}", "--max-time", "60", *words, f"http://{host}:{port}{path}"]
    done = subprocess.run(asked, capture_output=True, timeout=90)
    return int(done.stderr[-3:] or b"0"), done.stdout, done.returncode


# --- timeouts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", HTTP)
def test_response_timeout_of_a_route_comes_before_that_of_its_pool(version: str) -> None:
    with silent([{"path": "/hang", "response_timeout": "200ms"}]) as (lb, _):
        status, body, _ = curl(lb, "/hang", version)
        assert (status, body) == (504, b"504 Gateway Timeout: the backend did not answer in time\n")
        assert figure(lb, "response_timeouts") == 1


def test_response_timeout_of_a_route_may_be_longer_than_that_of_its_pool() -> None:
    with Silent() as backend:
        settings = limited([{"header": {"X-Long": True}, "response_timeout": "60s"}], backend)
        settings = settings.replace(pools=[settings.pools[0].replace(response_timeout="200ms")])
        with balanced(settings=settings) as lb, Client(lb.address) as long, Client(lb.address) as short:
            long.send(b"GET /hang HTTP/1.1\r\nHost: a\r\nX-Long: 1\r\n\r\n")
            wait_for(lambda: backend.heads, "the long one is asked")
            assert short.get("/hang").status == 504
            backend.go.set()
            assert long.answer().status == 200


@pytest.mark.parametrize("version", HTTP)
def test_request_that_takes_too_long_in_all_is_told_504(version: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with silent([{"path": "/hang", "total_timeout": "200ms"}], {"access_log": str(log)}) as (lb, _):
        assert curl(lb, "/hang", version)[:2] == (504, LATE)
        assert figure(lb, "requests_overdue") == 1
        (line,) = logged(log)
        assert (line["status"], line["end"], line["reason"]) == (504, "local_response", LATE[21:-1].decode())
        backend = lb.status()["pools"][0]["backends"][0]
        assert backend["failures"] == 1, "the backend had it all the time"


@pytest.mark.parametrize("version", HTTP)
def test_response_that_takes_too_long_is_broken_off(version: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with silent([{"path": "/drip", "total_timeout": "400ms"}], {"access_log": str(log)}) as (lb, backend):
        status, body, code = curl(lb, "/drip", version)
        assert (status, body[:6]) == (200, b"data\n\n")
        assert code in (18, 56, 92), "a part, a reset, a stream that was not closed cleanly: it does not look whole"
        assert backend.cut.wait(20), "the backend's connection ends with it"
        (line,) = logged(log)
        assert (line["status"], line["end"], line["by"]) == (200, "overdue", "balancer")
        figures = totals(settled(lb))
        assert (figures["requests_overdue"], figures["requests_failed"]) == (1, 1)
        assert figures["closed_overdue"] == (version == HTTP[0])
        assert lb.status()["pools"][0]["backends"][0]["failures"] == 0, "it did what it was asked"


def test_other_streams_of_the_connection_go_on() -> None:
    with silent([{"path": "/drip", "total_timeout": "300ms"}]) as (lb, backend), H2Client(lb.address) as client:
        client.ask(1, "/hang")
        client.ask(3, "/drip")
        ended = client.until(lambda got: got.kind == RST_STREAM)
        assert ended is not None
        assert (ended.stream, ended.number) == (3, CANCEL)
        backend.go.set()
        assert client.response(1).status == "200"


def test_time_in_the_queue_counts_and_the_backend_is_not_blamed() -> None:
    with Silent() as backend:
        settings = limited([{"path": "/hang", "total_timeout": "300ms", "method": "POST"}], backend)
        settings = settings.replace(pools=[settings.pools[0].replace(max_active=1, queue=10, queue_timeout="60s")])
        with balanced(settings=settings) as lb, Client(lb.address) as first, Client(lb.address) as second:
            first.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: backend.heads, "the only place is taken")
            assert second.get("/hang", method=b"POST", extra=b"Content-Length: 0\r\n").status == 504
            assert lb.status()["pools"][0]["backends"][0]["failures"] == 0
            backend.go.set()
            assert first.answer().status == 200


def test_grpc_call_is_told_deadline_exceeded() -> None:
    hanging = threading.Event()

    def script(call: Any) -> None:
        hanging.wait(30)

    with H2Backend(script) as backend:
        pool = PoolSettings(name="default", probe=ProbeSettings(kind="off"), backends=[backend.address])
        listener = ListenerSettings(bind="http://127.0.0.1:0")
        routes = [RouteSettings(grpc="pkg.Service", pool="default", total_timeout="300ms")]
        with balanced(settings=BalancerSettings(listeners=[listener], pools=[pool], routes=routes, workers=1)) as lb:
            with H2Client(lb.address) as client:
                client.ask(
                    1, "/pkg.Service/M", ("content-type", "application/grpc"), ("te", "trailers"), method="POST", body=b""
                )
                response = client.response(1)
                hanging.set()
                said = response.heads[-1]
                assert (said["grpc-status"], said["grpc-message"]) == ("4", LATE[21:-1].decode())


def test_connection_that_was_upgraded_is_no_request_any_more() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        while data := connection.recv(100):
            connection.sendall(data)
        return True

    with Backend(script) as backend, balanced(settings=limited([{"total_timeout": "300ms"}], backend)) as lb:
        with Client(lb.address) as client, Client(lb.address) as other:
            assert client.get("/", b"Upgrade: echo\r\nConnection: Upgrade\r\n").status == 101
            other.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            assert other.answer().status == 504, "that time is over"
            client.send(b"still there")
            assert client.reader.exactly(11) == b"still there"


def test_reload_does_not_change_what_holds_for_requests_under_way() -> None:
    with silent([{"path": "/hang", "response_timeout": "60s", "total_timeout": "60s"}]) as (lb, backend):
        now = lb.settings
        with Client(lb.address) as client:
            client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: backend.heads, "it is under way")
            for some in range(3):
                short = [RouteSettings(path="/hang", pool="default", total_timeout=f"{100 + some}ms")]
                lb.reload(now.replace(routes=[RouteSettings(path="/x", pool="default"), *short]))
                with Client(lb.address) as other:
                    assert wait_for(lambda other=other: other.get("/hang").status == 504, "new ones are under the new limits")
            backend.go.set()
            assert client.answer().status == 200


# --- bodies ---------------------------------------------------------------------------------------------------------------

SIZES = [{"path_prefix": "/small", "max_body": "1k"}, {"path_prefix": "/any", "max_body": 0}]


PATHS = (("/small/x", 413), ("/any", 200), ("/else", 413))


def test_body_that_says_to_be_too_large_is_told_413_and_reaches_no_backend() -> None:
    with Backend() as backend, balanced(settings=limited(SIZES, backend, max_body="16k")) as lb:
        for path, wanted in PATHS:
            with Client(lb.address) as client:
                client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" % path.encode() + bytes(20_000))
                assert client.answer().status == wanted, path
            with H2Client(lb.address) as other:
                head = other.head(path, ("content-length", "20000"), method="POST")
                other.send(frame(HEADERS, END_HEADERS, 1, head), frame(DATA, 0, 1, bytes(10_000)))
                other.send(frame(DATA, END_STREAM, 1, bytes(10_000)))
                assert other.response(1).status == str(wanted), path
        assert [head.split(b" ")[1] for head in backend.heads] == [b"/any", b"/any"]


def test_chunked_body_is_told_413_as_it_passes() -> None:
    with Backend() as backend, balanced(settings=limited(SIZES, backend, max_body="16k")) as lb:
        for path, wanted in PATHS:
            with Client(lb.address) as client:
                client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode())
                with contextlib.suppress(OSError):
                    client.send(b"3e8\r\n%s\r\n" % bytes(1000) * 20 + b"0\r\n\r\n")
                assert client.answer().status == wanted, path


def test_body_of_http2_without_a_length_is_told_413_as_it_passes() -> None:
    with Backend() as backend, balanced(settings=limited(SIZES, backend, max_body="16k")) as lb:
        for path, wanted in PATHS:
            with H2Client(lb.address) as client:
                client.send(frame(HEADERS, END_HEADERS, 1, client.head(path, method="POST")))
                client.send(*(frame(DATA, 0, 1, bytes(1000)) for _ in range(20)), frame(DATA, END_STREAM, 1))
                assert client.response(1).status == str(wanted), path


def test_body_as_large_as_its_route_allows_passes() -> None:
    with Backend() as backend, balanced(settings=limited(SIZES, backend)) as lb, Client(lb.address) as client:
        client.send(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n" + bytes(1024))
        assert client.answer().status == 200
        client.send(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
        answer = client.answer()
        assert (answer.status, field(answer.head, b"Connection")) == (413, b"close")


def test_path_that_leads_past_a_limit_in_another_reading_is_refused() -> None:
    with Backend() as backend, balanced(settings=limited(SIZES, backend)) as lb:
        for path in ("//small", "/x/..%2fsmall", "/small;a"):
            with Client(lb.address) as client:
                assert client.get(path).status == 400, path
        assert not backend.heads


# --- settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"deny": True, "max_body": 1}, "max_body: requires pool"),
        ({"redirect": "/x", "total_timeout": "1s"}, "total_timeout: requires pool"),
        ({"pool": "p", "total_timeout": "1ms"}, "total_timeout: '1ms' is not allowed"),
        ({"pool": "p", "response_timeout": "x"}, "response_timeout: 'x' is not allowed"),
        ({"pool": "p", "max_body": -1}, "max_body: -1 is not allowed"),
        ({"pool": "p", "alpn": "h2", "total_timeout": "1s"}, "alpn: a route with alpn is for tls connections"),
    ],
)
def test_bad_limit_is_refused_in_one_line(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RouteSettings(**route)
    assert str(refused.value).count("\n") == 0


def test_connections_without_requests_have_no_such_limits() -> None:
    names = ListenerSettings(bind="tls://127.0.0.1:0", name="names")
    pools = [PoolSettings(name="default")]
    with pytest.raises(ConfigError, match=r"route\[0\]\.max_body: connections of mode tls have none"):
        BalancerSettings(listeners=[names], routes=[RouteSettings(listener="names", pool="default", max_body=1)], pools=pools)
