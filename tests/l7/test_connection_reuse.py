"""Whose bytes a backend's connection carries: nothing of one exchange reaches the next, and a POST is not risked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from certificates import make_certificate
from harness import PATIENCE_S, SLOWER, wait_for
from http_balancers import OK, POST, backend_of, figure, http, path_of, told
from http_peers import Backend, Client, Reader, answering, field
from pace import send_apart

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"


class Straying(Backend):
    """Answers /stray with `answer`, sends `stray` behind it after a while, and everything else with its path."""

    def __init__(self, answer: bytes, stray: bytes = STRAY, after_s: float | None = None) -> None:
        self.answer, self.stray, self.after_s = answer, stray, after_s
        self.strayed = threading.Event()
        super().__init__(self._script)

    def _script(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if path_of(head) != b"/stray":
            told(connection, path_of(head))
        elif self.after_s is None:
            connection.sendall(self.answer + self.stray)
            self.strayed.set()
        else:
            connection.sendall(self.answer)
            threading.Timer(self.after_s, self._later, [connection]).start()

    def _later(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(self.stray)
        self.strayed.set()


def ask_beside(address: tuple[str, int], count: int, until: threading.Event) -> None:
    """Ask with another client, so often and until the event: each answer must be the client's own."""
    with Client(address) as client:
        asked = 0
        while asked < count or not until.is_set():
            answer = client.get(f"/own-{asked}")
            assert (answer.status, answer.body) == (200, f"/own-{asked}".encode()), answer
            asked += 1


# --- bodies where there are none -------------------------------------------------------------------------------------


NO_BODY = {
    "head": (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"),
    "head chunked": (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "head without a length": (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    "204": (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "205": (b"GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
}


@pytest.mark.parametrize("after_s", [None, 0.0, 0.03])
@pytest.mark.parametrize("kind", NO_BODY)
def test_body_behind_a_response_that_has_none_reaches_nobody(kind: str, after_s: float | None) -> None:
    method, answer = NO_BODY[kind]
    with Straying(answer, after_s=after_s) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            backend.strayed.clear()
            assert client.get("/stray", method=method).status == int(answer[9:12])
            ask_beside(lb.address, 5, backend.strayed)
        assert client.get("/own").body == b"/own"


def test_backend_that_was_well_behaved_for_long_is_trusted_no_more_than_others() -> None:
    """A hundred HEADs of one page say nothing of another page's."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"

    def script(connection: socket.socket, request: bytes, body: bytes) -> None:
        if request.startswith(b"HEAD"):
            send_apart(connection, head)
            if path_of(request) == b"/stray":
                with contextlib.suppress(OSError):
                    connection.sendall(STRAY)
        else:
            told(connection, path_of(request))

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(100):
            assert client.get(method=b"HEAD").status == 200
        assert client.get("/stray", method=b"HEAD").status == 200
        with Client(lb.address) as other:
            deadline = time.monotonic() + 0.2
            while time.monotonic() < deadline:
                assert other.get("/own").body == b"/own"


def test_head_tells_its_backend_that_no_request_follows() -> None:
    """So the backend closes first, behind whatever it sends, and no port of ours rests in TIME_WAIT."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get()
        answer = client.get(method=b"HEAD")
        assert (answer.status, field(answer.head, b"Connection")) == (200, b"keep-alive")
        client.get()
        assert [field(head, b"Connection") for head in backend.heads] == [None, b"close", None]
        assert backend.connections == 2


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_body_behind_head_over_tls(tmp_path: Path, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "backend.example"))
    context.maximum_version = context.minimum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]

    class Secure(Straying):
        def _talk(self, connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                super()._talk(secure)

    for answer, method in ((b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"HEAD"), (OK, b"GET")):
        for after_s in (None, 0.0, 0.03):
            with (
                Secure(answer, after_s=after_s) as backend,
                http(backend, tls=True, tls_verify=False) as lb,
                Client(lb.address) as client,
            ):
                assert client.get("/stray", method=method).status == 200
                if method == b"HEAD":
                    ask_beside(lb.address, 5, backend.strayed)
                else:
                    assert backend.strayed.wait(PATIENCE_S)
                    wait_for(lambda lb=lb: figure(lb, "connections_unsolicited") == 1, "the bytes are seen")
                    assert client.get("/own").body == b"/own"


# --- bytes behind the end --------------------------------------------------------------------------------------------


ENDS = {
    "length": OK,
    "no bytes": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
}


@pytest.mark.parametrize("after_s", [None, 0.03])
@pytest.mark.parametrize("kind", ENDS)
def test_bytes_behind_a_response_close_the_connection_and_are_counted(kind: str, after_s: float | None) -> None:
    with Straying(ENDS[kind], after_s=after_s) as backend, http(backend) as lb, Client(lb.address) as client:
        assert client.get("/stray").status == 200
        assert backend.strayed.wait(PATIENCE_S)
        wait_for(lambda: figure(lb, "connections_unsolicited") == 1, "the bytes are seen")
        assert figure(lb, "connections_kept") == 0
        ask_beside(lb.address, 5, backend.strayed)
        assert backend_of(lb, backend.address)["closes_idle_after_s"] is None


def test_backend_that_sends_bytes_unasked_gets_a_connection_for_each_request() -> None:
    """Its next strays may come between our look and our request."""
    with Straying(OK) as backend, http(backend) as lb, Client(lb.address) as client:
        client.get()
        client.get()
        assert backend.connections == 1
        client.get("/stray")
        for _ in range(3):
            assert client.get("/own").body == b"/own"
        assert backend.connections == 4
        assert [field(head, b"Connection") for head in backend.heads[-3:]] == [b"close"] * 3


def test_strays_behind_every_response_reach_no_other_client() -> None:
    """Every response is followed by another one a moment later, and many clients ask at once: one sighting protects all."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        told(connection, path_of(head))
        with contextlib.suppress(OSError):
            connection.sendall(STRAY)

    wrong: list[object] = []

    def ask(address: tuple[str, int], name: int) -> None:
        with Client(address) as client:
            for number in range(40):
                answer = client.get(f"/{name}/{number}")
                if (answer.status, answer.body) != (200, f"/{name}/{number}".encode()):
                    wrong.append(answer)

    with Backend(script) as backend, http(backend, max_failed_responses=0) as lb:
        with Client(lb.address) as client:
            client.get()
        wait_for(lambda: figure(lb, "connections_unsolicited") == 1, "the first is seen")
        threads = [threading.Thread(target=ask, args=(lb.address, name)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S * SLOWER * 2)
        assert not wrong


def test_goodbye_of_an_idle_connection_is_its_end() -> None:
    """Some servers say 408 before they close an idle connection: a close like others."""

    class Polite(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.settimeout(0.2)
            try:
                while data := connection.recv(65536):
                    assert data
                    connection.sendall(OK)
            except TimeoutError:
                connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with Polite() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        client.get()
        wait_for(lambda: figure(lb, "connections_unsolicited") == 1, "it is heard")
        client.get()
        client.get()
        assert backend.connections == 2, "the backend is not distrusted for it"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_goodbye_that_meets_a_request_on_the_way(method: bytes) -> None:
    """What can be sent again is; what cannot gets the backend's word."""

    class Slow(Backend):
        def _talk(self, connection: socket.socket) -> None:
            reader = Reader(connection)
            for answer in (OK, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
                head = reader.head()
                if head is not None:
                    reader.body(head)
                    connection.sendall(answer)

    with Slow() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        for status in (200, 200 if method == b"GET" else 408):
            client.send(method + POST[4:])
            assert client.answer().status == status
        assert backend.connections == (2 if method == b"GET" else 1)


def test_408_of_a_fresh_connection_is_a_response_like_others() -> None:
    with Backend(answering(b"HTTP/1.1 408 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", end=True)) as backend:
        with http(backend) as lb, Client(lb.address) as client:
            assert [client.get().status for _ in range(3)] == [408] * 3
            assert len(backend.heads) == 3


def test_bytes_before_a_request_on_a_fresh_connection_end_it() -> None:
    """What the client gets may be the backend's word; a second response must not be the next client's."""

    class Eager(Backend):
        def _talk(self, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            super()._talk(connection)

    with Eager() as backend, http(backend, max_failed_responses=0) as lb:
        for _ in range(3):
            with Client(lb.address) as client:
                assert client.get("/").status in (200, 503)
        wait_for(
            lambda: figure(lb, "connections_unsolicited") >= 1, "they were seen"
        )  # before the request, or behind its response
        reused = figure(lb, "connections_reused")
        for _ in range(3):
            with Client(lb.address) as client:
                assert client.get("/").status in (200, 503)
        wait_for(lambda: figure(lb, "connections_kept") == 0, "none is kept")
        assert figure(lb, "connections_reused") == reused, "from then on each request has a connection of its own"


# --- other early ends ------------------------------------------------------------------------------------------------


def test_connection_of_a_response_that_came_before_its_request_was_whole_is_not_used_again() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Early(Backend):
        def _talk(self, connection: socket.socket) -> None:
            reader = Reader(connection)
            while (head := reader.head()) is not None:
                self.heads.append(head)
                if b"POST" in head:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nea")
                    begun.set()
                    go_on.wait(PATIENCE_S)
                    connection.sendall(b"rl")
                else:
                    told(connection, path_of(head))

    with Early() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n")
        assert begun.wait(PATIENCE_S)
        wait_for(lambda: client.reader.buffer or client.reader._more(), "the answer begins")
        client.send(b"GET /x HTTP/1.1\r\n\r\n"[:20].ljust(20))
        go_on.set()
        assert client.answer().body == b"earl"
        ask_beside(lb.address, 3, go_on)
        assert backend.connections == 2


def test_connection_that_was_asked_to_switch_and_did_not_is_not_used_again() -> None:
    with Straying(OK, after_s=0.03) as backend, http(backend) as lb, Client(lb.address) as client:
        assert client.get("/stray", b"Connection: Upgrade\r\nUpgrade: websocket\r\n").status == 200
        ask_beside(lb.address, 5, backend.strayed)
        assert backend.connections == 2


# --- after a failure -------------------------------------------------------------------------------------------------


class Shaky(Backend):
    """Answers /bad with 500 and closes a moment later without having said so, as uvicorn does after an exception."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        super().__init__(self._script)

    def _script(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        if path_of(head) != b"/bad":
            told(connection, path_of(head))
            return False
        connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        time.sleep(self.pause_s)  # the moment in which the next request may come
        return True


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
def test_request_that_cannot_be_repeated_avoids_a_connection_that_carried_a_5xx(method: bytes) -> None:
    with (
        Shaky(0.02) as backend,
        http(backend, backend_idle_timeout="1h", max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(5):
            assert client.get("/bad").status == 500
            client.send(method + POST[4:])
            assert client.answer().status == 200
        assert figure(lb, "requests_refused") == 0
        assert backend.bodies.count(b"hi") == 5


def test_connection_that_carried_a_5xx_serves_others_and_is_good_again_after_a_good_response() -> None:
    with (
        Shaky(3600) as backend,
        http(backend, backend_idle_timeout="1h", max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        backend.script = lambda connection, head, body: (
            connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
            if path_of(head) == b"/bad"
            else told(connection, path_of(head))
        )
        assert client.get("/bad").status == 500
        assert client.get("/good").status == 200
        client.send(POST)
        assert client.answer().status == 200
        assert backend.connections == 1


def test_close_after_a_5xx_is_not_taken_for_the_idle_time() -> None:
    with (
        Shaky(0.1) as backend,
        http(backend, backend_idle_timeout="1h", max_failed_responses=0) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(3):
            assert client.get("/bad").status == 500
            wait_for(lambda: figure(lb, "connections_kept") == 0, "the close is seen")
        assert backend_of(lb, backend.address)["closes_idle_after_s"] is None


class Forgetful(Backend):
    """Answers the first request of a connection; reads the next, and closes."""

    def _talk(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        head = reader.head()
        assert head is not None
        reader.body(head)
        told(connection, path_of(head))
        head = reader.head()
        if head is not None:
            self.heads.append(head)


def test_after_a_lost_post_the_backends_posts_take_fresh_connections() -> None:
    with Forgetful() as backend, http(backend, backend_idle_timeout="1h") as lb, Client(lb.address) as client:
        statuses = []
        for _ in range(6):
            client.send(POST)
            statuses.append(client.answer().status)
        assert statuses == [200, 502, 200, 200, 200, 200]
        assert client.get("/own").body == b"/own"
