"""When backends or clients fail: evidence, time limits, the queue, and what clients are told."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
import time

import pytest
from harness import SLOWER, command, reset, stays, totals, wait_for
from http_balancers import GET, OK, backend_of, figure, http
from http_peers import Backend, Client, answering, field, narrow
from pace import take_slowly

# --- evidence --------------------------------------------------------------------------------------------------------


def test_failed_answers_in_a_row_take_a_backend_out_and_client_errors_never() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        status = b"404" if b"/missing" in head else b"503"
        connection.sendall(b"HTTP/1.1 %s X\r\nContent-Length: 0\r\n\r\n" % status)

    with Backend(script) as bad, Backend() as good, http(bad, good, max_failed_responses=4, retry_after="1h") as lb:
        with Client(lb.address) as client:
            for _ in range(30):
                client.get("/missing")
            assert backend_of(lb, bad.address)["state"] == "up"
            for _ in range(8):
                client.get("/x")
            wait_for(lambda: backend_of(lb, bad.address)["state"] == "down", "it is taken out")
            assert backend_of(lb, bad.address)["reason"] == "4 responses failed in a row: status 503"
            assert {client.get("/x").status for _ in range(10)} == {200}


def test_501_and_505_say_nothing_of_the_backend() -> None:
    with (
        Backend(answering(b"HTTP/1.1 501 X\r\nContent-Length: 0\r\n\r\n")) as backend,
        http(backend, max_failed_responses=2) as lb,
    ):
        with Client(lb.address) as client:
            for _ in range(6):
                assert client.get().status == 501
        assert backend_of(lb, backend.address)["failures"] == 0


# --- time ------------------------------------------------------------------------------------------------------------


def test_slow_head_is_408() -> None:
    with Backend() as backend, http(backend, listener={"header_timeout": "200ms"}) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        started = time.monotonic()
        threading.Timer(0.1, lambda: client.send(b"st")).start()
        assert client.answer().status == 408
        assert time.monotonic() - started < 1 * SLOWER
        assert client.ends()
        assert backend.connections == 0


def test_slow_head_behind_a_head_request_is_408_with_its_body() -> None:
    with Backend() as backend, http(backend, listener={"header_timeout": "200ms"}) as lb, Client(lb.address) as client:
        assert client.get(method=b"HEAD").status == 200
        client.send(b"GET / HTTP/1.1\r\nHo")
        answer = client.answer()
        assert (answer.status, str(len(answer.body)).encode()) == (408, field(answer.head, b"Content-Length"))


def test_empty_line_behind_a_request_is_not_the_beginning_of_another() -> None:
    """Old clients send one behind a body (RFC 9112 2.2): an answer that nobody asked for would be taken for the next one's."""
    limits = {"header_timeout": "100ms", "keepalive_timeout": f"{400 * SLOWER}ms"}
    with Backend() as backend, http(backend, listener=limits) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n")
        assert client.answer().status == 200
        stays(lambda: figure(lb, "closed") == 0, "the time of a head does not run", 0.2)
        client.send(b"GET / HTTP/1.1\r\n")
        client.send(b"Host: a\r\n\r\n")
        assert client.answer().status == 200
        client.send(b"\r\n")
        assert client.ends()
        assert figure(lb, "closed_idle") == 1


def test_slow_body_is_408_and_frees_the_backend() -> None:
    with Backend() as backend, http(backend, listener={"body_timeout": "200ms"}) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab")
        assert client.answer().status == 408
        assert backend.ended.wait(5)
        assert backend_of(lb, backend.address)["failures"] == 0


def test_late_answer_is_504_and_counts_against_the_backend() -> None:
    with Backend(lambda c, h, b: not c.recv(1)) as backend, http(backend, response_timeout="200ms") as lb:
        with Client(lb.address) as client:
            answer = client.get()
            assert (answer.status, field(answer.head, b"Connection")) == (504, b"keep-alive")
            assert figure(lb, "response_timeouts") == 1
            assert backend_of(lb, backend.address)["failures"] == 1
            assert len(backend.heads) == 1


def test_idle_client_is_let_go() -> None:
    with Backend() as backend, http(backend, listener={"keepalive_timeout": "200ms"}) as lb, Client(lb.address) as client:
        client.get()
        started = time.monotonic()
        assert client.ends()
        assert 0.1 < time.monotonic() - started < 1.5 * SLOWER
        assert figure(lb, "closed_idle") == 1


def test_answer_that_stalls_is_broken_off() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    with Backend(script) as backend, http(backend, listener={"idle_timeout": "200ms"}) as lb, Client(lb.address) as client:
        client.send(GET)
        assert client.reader.head() is not None
        assert client.reader.exactly(2) == b"ab"
        assert client.ends()


# --- the queue and max_active ----------------------------------------------------------------------------------------


class Counting(Backend):
    """Knows how many requests it had at once."""

    def __init__(self, hold_s: float) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.hold_s = hold_s
        super().__init__(self._hold)

    def _hold(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.hold_s)  # in which others would come, if they could
        with self.lock:
            self.now -= 1
        connection.sendall(OK)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_backend_of_one_request_at_a_time_never_gets_two(workers: int) -> None:
    with Counting(0.01) as one, Counting(0.01) as two, http(one, two, max_active=1, workers=workers, queue_timeout="30s") as lb:

        def ask() -> None:
            for _ in range(5):
                with Client(lb.address) as client:
                    assert client.get().status == 200

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (one.most, two.most) == (1, 1)
        assert len(one.heads) + len(two.heads) == 80
        assert figure(lb, "requests_queued") > 0
        assert figure(lb, "queued") == 0


def test_queue_is_first_come_first_served_and_bounded() -> None:
    with Counting(0.8) as backend, http(backend, max_active=1, queue=3) as lb, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(lb.address)) for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            wait_for(lambda n=number: figure(lb, "requests") == n + 1, "it is read")  # type: ignore[misc]
        assert lb.status()["pools"][0]["queued"] == 3
        assert clients[4].answer().status == 503
        assert [client.answer().status for client in clients[:4]] == [200] * 4
        assert [head.split(b" ")[1] for head in backend.heads] == [b"/0", b"/1", b"/2", b"/3"]


def test_queue_deadline_is_503() -> None:
    with Counting(1.0) as backend, http(backend, max_active=1, queue_timeout="200ms") as lb:
        with Client(lb.address) as first, Client(lb.address) as second:
            first.send(GET)
            wait_for(lambda: backend.heads, "the first is under way")
            answer = second.get()
            assert answer.status == 503
            assert field(answer.head, b"Retry-After")
            assert first.answer().status == 200


def test_requests_wait_for_a_backend_that_comes() -> None:
    with Backend() as backend, http(queue=10, queue_timeout="10s") as lb, Client(lb.address) as client:
        client.send(GET)
        wait_for(lambda: figure(lb, "queued") == 1, "it waits")
        lb.pool().add(backend.address)
        assert client.answer().status == 200


def test_client_that_leaves_the_queue_is_forgotten() -> None:
    with Counting(0.3) as backend, http(backend, max_active=1) as lb, Client(lb.address) as first:
        first.send(GET)
        wait_for(lambda: backend.heads, "the first is under way")
        waiting = [Client(lb.address) for _ in range(3)]
        for client in waiting:
            client.send(GET)
        wait_for(lambda: figure(lb, "queued") == 3, "three wait")
        waiting[1].close()
        wait_for(lambda: figure(lb, "queued") == 2, "one has left")
        reset(waiting[0].socket)
        wait_for(lambda: figure(lb, "queued") == 1, "another one")
        assert first.answer().status == 200
        assert waiting[2].answer().status == 200
        waiting[2].close()
        assert len(backend.heads) == 2


def test_removed_backend_cuts_its_exchanges_at_the_deadline() -> None:
    def stall(connection: socket.socket, head: bytes, body: bytes) -> bool:
        with contextlib.suppress(OSError):
            connection.recv(1)
        return True

    with Backend(stall) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(GET)
        wait_for(lambda: backend.heads, "it is under way")
        lb.pool().remove(backend.address, drain_timeout=0.1)
        assert client.ends()
        wait_for(lambda: figure(lb, "requests_stopped") == 1, "it is counted")


# --- local responses -------------------------------------------------------------------------------------------------


def test_error_body_is_configurable() -> None:
    listener = {
        "error_body": '{{"code": {status}, "why": "{reason}"}}'.replace("{{", "{").replace("}}", "}"),
        "error_type": "application/json",
    }
    with http(listener=listener) as lb, Client(lb.address) as client:
        answer = client.get()
        assert answer.status == 503
        assert answer.body == b'{"code": 503, "why": "no backend can take the request"}'
        assert field(answer.head, b"Content-Type") == b"application/json"
        assert field(answer.head, b"Date")


def test_client_is_kept_after_an_answer_of_our_own() -> None:
    with http() as lb, Client(lb.address) as client:
        assert [client.get().status for _ in range(3)] == [503] * 3


# --- a worker that dies ----------------------------------------------------------------------------------------------


def test_killed_worker_costs_only_its_own_exchanges(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import os

    with Backend() as backend:
        arguments = ["--listen", "http://127.0.0.1:0", "--backend", backend.address, "--health", "off"]
        with command(tmp_path, *arguments) as running:
            with Client(running.address) as client:
                assert client.get().status == 200
                os.kill(running.status()["workers"][0]["pid"], signal.SIGKILL)
                wait_for(client.ends, "its connection ends")
            with Client(running.address) as client:
                assert client.get().status == 200
            assert totals(running.status())["closed_lost"] == 1


# --- what the status says --------------------------------------------------------------------------------------------


def test_status_names_a_backend_whose_keep_alive_is_too_short(tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Impatient(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while connection.recv(65536):
                    connection.sendall(OK)

    with Impatient() as backend:
        arguments = ["--listen", "http://127.0.0.1:0", "--backend", backend.address, "--health", "off"]
        with command(tmp_path, *arguments) as running, Client(running.address) as client:
            client.get()
            wait_for(lambda: running.status()["pools"][0]["backends"][0]["closes_idle_after_s"], "the close is seen")
            said = running.cli("status").stdout
            assert re.search(rf"{backend.address} closes idle connections after [0-2]\.\d", said), said
            assert "keep-alive too short" in said


def test_client_that_takes_nothing_is_let_go() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000)
    with Backend(script) as backend, http(backend, listener={"body_timeout": "300ms"}) as lb, Client(lb.address) as client:
        client.send(GET)
        wait_for(lambda: figure(lb, "requests_failed") == 1, "it is given up")
        assert backend.ended.wait(5)


@pytest.mark.parametrize("datapath", ["copy", "splice"])
def test_a_client_that_takes_slowly_but_steadily_is_not_let_go(datapath: str) -> None:
    """What is held for it, up to a pipe of 1 MiB, takes longer than body_timeout: as long as some of it goes, it is served."""
    body = 1_000_000
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body + b"x" * body)
    listener, top = {"body_timeout": "300ms"}, {"datapath": datapath}
    with Backend(script) as backend, http(backend, listener=listener, top=top) as lb, narrow(lb.address) as client:
        client.sendall(GET)
        take_slowly(client, body)
        wait_for(lambda: figure(lb, "requests_done") == 1, "it has all")


def test_slow_clients_at_every_stage_do_not_keep_others_from_being_served() -> None:
    """Many clients that send half a head, or a byte of a body: the next one is answered as ever."""
    with Backend() as backend, http(backend) as lb, contextlib.ExitStack() as stack:
        for number in range(300):
            slow = stack.enter_context(Client(lb.address))
            if number % 2:
                slow.send(b"GET / HTTP/1.1\r\nX-Slow: " + b"y" * number)
            else:
                slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx")
        with Client(lb.address) as client:
            for _ in range(20):
                assert client.get().status == 200


def test_surplus_behind_an_answer_is_not_the_next_clients() -> None:
    """Read up to its length, an answer leaves what follows it unread: that connection is not kept."""
    body = bytes(50_000)
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"

    class Lying(Backend):
        def _talk(self, connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + body + evil)

    with Lying() as backend, http(backend) as lb:
        for _ in range(20):
            with Client(lb.address) as client:
                assert client.get("/").body == body
