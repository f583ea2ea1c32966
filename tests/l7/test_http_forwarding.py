"""What an exchange does, seen from both sides: the very bytes that the backend receives, and those that the client gets."""

from __future__ import annotations

import re
import socket

import pytest
from harness import wait_for
from http_balancers import figure, http
from http_cases import CHUNKED_REFUSED, FRAMING, REFUSED
from http_peers import Backend, Client, field, fields


def test_request_line_and_fields_pass_byte_for_byte() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET /A%2fb/../c?d=%41 HTTP/1.1\r\nHOST: A.example:80\r\nx-odd:  a \t b\xe9 \r\nX-Empty:\r\n\r\n")
        assert client.answer().status == 200
        head = backend.heads[0]
        assert head.startswith(b"GET /A%2fb/../c?d=%41 HTTP/1.1\r\nHOST: A.example:80\r\nx-odd:  a \t b\xe9 \r\nX-Empty:\r\n")


def test_hop_by_hop_fields_and_nominated_ones_are_removed() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get(
            extra=b"Connection: keep-alive, X-Mine, X-OTHER\r\nX-Mine: 1\r\nKeep: 2\r\nX-Other: 3\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nLast: 4\r\n"
        )
        head = backend.heads[0]
        for gone in (
            b"Connection",
            b"X-Mine",
            b"X-Other",
            b"Keep-Alive",
            b"Proxy-Connection",
            b"TE",
            b"Upgrade",
            b"HTTP2-Settings",
        ):
            assert field(head, gone) is None, gone
        assert (field(head, b"Keep"), field(head, b"Last")) == (b"2", b"4")


def test_connection_cannot_take_away_host_or_length() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: Host, Content-Length\r\n\r\nhi")
        assert client.answer().status == 200
        assert field(backend.heads[0], b"Host") == b"a"
        assert backend.bodies == [b"hi"]


def test_forwarding_fields_of_a_stranger_are_replaced() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.get(
            extra=b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
            b"Forwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\nVia: 1.1 before\r\n"
        )
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-For") == b"127.0.0.1"
        assert field(head, b"X-Forwarded-Proto") == b"http"
        assert field(head, b"X-Forwarded-Host") == b"a.example"
        assert field(head, b"Forwarded") == b'for=127.0.0.1;host="a.example";proto=http'
        assert re.fullmatch(rb"[0-9a-f]{32}", field(head, b"X-Request-Id") or b"")
        assert fields(head, b"Via") == [b"1.1 before", b"1.1 lbcore"]


def test_forwarding_fields_of_a_trusted_proxy_are_appended() -> None:
    with (
        Backend() as backend,
        http(backend, listener={"trusted_proxies": ["10.0.0.0/8", "127.0.0.0/30"]}) as lb,
        Client(lb.address) as client,
    ):
        client.get(
            extra=b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: shop\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: theirs\r\n"
        )
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-For") == b"1.2.3.4, 5.6.7.8, 127.0.0.1"
        assert field(head, b"X-Forwarded-Proto") == b"https"
        assert field(head, b"X-Forwarded-Host") == b"shop"
        assert fields(head, b"Forwarded") == [b"for=1.2.3.4", b'for=127.0.0.1;host="a.example";proto=http']
        assert field(head, b"X-Request-Id") == b"theirs"


def test_forwarding_fields_can_be_off() -> None:
    with (
        Backend() as backend,
        http(backend, listener={"forwarded": "off", "request_id": False}) as lb,
        Client(lb.address) as client,
    ):
        client.get(extra=b"X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: 5\r\n")
        head = backend.heads[0]
        assert field(head, b"X-Request-Id") == b"5"
        assert [field(head, name) for name in (b"X-Forwarded-For", b"Forwarded", b"X-Forwarded-Host")] == [None] * 3


def test_absolute_target_becomes_origin_form_with_its_own_host() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert client.answer().status == 200
        assert backend.heads[0].startswith(b"GET /x?y HTTP/1.1\r\nHost: b.example:81\r\n")
        assert fields(backend.heads[0], b"Host") == [b"b.example:81"]


def test_http_1_0_client_without_host_and_keep_alive() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"backend")
        assert field(answer.head, b"Connection") == b"close"
        assert client.ends()
        assert fields(backend.heads[0], b"Host") == [backend.address.encode()]
        assert b"Via: 1.0 lbcore" in backend.heads[0]


def test_http_1_0_client_with_keep_alive_is_kept() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = client.answer()
            assert field(answer.head, b"Connection") == b"keep-alive"


def test_pipelined_requests_are_answered_in_order() -> None:
    def echo_path(connection: socket.socket, head: bytes, body: bytes) -> None:
        path = head.split(b" ")[1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    with Backend(echo_path) as one, Backend(echo_path) as two, http(one, two) as lb, Client(lb.address) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(100)))
        assert [client.answer().body for _ in range(100)] == [b"/%d" % number for number in range(100)]
        assert len(one.heads) == len(two.heads) == 50


def test_request_byte_by_byte() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        for byte in b"\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":
            client.send(bytes([byte]))
        assert client.answer().status == 200
        assert backend.bodies == [b"hello"]


@pytest.mark.parametrize("name", [*REFUSED, *FRAMING])
def test_no_byte_of_a_refused_request_reaches_a_backend(name: str) -> None:
    head, status = REFUSED.get(name) or (b"POST / HTTP/1.1\r\nHost: a\r\n" + FRAMING[name][0] + b"\r\nhello", FRAMING[name][1])
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(head)
        answer = client.answer()
        assert answer.status == status
        assert field(answer.head, b"Connection") == b"close"
        assert client.ends()
        assert (backend.connections, backend.heads) == (0, [])
        assert figure(lb, "requests_bad") == 1


@pytest.mark.parametrize("name", CHUNKED_REFUSED)
def test_bad_chunks_are_refused_before_a_backend_is_reached(name: str) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED_REFUSED[name])
        assert client.answer().status == 400
        assert backend.connections == 0


def test_bad_chunk_in_the_middle_of_a_body_is_400_and_the_backend_sees_a_broken_request() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_for(lambda: backend.heads, "the head arrives")
        client.send(b"zz\r\n")
        assert client.answer().status == 400
        assert backend.ended.wait(5)
        assert backend.bodies[0] == b"3\r\nabc\r\n"


def test_limits_of_head_target_and_body() -> None:
    limits = {"max_header_bytes": "1k", "max_target": "100", "max_body": "1k"}
    cases = {
        431: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2000 + b"\r\n\r\n",
        414: b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n",
    }
    with Backend() as backend, http(backend, listener=limits) as lb:
        for status, head in cases.items():
            with Client(lb.address) as client:
                client.send(head)
                assert client.answer().status == status
        assert backend.connections == 0
        with Client(lb.address) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n")
            wait_for(lambda: backend.heads, "the first chunk passes")
            client.send((b"1f4\r\n" + b"x" * 500 + b"\r\n") * 2)
            assert client.answer().status == 413


@pytest.mark.parametrize(
    "name", [b"X_Forwarded_For", b"x-forwarded_proto", b"X_Forwarded_Host", b"X_Request_Id", b"Client_Cert"]
)
def test_fields_that_vouch_are_not_brought_by_strangers_with_underscores(name: bytes) -> None:
    """CGI and WSGI make HTTP_X_FORWARDED_FOR of both spellings."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n%s: evil\r\nX_Other: kept\r\n\r\n" % name)
        assert client.answer().status == 200
        assert b"evil" not in backend.heads[0]
        assert b"X_Other: kept" in backend.heads[0]


@pytest.mark.parametrize("name", [b"Client-Cert", b"client_cert", b"X-Forwarded-For", b"Content_Length", b"Forwarded"])
def test_trailers_do_not_vouch(name: bytes) -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s: x\r\n\r\n" % name)
        assert client.answer().status == 400
