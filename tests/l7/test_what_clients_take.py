"""Interim responses, Keep-Alive and 417: what a client is told that other programs than browsers can take."""

from __future__ import annotations

import shutil
import socket
import subprocess
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, wait_for
from http_balancers import OK, figure, http, settings_of
from http_peers import Backend, Client, Reader, answering, field

if TYPE_CHECKING:
    from pathlib import Path

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
NAVIGATE = b"Sec-Fetch-Mode: navigate\r\n"


# --- early hints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hints", "extra", "passed"),
    [
        ("browsers", b"", False),
        ("browsers", b"Sec-Fetch-Mode: cors\r\n", False),
        ("browsers", b"Sec-Fetch-Mode: navigate-x\r\n", False),
        ("browsers", NAVIGATE, True),
        ("browsers", b"sec-fetch-mode:navigate \r\n", True),
        ("always", b"", True),
        ("never", NAVIGATE, False),
    ],
)
@pytest.mark.parametrize("status", [b"103 Early Hints", b"102 Processing", b"104 Upload Resumption Supported", b"199 Odd"])
def test_early_hints_go_to_those_who_take_them(hints: str, extra: bytes, passed: bool, status: bytes) -> None:
    raw = HINTS.replace(b"103 Early Hints", status)
    with (
        Backend(answering(raw + raw + OK)) as backend,
        http(backend, listener={"early_hints": hints}) as lb,
        Client(lb.address) as client,
    ):
        for _ in range(2):
            answers = [client.get(extra=extra)]
            while answers[-1].status < 200:
                answers.append(client.answer())
            assert [answer.status for answer in answers] == ([int(status[:3])] * 2 if passed else []) + [200]
            assert answers[-1].body == b"ok"
        assert figure(lb, "responses_1xx") == (4 if passed else 0)


@pytest.mark.parametrize("hints", ["browsers", "never"])
def test_100_continue_is_not_a_hint(hints: str) -> None:
    class Continuing(Backend):
        def _talk(self, connection: socket.socket) -> None:
            self.heads.append(connection.recv(65536))
            connection.sendall(HINTS + b"HTTP/1.1 100 Continue\r\n\r\n")
            self.bodies.append(connection.recv(65536))
            connection.sendall(OK)

    with Continuing() as backend, http(backend, listener={"early_hints": hints}) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.answer().status == 100
        client.send(b"hello")
        assert client.answer().body == b"ok"


def test_urllib_gets_its_own_responses_behind_early_hints() -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        path = head.split()[1]
        connection.sendall(HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    with Backend(script) as backend, http(backend) as lb:
        kept = HTTPConnection(*lb.address, timeout=10)
        for path in ("/one", "/two", "/three"):
            kept.request("GET", path)
            assert kept.getresponse().read() == path.encode()
        kept.close()


# --- Keep-Alive -------------------------------------------------------------------------------------------------------


def told(head: bytes) -> tuple[bytes | None, bytes | None]:
    """What a response says of its connection."""
    return field(head, b"Connection"), field(head, b"Keep-Alive")


def test_clients_are_told_how_long_their_connection_is_kept() -> None:
    script = answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=3, max=7\r\n\r\nok"
    )
    with Backend(script) as backend, http(backend, listener={"keepalive_timeout": "75s"}) as lb:
        with Client(lb.address) as client:
            for _ in range(2):
                assert told(client.get().head) == (b"keep-alive", b"timeout=75")
            assert told(client.get(extra=b"Connection: close\r\n").head) == (b"close", None)
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert told(client.answer().head) == (b"keep-alive", b"timeout=75")
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert told(client.answer().head) == (b"close", None)


def test_local_responses_say_it_too() -> None:
    with (
        Backend() as backend,
        balanced(settings=settings_of({"x": backend}, [{"path": "/x", "pool": "x"}], default=None)) as lb,
    ):
        with Client(lb.address) as client:
            for _ in range(2):
                answer = client.get("/missing")
                assert (answer.status, told(answer.head)) == (404, (b"keep-alive", b"timeout=60"))
            answer = client.get("/%zz")
            assert (answer.status, told(answer.head)) == (400, (b"close", None))


@pytest.mark.parametrize(
    ("timeout", "said"), [("1s", b"timeout=1"), ("1500ms", b"timeout=1"), ("900ms", None), ("24h", b"timeout=86400")]
)
def test_no_more_than_what_is_kept_is_told(timeout: str, said: bytes | None) -> None:
    with Backend() as backend, http(backend, listener={"keepalive_timeout": timeout}) as lb, Client(lb.address) as client:
        assert field(client.get().head, b"Keep-Alive") == said


def test_connection_that_ends_and_one_that_switches_say_nothing_of_it() -> None:
    with (
        Backend(answering(b"HTTP/1.1 200 OK\r\n\r\nto the end", end=True)) as backend,
        http(backend) as lb,
        Client(lb.address) as client,
    ):
        assert told(client.get().head) == (b"close", None)
    switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    with Backend(answering(switching, end=True)) as backend, http(backend) as lb, Client(lb.address) as client:
        assert told(client.get(extra=b"Connection: Upgrade\r\nUpgrade: x\r\n").head) == (b"Upgrade", None)
    required = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
    with Backend(answering(required)) as backend, http(backend) as lb, Client(lb.address) as client:
        assert told(client.get().head) == (b"Upgrade, keep-alive", b"timeout=60")


# --- 417 --------------------------------------------------------------------------------------------------------------

EXPECTING = b"POST /up?x HTTP/1.1\r\nHost: a\r\n%s\r\nExpect: 100-continue\r\n\r\n"
REPEATED = b"POST /up?x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nagain"


class Strict(Backend):
    """A backend that knows no expectation, and reads no body behind one."""

    def _talk(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        while (head := reader.head()) is not None:
            self.heads.append(head)
            if b"Expect" in head:
                connection.sendall(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
                self.raw += connection.recv(65536)
                return
            self.bodies.append(reader.body(head))
            connection.sendall(OK)


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Content-Length: 5000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_417_of_a_backend_leaves_the_connection_to_the_request_without_expect(framing: bytes, step: int) -> None:
    with Strict() as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(EXPECTING % framing)
            answer = client.answer()
            assert (answer.status, answer.body, told(answer.head)) == (417, b"no", (b"keep-alive", b"timeout=60"))
            for at in range(0, len(REPEATED), step):
                client.send(REPEATED[at : at + step])
            assert client.answer().body == b"ok"
        assert backend.bodies == [b"again", b"again"]
        assert figure(lb, "accepted") == 1


@pytest.mark.parametrize("body", [b"hello", b"POST /up", b"POST /ot HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n"])
def test_body_that_comes_behind_a_417_is_no_request(body: bytes) -> None:
    with Strict() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(EXPECTING % b"Content-Length: %d" % len(body))
        assert client.answer().status == 417
        client.send(body + (b"" if body == b"POST /up" else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        if body == b"POST /up":
            client.send(b"?x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert client.answer().body == b"ok"
        assert len(backend.heads) == 2
        assert backend.raw == b""


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 100000", b"x" * 100_000), (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n")],
)
def test_long_body_behind_a_417_ends_the_connection(framing: bytes, body: bytes) -> None:
    with Strict() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(EXPECTING % framing)
        assert client.answer().status == 417
        client.send(body)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.ends()
        assert len(backend.heads) == 1


PROXIES: list[tuple[dict[str, Any], bytes]] = [
    ({"trusted_proxies": ["127.0.0.1/32"]}, b""),
    ({"trusted_proxies": ["127.0.0.1/32"], "accept_proxy": True}, b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"),
]


@pytest.mark.parametrize(("listener", "introduction"), PROXIES)
def test_body_that_a_proxy_passes_on_behind_a_417_writes_no_request(listener: dict[str, Any], introduction: bytes) -> None:
    """It is a stranger's, who would write the fields that only the proxy may."""
    forged = b"POST /up?x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\nContent-Length: 0\r\n\r\n"
    with Strict() as backend, http(backend, listener=listener) as lb, Client(lb.address) as client:
        client.send(introduction + EXPECTING % b"Content-Length: %d" % len(forged))
        answer = client.answer()
        assert (answer.status, told(answer.head)) == (417, (b"close", None))
        client.send(forged)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.ends()
        assert len(backend.heads) == 1


def test_417_behind_a_body_that_had_begun_closes_as_any_early_response() -> None:
    with Strict() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(EXPECTING % b"Content-Length: 5" + b"he")
        answer = client.answer()
        assert (answer.status, told(answer.head)) == (417, (b"close", None))


def test_silent_client_behind_a_417_ends_in_time_and_a_drain_says_close() -> None:
    with Strict() as backend, http(backend, listener={"keepalive_timeout": "300ms", "header_timeout": "300ms"}) as lb:
        for part in (b"", b"POST"):
            with Client(lb.address) as client:
                client.send(EXPECTING % b"Content-Length: 5")
                assert client.answer().status == 417
                client.send(part)
                assert client.ends()


def test_curl_repeats_a_417_without_expect_on_the_same_connection(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "body").write_bytes(b"x" * 2_000_000)
    with Strict() as backend, http(backend) as lb:
        url = "http://{}:{}/up".format(*lb.address)
        line = [
            "curl",
            "-s",
            "--expect100-timeout",
            "10",
            "--data-binary",
            f"@{tmp_path}/body",
            url,
        ]
        assert subprocess.run(line, capture_output=True, timeout=30, check=True).stdout == b"ok"
        assert [len(body) for body in backend.bodies] == [2_000_000]
        wait_for(lambda: figure(lb, "active") == 0, "curl has gone")
        assert figure(lb, "accepted") == 1
