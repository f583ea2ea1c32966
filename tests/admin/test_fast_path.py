"""The calls of backends are read in short: whatever the framework would answer is answered, byte for byte where it matters."""

from __future__ import annotations

import contextlib
import importlib
import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from admin_calls import client, settings
from harness import SLOWER, balanced, wait_for
from pace import send_apart

from lbcore import Balancer
from lbcore.admin import fast_path, framework
from lbcore.config.settings import LeaseSettings

ME = {"server_ip": "127.0.0.1", "port": 8000, "status": "alive"}


@pytest.fixture
def lb() -> Iterator[Balancer]:
    with balanced(settings=settings(lease=LeaseSettings(heartbeat="60s"))) as lb:
        assert client(lb).call("POST", "/register", {**ME, "status": "ready"})[0] == 201
        yield lb


@pytest.fixture(scope="module", autouse=True)
def _framework_is_loaded() -> None:
    """Else the first test of this process waits for that."""
    importlib.import_module("aiohttp.web")


def dial(lb: Balancer) -> socket.socket:
    host, port = str(lb.admin_address).removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 10 * SLOWER)


def beat(body: bytes | None = None, *fields: str, length: int | None = None) -> bytes:
    data = json.dumps(ME).encode() if body is None else body
    head = [
        "POST /heartbeat HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(data) if length is None else length}",
        *fields,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """The next one: its status and body."""
    reader = connection.makefile("rb", buffering=0)  # it reads nothing of the next one
    status = int(reader.readline().split()[1])
    fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
    body = connection.recv(int(fields["content-length"]), socket.MSG_WAITALL)
    found: dict[str, object] = json.loads(body)
    return status, found


def everything(lb: Balancer, request: bytes, limit_s: float = 0.6) -> bytes:
    """The first answer that a connection with this request gets; what there is of it when none comes in that time."""
    with dial(lb) as connection:
        connection.sendall(request)
        connection.settimeout(limit_s * SLOWER)
        found = b""
        while not _is_whole(found):
            try:
                part = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not part:
                break
            found += part
        return found


def _is_whole(found: bytes) -> bool:
    head, ended, body = found.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(ended) and len(body) >= int(lengths[0])


def test_a_beat_in_pieces_and_several_at_once(lb: Balancer) -> None:
    request = beat()
    with dial(lb) as connection:
        for at in range(1, len(request), 7):
            send_apart(connection, request[:at], request[at:])
            assert answer(connection)[0] == 200
        connection.sendall(3 * request + request[:20])
        seen = b""
        while seen.count(b'"lease_s"') < 3:
            seen += connection.recv(65536)
        connection.sendall(request[20:])
        assert answer(connection) == (200, client(lb).call("POST", "/heartbeat", ME)[1])


def test_another_call_on_the_same_connection_goes_to_the_framework(lb: Balancer) -> None:
    with dial(lb) as connection:
        for _ in range(2):
            connection.sendall(beat())
            assert answer(connection)[0] == 200
            connection.sendall(look("/nothing"))
            assert answer(connection) == (404, {"error": "Not Found"})


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (beat(), 200),
        (beat(None, "Connection: close"), 200),
        (beat(None, "connection: keep-alive", "X-More: a b c"), 200),
        (beat(b"{"), 422),
        (beat(b"{}"), 422),
        (beat(json.dumps({**ME, "load": 7.5}).encode()), 422),
        (beat(json.dumps({**ME, "pool": "none"}).encode()), 422),
        (beat(json.dumps({**ME, "port": 1}).encode()), 404),
        (beat(json.dumps({**ME, "server_ip": "10.1.1.1"}).encode()), 403),
        (beat(None, "Authorization: Bearer wrong"), 401),
        (beat(b"7\r\n{}     \r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=0), 400),
        (beat(length=70_000), None),
        (beat(length=-1), 400),
        (beat(None, "Content-Length: 3"), 400),
        (beat(None, " folded: 1"), 400),
        (beat(None, "Bad Name: 1"), 400),
        (beat(None, "Nul: a\0b"), 400),
        (beat(None, "X-Empty:"), 200),
        (beat().replace(b"\r\n", b"\n", 1), None),
        (beat().replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
        (beat().replace(b"/heartbeat", b"/heartbeats"), 404),
        (beat().replace(b"POST", b"PUT"), 405),
        (beat(None, "X-Long: " + 5000 * "x"), 200),
    ],
)
def test_what_is_answered_is_what_the_framework_answers(
    lb: Balancer, monkeypatch: pytest.MonkeyPatch, request_: bytes, status: int | None
) -> None:
    limit_s = 0.6 if status is None else 10.0  # None: what it asks for has not come, so that none answers
    here = everything(lb, request_, limit_s)
    monkeypatch.setattr(fast_path, "_STARTS", (b"\0",))  # nothing is read in short any more
    there = everything(lb, request_, limit_s)
    assert _meaning(here) == _meaning(there)
    if status is not None:
        assert here.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status))


def test_mutated_beats_are_answered_alike(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte changed, lost or doubled anywhere: 60 of them, from a fixed seed."""
    chance, whole = random.Random(4), beat(None, "Connection: close", "X-Any: thing")
    mutants = []
    for _ in range(60):
        at, kind = chance.randrange(len(whole)), chance.randrange(3)
        byte = bytes([chance.choice([0, 9, 10, 13, 32, 58, 127, 128, chance.randrange(256)])])
        mutants.append(whole[:at] + (byte, b"", whole[at : at + 1] * 2)[kind] + whole[at + 1 :])
    with ThreadPoolExecutor(20) as pool:  # side by side: those that lack their end are waited for

        def answers() -> list[tuple[bytes, bytes]]:
            return [_meaning(found) for found in pool.map(lambda mutant: everything(lb, mutant), mutants)]

        here = answers()
        monkeypatch.setattr(fast_path, "_STARTS", (b"\0",))
        there = answers()
    assert [(mutants[at], here[at], there[at]) for at in range(60) if here[at] != there[at]] == []


def look(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields]).encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (look("/healthz"), 200),
        (look("/healthz", "Content-Length: 0"), 200),
        (look("/healthz", "Content-Length: 3") + b"abc", 200),
        (look("/healthz?x=1"), 200),
        (look("/healthz", "Connection: close"), 200),
        (look("/healthz", "Upgrade: h2c", "Connection: Upgrade"), 200),
        (look("/readyz"), 200),
        (look("/readyz").replace(b"127.0.0.1", b"evil.example"), 403),
        (look("/readyz").replace(b"Host: 127.0.0.1", b"X: y"), None),
        (look("/healthz").replace(b"GET", b"HEAD"), 200),
        (look("/healthz").replace(b"GET", b"POST"), 405),
        (look("/status", "Authorization: Bearer wrong"), None),
        (look("/register"), 405),
        (look("/nothing"), 404),
        (look("/healthz").replace(b"GET", b"get"), None),
    ],
)
def test_a_look_is_answered_as_the_framework_answers(
    lb: Balancer, monkeypatch: pytest.MonkeyPatch, request_: bytes, status: int | None
) -> None:
    test_what_is_answered_is_what_the_framework_answers(lb, monkeypatch, request_, status)


def test_looks_and_beats_of_one_connection_are_answered_in_their_order(lb: Balancer) -> None:
    with dial(lb) as connection:
        connection.sendall(look("/status") + beat() + look("/healthz") + look("/backends") + beat(b"{}"))
        answers = [answer(connection) for _ in range(5)]
    assert [status for status, _ in answers] == [200, 200, 200, 200, 422]
    assert ["listeners" in answers[0][1], answers[2][1], list(answers[3][1])] == [True, {"status": "ok"}, ["pools"]]


def test_a_scrape_is_the_framework_s(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    for accept in ("*/*", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"):
        request = look("/metrics", f"Accept: {accept}")
        with monkeypatch.context() as patched:
            here = everything(lb, request)
            patched.setattr(fast_path, "_STARTS", (b"\0",))
            there = everything(lb, request)
        assert _kind(here) == _kind(there)
        assert here.count(b"\n# TYPE") == there.count(b"\n# TYPE") > 20


def _kind(answered: bytes) -> list[bytes]:
    return [line for line in answered.partition(b"\r\n\r\n")[0].split(b"\r\n") if line.lower().startswith(b"content-type")]


def test_a_peer_that_reads_nothing_is_not_heard_meanwhile(lb: Balancer) -> None:
    """Scrapes without end: what waits for the peer is bounded, and once it reads, all come."""
    with dial(lb) as connection:
        connection.settimeout(0.5 * SLOWER)
        request, sent = look("/metrics") * 50, 0
        with contextlib.suppress(TimeoutError):
            while sent < 100_000:
                sent += connection.send(request[sent % len(request) :])
        assert sent < 100_000 * len(request)
        connection.settimeout(20 * SLOWER)
        reader = connection.makefile("rb")
        for _ in range(sent // len(look("/metrics"))):
            assert reader.readline().split()[1] == b"200"
            fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
            assert len(reader.read(int(fields["content-length"]))) > 1000


def _meaning(answered: bytes) -> tuple[bytes, bytes]:
    """The status, and the JSON body without what differs from call to call."""
    head, _, body = answered.partition(b"\r\n\r\n")
    return head.split(b" ")[1] if head else b"", body if body.startswith(b"{") else b""


def test_a_call_that_never_ends_is_closed(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "_WHOLE_S", 0.2)
    with dial(lb) as connection:
        connection.sendall(beat()[:40])
        assert connection.recv(1) == b""


def test_a_caller_that_reads_nothing_is_not_heard() -> None:
    with balanced(settings=settings({"rate": 0})) as lb, dial(lb) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1 * SLOWER)
        with pytest.raises(TimeoutError):
            connection.sendall(1_000_000 * beat(b"{"))
        assert client(lb).call("GET", "/healthz")[0] == 200


def test_calls_of_one_connection_take_turns_with_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand at once, of a caller that reads: each is answered, in its order, and others are heard meanwhile."""
    busy: list[int] = []
    real = fast_path.FastPath._go_on

    def counting(self: fast_path.FastPath) -> None:
        before = len(self._held)
        real(self)
        busy.append(before - len(self._held))

    monkeypatch.setattr(fast_path.FastPath, "_go_on", counting)
    with balanced(settings=settings({"rate": 0})) as lb, dial(lb) as connection:
        one = beat()
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(connection.sendall, 2000 * one)
            reader = connection.makefile("rb")
            answered = 0
            while answered < 2000:
                answered += reader.readline().endswith(b"HTTP/1.1 404 Not Found\r\n")
            sent.result()
        assert client(lb).call("GET", "/healthz")[0] == 200
    assert max(busy) <= fast_path.AT_ONCE * len(one)


def test_stopping_closes_connections_that_beat() -> None:
    with balanced(settings=settings()) as lb:
        connection = dial(lb)
        connection.sendall(beat())
        assert answer(connection)[0] == 404
    connection.settimeout(5 * SLOWER)
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    connection.close()


def test_beats_are_answered_while_the_framework_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        assert loaded.wait(10 * SLOWER)

    monkeypatch.setattr(framework, "_load", load)
    with balanced(settings=settings()) as other, dial(other) as looks, dial(other) as leaves, dial(other) as beats:
        looks.sendall(look("/nothing"))
        assert loading.wait(10 * SLOWER)
        leaves.sendall(look("/nothing"))
        leaves.close()
        beats.sendall(beat())
        assert answer(beats)[0] == 404
        loaded.set()
        assert answer(looks)[0] == 404


def test_a_framework_that_cannot_be_loaded_is_told_of_and_beats_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("no aiohttp here")

    monkeypatch.setattr(framework, "_load", fail)
    lines: list[str] = []
    with Balancer(settings=settings(), log=lines.append) as lb:
        assert everything(lb, look("/nothing")) == b""
        assert everything(lb, beat()).startswith(b"HTTP/1.1 404 ")
    assert [line for line in lines if "no aiohttp here" in line]


def test_registrations_keep_their_connection_and_survive_its_loss(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    from lbcore import Registration

    opened = 0
    real = fast_path.FastPath.connection_made

    def counting(self: fast_path.FastPath, transport: object) -> None:
        nonlocal opened
        opened += 1
        real(self, transport)  # type: ignore[arg-type]

    monkeypatch.setattr(fast_path.FastPath, "connection_made", counting)
    monkeypatch.setattr(fast_path, "_WHOLE_S", 0.1)
    calls: list[None] = []
    with Registration(
        lb=str(lb.admin_address), port=8000, server_ip="127.0.0.1", interval=0.02, load=lambda: calls.append(None)
    ):
        wait_for(lambda: len(calls) >= 20, "it beats")
        assert opened <= 2
    lines: list[str] = []
    with Registration(
        lb=str(lb.admin_address),
        port=8000,
        server_ip="127.0.0.1",
        interval=0.3,
        load=lambda: calls.append(None),
        log=lines.append,
    ):
        monkeypatch.setattr(fast_path.FastPath, "_watch", lambda self: self._transport.abort())  # each is lost after 100 ms
        before = len(calls)
        wait_for(lambda: len(calls) >= before + 4, "it goes on")
    assert lines == []
