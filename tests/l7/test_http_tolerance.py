"""Responses with a fault that only lbcore reads are taken, as nginx and HAProxy take them, and go on without it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from harness import free_port
from http_balancers import figure, http
from http_peers import Backend, Client, answering, field, fields
from real_peers import needs, running

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TAKEN = {
    "space_behind_a_chunk_size": (CHUNKED + b"2 \r\nok\r\n0\r\n\r\n", 200),
    "tab_behind_the_last_chunk_size": (CHUNKED + b"2\r\nok\r\n0\t\r\n\r\n", 200),
    "zeros_before_a_chunk_size": (CHUNKED + b"00000000000000000002\r\nok\r\n0\r\n\r\n", 200),
    "malformed_chunk_extension": (CHUNKED + b"2;bad[=x\r\nok\r\n0\r\n\r\n", 200),
    "unbalanced_quote_in_a_chunk_extension": (CHUNKED + b'2;a="b\r\nok\r\n0\r\n\r\n', 200),
    "empty_chunk_extension": (CHUNKED + b"2;\r\nok\r\n0\r\n\r\n", 200),
    "trailer_that_only_requests_have": (CHUNKED + b"2\r\nok\r\n0\r\nHost: a\r\nExpect: b\r\n\r\n", 200),
    "trailer_that_frames": (CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n", 200),
    "status_600": (b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nok", 600),
    "status_999": (b"HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\nok", 999),
    "no_reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200),
    "reason_with_obs_text": (b"HTTP/1.1 200 D\xe9j\xc3\xa0\r\nContent-Length: 2\r\n\r\nok", 200),
    "two_spaces_before_the_status": (b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    "tab_before_the_status": (b"HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    "version_1_2": (b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    "two_equal_lengths": (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200),
    "zeros_before_a_length": (OK + b"Content-Length: 000000000000000000000002\r\n\r\nok", 200),
    "coding_in_http_1_0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    "value_with_obs_text": (OK + b"X-A: \xe9\xff\r\nContent-Length: 2\r\n\r\nok", 200),
}
"""By name: what a backend sends, and the status that a client gets with the body "ok"."""
TAKEN_BY_US = {
    "space_before_a_colon": (OK + b"X-A : b\r\nContent-Length: 2\r\n\r\nok", 200),
    "tabs_before_a_colon": (OK + b"X-A\t\t: b\r\nContent-Length: 2\r\n\r\nok", 200),
    "space_before_the_colon_of_the_length": (OK + b"Content-Length : 2\r\n\r\nok", 200),
    "space_before_the_colon_of_the_coding": (OK + b"Transfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    "space_before_the_colon_of_a_hop_by_hop_field": (OK + b"Keep-Alive : timeout=5\r\nContent-Length: 2\r\n\r\nok", 200),
    "list_of_equal_lengths": (OK + b"Content-Length: 2, 2\r\n\r\nok", 200),
    "space_before_the_colon_of_a_trailer": (CHUNKED + b"2\r\nok\r\n0\r\nX-A : b\r\n\r\n", 200),
}
"""nginx 1.22 or HAProxy 2.6 answer these with 502; RFC 9112 5.1 and RFC 9110 8.6 say how they are mended."""
REFUSED = {
    "lines_that_end_in_lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "one_line_that_ends_in_lf": OK + b"X-A: b\nContent-Length: 2\r\n\r\nok",
    "folded_line": OK + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "folded_first_line": OK + b" X-A: b\r\nContent-Length: 2\r\n\r\nok",
    "two_unlike_lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length_beside_a_coding": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding_twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "identity_coding": OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    "space_in_a_name": OK + b"X A: b\r\nContent-Length: 2\r\n\r\nok",
    "nul_in_a_value": OK + b"X-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "cr_in_a_value": OK + b"X-A: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "status_99": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok",
    "status_1000": b"HTTP/1.1 1000 X\r\nContent-Length: 2\r\n\r\nok",
    "no_colon": OK + b"nonsense\r\nContent-Length: 2\r\n\r\nok",
    "space_before_a_chunk_size": CHUNKED + b" 2\r\nok\r\n0\r\n\r\n",
    "chunk_size_in_two_words": CHUNKED + b"2 2\r\nok\r\n0\r\n\r\n",
    "chunk_line_that_ends_in_lf": CHUNKED + b"2\nok\r\n0\r\n\r\n",
}


def content(body: bytes) -> bytes:
    """Of a body that may be chunked."""
    return b"ok" if body.startswith(b"2\r\nok\r\n0\r\n") else body


@pytest.mark.parametrize("name", [*TAKEN, *TAKEN_BY_US])
def test_response_is_taken_and_goes_on_without_its_fault(name: str) -> None:
    raw, status = (TAKEN | TAKEN_BY_US)[name]
    with Backend(answering(raw)) as backend, http(backend, max_failed_responses=1) as lb, Client(lb.address) as client:
        for _ in range(3):
            answer = client.get()
            assert (answer.status, content(answer.body)) == (status, b"ok")
            assert b" :" not in answer.head
            assert b"\t" not in answer.head
            assert len(fields(answer.head, b"Content-Length") + fields(answer.head, b"Transfer-Encoding")) == 1
            assert field(answer.head, b"Content-Length") in (b"2", None)
        assert backend.connections == (3 if "1_0" in name else 1)
        assert figure(lb, "responses_bad") == 0
        assert lb.status()["pools"][0]["backends"][0]["state"] == "up"


def test_a_blank_before_a_colon_is_removed_and_the_value_kept() -> None:
    raw = OK + b"X-A\t : b c \r\nX-B: d\r\nX-C :\r\nContent-Length: 2\r\n\r\nok"
    with Backend(answering(raw)) as backend, http(backend) as lb, Client(lb.address) as client:
        head = client.get().head
        assert b"\r\nX-A: b c\r\nX-B: d\r\nX-C: \r\nContent-Length: 2\r\n" in head
        assert client.get(method=b"HEAD").head.startswith(b"HTTP/1.1 200 OK\r\nX-A: b c\r\n")


@pytest.mark.parametrize("name", REFUSED)
def test_response_that_can_be_read_in_two_ways_is_refused(name: str) -> None:
    with Backend(answering(REFUSED[name], end=True)) as backend, http(backend, max_failed_responses=0) as lb:
        with Client(lb.address) as client:
            assert client.get().status == 502
        assert figure(lb, "responses_bad") == 1


@pytest.mark.parametrize("line", [b"X-A : b", b"Host : a", b"Content-Length : 0"])
def test_requests_stay_strict(line: bytes) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        assert client.get(extra=line + b"\r\n").status == 400
        assert backend.connections == 0


def test_unknown_statuses_are_counted_as_5xx_and_are_no_failures() -> None:
    raw = b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"
    with Backend(answering(raw)) as backend, http(backend, max_failed_responses=1) as lb, Client(lb.address) as client:
        assert [client.get().status for _ in range(3)] == [999] * 3
        assert figure(lb, "responses_5xx") == 3
        assert lb.status()["pools"][0]["backends"][0]["failures"] == 0


def test_the_body_of_an_unknown_status_is_read_as_any_other() -> None:
    """In pieces, and to the end of its connection."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        for piece in (b"HTTP/1.1 7", b"77\r\nX-A ", b": b\r\n", b"\r\n", b"to the end"):
            connection.sendall(piece)
        return True

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        answer = client.get()
        assert (answer.status, answer.body) == (777, b"to the end")
        assert field(answer.head, b"X-A") == b"b"


# --- beside others ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nginx_before(address: str, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{address}; proxy_http_version 1.1; }} }} }}\n"
    )
    with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port, tmp_path):
        yield port


@contextlib.contextmanager
def haproxy_before(address: str, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s {address}\n"
    )
    with running(["haproxy", "-f", str(tmp_path / "haproxy.cfg")], port, tmp_path):
        yield port


def by_path(connection: socket.socket, head: bytes, body: bytes) -> bool:
    name = head.split(b" ")[1][1:].decode()
    if name in TAKEN:
        connection.sendall(TAKEN[name][0])
    return True


@pytest.mark.parametrize(
    "before", [pytest.param(nginx_before, marks=needs("nginx")), pytest.param(haproxy_before, marks=needs("haproxy"))]
)
def test_others_take_them_too(before: object, tmp_path: Path) -> None:
    """What is taken here is what they take: no backend works behind them and fails behind lbcore."""
    with Backend(by_path) as backend, before(backend.address, tmp_path) as port:  # type: ignore[operator]
        for name, (_, status) in TAKEN.items():
            with Client(("127.0.0.1", port)) as client:
                answer = client.get(f"/{name}")
                assert (name, answer.status, content(answer.body)) == (name, status, b"ok")


@needs("nginx")
def test_nginx_reads_what_we_make_of_them(tmp_path: Path) -> None:
    """As the other reader, in front of us."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall((TAKEN | TAKEN_BY_US)[head.split(b" ")[1][1:].decode()][0])
        return True

    with Backend(script) as backend, http(backend) as lb:
        host, port = lb.address
        with nginx_before(f"{host}:{port}", tmp_path) as nginx:
            for name, (_, status) in (TAKEN | TAKEN_BY_US).items():
                with Client(("127.0.0.1", nginx)) as client:
                    answer = client.get(f"/{name}", extra=b"Connection: close\r\n")
                    assert (name, answer.status, content(answer.body)) == (name, status, b"ok")
