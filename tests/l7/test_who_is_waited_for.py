"""Time limits of an exchange: whose limit counts is who is waited for, and no limit is put off by bytes that say nothing."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import PATIENCE_S, balanced, read_all, stays, wait_for
from http_balancers import GET, OK, backend_of, dripping, figure, http
from http_peers import Backend, Client, field
from pace import paced_for, send_apart, send_late, send_paced, take_slowly
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_S = 0.4
SHORT = "400ms"
PAUSE_S = 1.0
SIZE = 12_000_000
"""More than sockets hold."""
EXPECTS = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LARGE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Acting(Backend):
    """A backend whose connections are what `act(connection)` does with them."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._act = act
        super().__init__()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self._act(connection)


def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
        data += part
    return data


def until_the_end(connection: socket.socket) -> None:
    """Take all that comes."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass


def until(over: threading.Event) -> None:
    """Read nothing."""
    over.wait(PATIENCE_S)


# --- a backend that is busy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_backend_that_takes_an_upload_late_is_not_its_clients_fault(coding: str) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(PAUSE_S)  # reads nothing meanwhile
        got = 0
        while got < SIZE:
            got += len(connection.recv(1 << 20))
        connection.sendall(OK)
        until_the_end(connection)

    limits = {"body_timeout": SHORT, "min_body_rate": "1m"}
    with Acting(late) as backend, http(backend, listener=limits, max_failed_responses=1) as lb, Client(lb.address) as client:
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        body = bytes(SIZE) if coding == "length" else chunk * (SIZE // 65536 + 1) + b"0\r\n\r\n"
        client.send(LARGE if coding == "length" else CHUNKED)
        sender = threading.Thread(target=client.send, args=(body,))
        sender.start()
        assert client.answer().status == 200
        sender.join()
        assert backend_of(lb, backend.address)["failures"] == 0
        assert backend_of(lb, backend.address)["state"] == "up"


def test_a_backend_that_takes_no_byte_of_an_upload_is_504_after_send_timeout(tmp_path: Path) -> None:
    log, over = tmp_path / "log", threading.Event()

    def pour() -> None:
        with contextlib.suppress(OSError):
            client.send(bytes(SIZE))

    with Acting(lambda _: until(over)) as backend:
        with http(backend, send_timeout=SHORT, top={"access_log": str(log)}) as lb, Client(lb.address) as client:
            began = time.monotonic()
            sender = threading.Thread(target=pour)
            client.send(LARGE)
            sender.start()
            assert client.answer().status == 504
            assert time.monotonic() - began >= LIMIT_S
            client.socket.shutdown(socket.SHUT_RDWR)
            sender.join()
            (line,) = logged(log)
            assert (line["status"], line["reason"]) == (504, "the backend did not take the request in time")
            assert figure(lb, "response_timeouts") == 1
        over.set()


def test_a_backend_that_takes_an_upload_slowly_but_steadily_is_waited_for() -> None:
    size = 400_000

    def slow(connection: socket.socket) -> None:
        take_slowly(connection, size, every_s=0.03)
        connection.sendall(OK)

    with Acting(slow) as backend:
        backend.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        with http(backend, send_timeout=SHORT, response_timeout=SHORT) as lb, Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
            assert client.answer().status == 200, "all lay in the backend's socket, and was taken bit by bit"


# --- 100 Continue ---------------------------------------------------------------------------------------------------------


def saying_100(connection: socket.socket) -> None:
    """Late, but then all is well."""
    read_head(connection)
    send_late(connection, PAUSE_S, CONTINUE)
    assert connection.recv(100) == b"sesame"
    connection.sendall(OK)
    until_the_end(connection)


def test_a_client_that_waits_for_a_late_100_is_not_slow() -> None:
    limits = {"body_timeout": SHORT, "min_body_rate": "1k"}
    with Acting(saying_100) as backend, http(backend, listener=limits) as lb, Client(lb.address) as client:
        client.send(EXPECTS)
        assert client.answer().status == 100
        client.send(b"sesame")
        assert client.answer().status == 200


def test_a_100_that_never_comes_is_the_backends_504() -> None:
    with Acting(until_the_end) as backend, http(backend, listener={"body_timeout": "100ms"}, response_timeout=SHORT) as lb:
        with Client(lb.address) as client:
            began = time.monotonic()
            client.send(EXPECTS)
            assert client.answer().status == 504
            assert time.monotonic() - began >= LIMIT_S
        assert backend_of(lb, backend.address)["failures"] == 1


@pytest.mark.parametrize("sent", [b"", b"ses"])
def test_a_body_that_stays_away_after_100_is_408(sent: bytes) -> None:
    def willing(connection: socket.socket) -> None:
        read_head(connection)
        with dripping(connection.sendall, CONTINUE, 0.1):  # the first counts
            until_the_end(connection)

    with Acting(willing) as backend, http(backend, listener={"body_timeout": SHORT}) as lb, Client(lb.address) as client:
        client.send(EXPECTS)
        assert client.answer().status == 100
        client.send(sent)
        while (answer := client.answer()).status == 100:
            pass
        assert answer.status == 408
        assert backend_of(lb, backend.address)["failures"] == 0


def test_a_client_that_does_not_wait_for_100_has_its_own_time() -> None:
    with Acting(until_the_end) as backend, http(backend, listener={"body_timeout": SHORT}) as lb, Client(lb.address) as client:
        send_apart(client.socket, EXPECTS, b"ses")
        assert client.answer().status == 408


# --- both at once ---------------------------------------------------------------------------------------------------------


def beginning(connection: socket.socket) -> None:
    """The response begins while the request still comes."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab")
    until_the_end(connection)


def test_a_client_that_falls_silent_under_a_response_is_not_the_backends_fault(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Acting(beginning) as backend, http(backend, listener={"body_timeout": SHORT}, top={"access_log": str(log)}) as lb:
        with Client(lb.address) as client:
            client.send(CHUNKED + b"1\r\nx\r\n")
            assert client.reader.head()
            assert client.reader.exactly(2) == b"ab"
            assert client.ends()
        (line,) = logged(log)
        assert (line["end"], line["by"]) == ("idle", "balancer")
        assert backend_of(lb, backend.address)["failures"] == 0
        assert figure(lb, "closed_idle") == 1


def test_a_backend_that_falls_silent_under_its_response_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    listener = {"body_timeout": "5s", "idle_timeout": SHORT}
    with Acting(beginning) as backend, http(backend, listener=listener, top={"access_log": str(log)}) as lb:
        with Client(lb.address) as client:
            client.send(GET)
            assert client.reader.head()
            assert client.reader.exactly(2) == b"ab"
            assert client.ends()
        (line,) = logged(log)
        assert (line["end"], line["by"]) == ("backend_broke_off", "backend")


# --- what says nothing puts nothing off -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    [b"X", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", CONTINUE],
    ids=["head", "103", "102", "100"],
)
def test_response_timeout_is_for_all_of_a_head_and_for_what_comes_before_it(piece: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        if piece == b"X":
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with dripping(connection.sendall, piece, 0.05):
            until_the_end(connection)

    with Acting(drip) as backend, http(backend, response_timeout=SHORT) as lb, Client(lb.address) as client:
        began = time.monotonic()
        client.send(GET)
        while (answer := client.answer()).status < 200:
            pass
        assert answer.status == 504
        assert LIMIT_S <= time.monotonic() - began < LIMIT_S + 1
        assert backend_of(lb, backend.address)["failures"] == 1
        assert figure(lb, "response_timeouts") == 1


def test_interim_responses_and_a_head_in_parts_are_fine_in_time() -> None:
    def parts(connection: socket.socket) -> None:
        read_head(connection)
        send_paced(connection, 0.1, *[b"HTTP/1.1 102 Processing\r\n\r\n"] * 3, OK[:9], OK[9:20], OK[20:])

    with Acting(parts) as backend, http(backend, response_timeout="2s") as lb, Client(lb.address) as client:
        client.send(GET)
        while (answer := client.answer()).status == 102:
            pass
        assert answer.body == b"ok"


@pytest.mark.parametrize("framing", [b"5;a=", b"1\r\nx\r\n0\r\nX-Trailer: "], ids=["extension", "trailer"])
def test_framing_of_a_request_that_drips_is_408(framing: bytes) -> None:
    with Acting(until_the_end) as backend, http(backend, listener={"body_timeout": SHORT}) as lb, Client(lb.address) as client:
        began = time.monotonic()
        client.send(CHUNKED + framing)
        with dripping(client.send):
            assert client.answer().status == 408
        assert time.monotonic() - began < LIMIT_S + 1


@pytest.mark.parametrize("framing", [b"5;a=", b"1\r\nx\r\n0\r\nX-Trailer: "], ids=["extension", "trailer"])
def test_framing_of_a_response_that_drips_is_broken_off(framing: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
        with dripping(connection.sendall):
            until_the_end(connection)

    with Acting(drip) as backend, http(backend, listener={"idle_timeout": SHORT}) as lb, Client(lb.address) as client:
        client.send(GET)
        assert client.reader.head()
        with pytest.raises(ConnectionResetError):
            read_all(client.socket)
        assert figure(lb, "closed_backend_reset") == 1


def test_content_that_drips_is_passed_on() -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        send_paced(connection, 0.05, *[b"1\r\nx\r\n"] * 16)
        connection.sendall(b"0\r\n\r\n")

    with Acting(drip) as backend, http(backend, listener={"idle_timeout": SHORT}) as lb, Client(lb.address) as client:
        assert client.get().body == b"1\r\nx\r\n" * 16 + b"0\r\n\r\n"


# --- lingering ------------------------------------------------------------------------------------------------------------


def unauthorized(connection: socket.socket) -> None:
    """Tells the client no, before it has sent all, and goes."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")


UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


def upload_slowly(client: socket.socket, for_s: float) -> None:
    """As a client does that sends all before it reads."""
    client.sendall(UPLOAD)
    for _ in paced_for(for_s, 0.05):
        client.sendall(bytes(1000))


def test_a_slow_uploader_reads_an_early_response(tmp_path: Path) -> None:
    """Of a backend and of our own, over TCP and over TLS."""
    authority = Authority(tmp_path)
    shown = CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example")))
    listeners = [
        ListenerSettings(bind=f"{mode}://127.0.0.1:0", max_body=limit, certificates=[shown] if mode == "https" else [])
        for mode in ("http", "https")
        for limit in ("0", "1k")
    ]

    def status_of(address: str, mode: str) -> bytes:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as plain:
            client = trusting(authority).wrap_socket(plain, server_hostname="a.example") if mode == "https" else plain
            with client:
                upload_slowly(client, 2.4)
                answer = read_all(client)
                assert answer.endswith((b"no", b"\n")), "all of it"
                return answer[9:12]

    with Acting(unauthorized) as backend, concurrent.futures.ThreadPoolExecutor(4) as threads:
        pool = PoolSettings(probe=ProbeSettings(kind="off"), backends=[backend.address])
        with balanced(settings=BalancerSettings(workers=1, listeners=listeners, pools=[pool])) as lb:
            at = [(entry["address"], entry["mode"]) for entry in lb.status()["listeners"]]
            assert list(threads.map(status_of, *zip(*at, strict=True))) == [b"401", b"413"] * 2


def early(**listener: Any) -> contextlib.AbstractContextManager[Any]:
    """A balancer that refuses every upload."""
    return http("127.0.0.1:9", listener={"max_body": "1k"} | listener)


def refused(client: Client) -> None:
    """It is told 413, and still has not sent all."""
    client.send(UPLOAD)
    answer = client.answer()
    assert (answer.status, field(answer.head, b"Connection")) == (413, b"close")


def test_who_sends_nothing_more_lingers_for_lingering_timeout() -> None:
    with early(lingering_timeout=SHORT) as lb, Client(lb.address) as client:
        began = time.monotonic()
        refused(client)
        wait_for(lambda: figure(lb, "closed") == 1, "it is closed")
        assert LIMIT_S * 0.9 <= time.monotonic() - began < 1.5


def test_who_never_stops_sending_lingers_for_lingering_time() -> None:
    with early(lingering_timeout=SHORT, lingering_time="900ms") as lb, Client(lb.address) as client:
        began = time.monotonic()
        refused(client)
        with dripping(client.send):
            wait_for(lambda: figure(lb, "closed") == 1, "it is closed")
        assert 0.8 <= time.monotonic() - began < 2


def test_without_lingering_time_nobody_lingers() -> None:
    with early(lingering_time="0s") as lb, Client(lb.address) as client:
        client.send(UPLOAD)
        wait_for(lambda: figure(lb, "closed") == 1, "it is closed")


@contextlib.contextmanager
def lingering(lb: Any, count: int) -> Iterator[list[Client]]:
    """So many clients that go on sending after their 413."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(lb.address)) for _ in range(count)]
        for client in clients:
            refused(client)
            stack.enter_context(dripping(client.send, every_s=0.2))
        yield clients


def test_when_many_linger_each_has_less_time() -> None:
    with early() as lb, lingering(lb, 1):
        stays(lambda: figure(lb, "active") == 1, "it has all its time", 2.3)
    top = {"max_sessions": 64}
    with http("127.0.0.1:9", listener={"max_body": "1k", "lingering_timeout": "1s"}, top=top) as lb, lingering(lb, 9):
        wait_for(lambda: figure(lb, "closed") >= 1, "they are let go", 4)


def test_who_lingers_does_not_hold_up_a_drain() -> None:
    with early() as lb, lingering(lb, 1):
        began = time.monotonic()
        lb.stop(20)
        assert time.monotonic() - began < 4
        lb.start()
