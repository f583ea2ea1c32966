"""min_body_rate: who sends or takes a body too slowly is ended, and nobody else: not who waits for a backend."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from access_lines import logged
from harness import Peer, balanced, echo, wait_for
from http_balancers import GET, OK, backend_of, dripping, figure, http
from http_peers import Backend, Client, answering, field, narrow
from pace import paced, send_late, send_paced, sips, take_slowly
from tls_peers import Authority, trusting

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SPAN_S = 1.0
LIMITS = {"body_timeout": "1s", "min_body_rate": "1k"}
LONG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- who sends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "piece"), [(LONG, b"x"), (CHUNKED, b"1\r\nx\r\n")])
def test_a_body_that_drips_is_408_and_frees_the_backend(tmp_path: Path, head: bytes, piece: bytes) -> None:
    log = tmp_path / "log"
    top = {"access_log": str(log)}
    with Backend() as backend, http(backend, listener=LIMITS, top=top) as lb, Client(lb.address) as client:
        began = time.monotonic()
        client.send(head)
        with dripping(client.send, piece):
            answer = client.answer()
            assert (answer.status, field(answer.head, b"Connection")) == (408, b"close")
            assert time.monotonic() - began >= SPAN_S, "it had its time"
            assert backend.ended.wait(5)
            assert client.ends()
        assert (figure(lb, "requests_slow"), figure(lb, "requests_refused"), figure(lb, "closed_slow")) == (1, 1, 0)
        assert backend_of(lb, backend.address)["failures"] == 0
        (line,) = logged(log)
        assert (line["status"], line["end"], line["reason"]) == (408, "local_response", "the request comes too slowly")


def test_a_body_that_drips_over_tls_is_408(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = CertificateSettings(cert=str(authority.issue("a.example", "DNS:a.example")))
    with Backend() as backend:
        listener = ListenerSettings(bind="https://127.0.0.1:0", certificates=[shown], **LIMITS)
        pool = PoolSettings(probe=ProbeSettings(kind="off"), backends=[backend.address])
        settings = BalancerSettings(workers=1, listeners=[listener], pools=[pool])
        with balanced(settings=settings) as lb, socket.create_connection(lb.address, 10) as plain:
            with trusting(authority).wrap_socket(plain, server_hostname="a.example") as client:
                client.sendall(LONG)
                for _ in range(200):
                    client.sendall(b"x")
                    with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                        client.settimeout(0.05)
                        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")
                        break
            assert figure(lb, "requests_slow") == 1


def test_a_body_that_was_quick_and_drips_now_is_ended() -> None:
    with Backend() as backend, http(backend, listener=LIMITS) as lb, Client(lb.address) as client:
        client.send(LONG + bytes(900_000))
        with dripping(client.send):
            assert client.answer().status == 408
        assert figure(lb, "requests_slow") == 1


def test_a_body_that_comes_as_quickly_as_it_must_is_passed_on() -> None:
    with Backend() as backend, http(backend, listener=LIMITS) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
        send_paced(client.socket, 0.1, *[bytes(3000)] * 20)  # for two seconds, thirty times as quickly
        assert client.answer().status == 200
        assert backend.bodies == [bytes(60000)]
        assert figure(lb, "requests_slow") == 0


def test_each_request_of_a_connection_has_its_own_time() -> None:
    with Backend() as backend, http(backend, listener=LIMITS) as lb, Client(lb.address) as client:
        for _ in range(6):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            send_paced(client.socket, SPAN_S / 4, b"h")
            client.send(b"i")
            assert client.answer().status == 200
        assert figure(lb, "requests_done") == 6


def test_a_backend_that_reads_slowly_excuses_its_client() -> None:
    """The client would send more than it must, but the backend does not take it."""
    size = 1_500_000

    class Slow(Backend):
        def _talk(self, connection: socket.socket) -> None:
            take_slowly(connection, size, 16384, 0.03)
            connection.sendall(OK)

    with Slow() as backend, http(backend, listener={**LIMITS, "min_body_rate": "10m"}) as lb, Client(lb.address) as client:
        backend.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        backend.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=client.send, args=(bytes(size),))
        sender.start()
        began = time.monotonic()
        assert client.answer().status == 200
        assert time.monotonic() - began > 2 * SPAN_S, "it took several looks"
        sender.join()


def test_who_waits_for_100_has_its_time_from_then_on() -> None:
    class Slow(Backend):
        def _talk(self, connection: socket.socket) -> None:
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                data += connection.recv(65536)
            send_late(connection, SPAN_S * 0.8, b"HTTP/1.1 100 Continue\r\n\r\n")
            got = 0
            while got < 6000:
                got += len(connection.recv(65536))
            connection.sendall(OK)

    with Slow() as backend, http(backend, listener=LIMITS) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6000\r\n\r\n")
        assert client.answer().status == 100
        # it ends after more than body_timeout, but not after more than that since 100 came
        send_paced(client.socket, SPAN_S / 8, *[bytes(1500)] * 4)
        assert client.answer().status == 200


def test_a_body_that_drips_under_an_answer_ends_the_connection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    early = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")

    class Early(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.recv(65536)
            early(connection, b"", b"")
            while connection.recv(65536):
                pass

    with Early() as backend, http(backend, listener=LIMITS, top={"access_log": str(log)}) as lb, Client(lb.address) as client:
        client.send(LONG)
        assert client.reader.head() is not None
        assert client.reader.exactly(2) == b"ab"
        with dripping(client.send):
            assert client.ends()
        assert (figure(lb, "requests_slow"), figure(lb, "closed_slow")) == (0, 1)
        (line,) = logged(log)
        assert (line["status"], line["end"], line["by"]) == (200, "client_slow", "balancer")


# --- who takes ------------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_taken_too_slowly_is_broken_off(tmp_path: Path) -> None:
    log, body = tmp_path / "log", 5_000_000
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body + bytes(body))
    limits = {"body_timeout": "1s", "min_body_rate": "1m"}
    with Backend(script) as backend, http(backend, listener=limits, top={"access_log": str(log)}) as lb:
        with narrow(lb.address) as client:
            client.sendall(GET)
            with contextlib.suppress(ConnectionResetError):  # half an answer must not look whole
                for _ in sips(client, every_s=0.05):
                    pass
        wait_for(lambda: figure(lb, "closed_slow") == 1, "it is ended for that")
        (line,) = logged(log)
        assert (line["end"], line["by"]) == ("client_slow", "balancer")
        assert backend_of(lb, backend.address)["failures"] == 0


def test_an_answer_that_is_taken_quickly_enough_is_delivered() -> None:
    body = 1_000_000
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body + bytes(body))
    limits = {"body_timeout": "1s", "min_body_rate": "20k"}
    with Backend(script) as backend, http(backend, listener=limits) as lb, narrow(lb.address) as client:
        client.sendall(GET)
        take_slowly(client, body)
        wait_for(lambda: figure(lb, "requests_done") == 1, "it has all")


def test_a_backend_that_sends_slowly_excuses_its_client() -> None:
    """A stream of events has no rate: whoever takes all that there is, is quick."""

    def events(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        send_paced(connection, 0.05, *[b"x"] * 40)
        return False

    limits = {"body_timeout": "200ms", "min_body_rate": "1m"}
    with Backend(events) as backend, http(backend, listener=limits) as lb, Client(lb.address) as client:
        assert client.get().body == b"x" * 40
        assert figure(lb, "closed_slow") == 0


# --- what has no bodies ---------------------------------------------------------------------------------------------------


def test_an_upgraded_connection_has_no_rate() -> None:
    def upgrade(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        echo(connection)
        return True

    limits = {"body_timeout": "200ms", "min_body_rate": "1m"}
    with Backend(upgrade) as backend, http(backend, listener=limits) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        assert client.answer().status == 101
        for _ in paced(10, 0.1):
            client.send(b"x")
            assert client.reader.exactly(1) == b"x"


def test_off_by_default_and_a_reload_turns_it_on_for_bodies_under_way() -> None:
    with Backend() as backend, Peer(echo):
        pool = PoolSettings(probe=ProbeSettings(kind="off"), backends=[backend.address])
        listener = ListenerSettings(name="a", bind="http://127.0.0.1:0", body_timeout="300ms")
        settings = BalancerSettings(workers=1, listeners=[listener], pools=[pool])
        with balanced(settings=settings) as lb, Client(lb.address) as client:
            client.send(LONG)
            with dripping(client.send):
                client.socket.settimeout(1.2)
                with pytest.raises(TimeoutError):
                    client.answer()
                client.socket.settimeout(10)
                lb.reload(settings.replace(listeners=[listener.replace(min_body_rate="1k")]))
                assert client.answer().status == 408


def listener_fault(**values: Any) -> list[str]:
    """What a listener says of these."""
    with pytest.raises(ConfigError) as caught:
        ListenerSettings(**values)
    return list(caught.value.problems)


def test_a_rate_that_cannot_be_is_one_clear_line() -> None:
    assert listener_fault(bind="tcp://127.0.0.1:0", min_body_rate=5) == [
        "min_body_rate: only for mode http or https, this is tcp"
    ]
    assert "min_body_rate: '2g' is not allowed (allowed: a size from 0 to 1g)" in listener_fault(
        bind="http://127.0.0.1:0", min_body_rate="2g"
    )
