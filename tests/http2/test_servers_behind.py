"""Servers and proxies of others behind lbcore, by HTTP/2: pages, uploads, trailers, and calls of gRPC through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from grpc_calls import LARGE, called_in_all_ways
from grpc_servers import GrpcServer
from h2_frames import END_HEADERS, HEADERS, H2Client, frame, window_update
from h2_servers import grpclib_server, haproxy_h2, nghttpd, nginx_h2, node_h2
from http_balancers import figure, http
from http_peers import Backend, Client, field
from real_peers import needs

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from lbcore import Balancer


def echo(connection: socket.socket, head: bytes, body: bytes) -> None:
    if head.startswith(b"HEAD "):
        body = b""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def posted(lb: Balancer, body: bytes) -> bytes:
    """What comes back of a body of HTTP/1.1."""
    with Client(lb.address) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = client.answer()
    return unchunked(answer.body) if field(answer.head, b"Transfer-Encoding") else answer.body


def posted_by_h2(lb: Balancer, body: bytes) -> bytes:
    """What comes back of one of HTTP/2, in frames."""
    with H2Client(lb.address) as client:
        client.send(
            window_update(0, 1 << 24),
            frame(HEADERS, END_HEADERS, 1, client.head("/echo", ("content-length", str(len(body))), method="POST")),
        )
        pieces = [body[at : at + 16000] for at in range(0, len(body), 16000)]
        for piece in pieces:
            client.send(frame(0, piece is pieces[-1], 1, piece))
        return client.response(1, on_data=lambda got: client.send(window_update(1, len(got.payload) or 1))).body


def unchunked(body: bytes) -> bytes:
    """The data of a chunked body."""
    data = b""
    while (size := int(body.partition(b"\r\n")[0], 16)) > 0:
        _, _, body = body.partition(b"\r\n")
        data, body = data + body[:size], body[size + 2 :]
    return data


# --- servers ----------------------------------------------------------------------------------------------------------------


@needs("nghttpd")
def test_nghttpd(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    with (
        nghttpd(tmp_path, "--trailer", "x-sum: 1") as address,
        http(address, protocol="h2") as lb,
        Client(lb.address) as client,
    ):
        for _ in range(3):
            assert client.get("/large").body == LARGE
        assert client.get("/large", method=b"HEAD").status == 200
        assert client.get("/nothing").status == 404
        assert posted(lb, LARGE) == LARGE
        assert posted_by_h2(lb, LARGE[:50_000]) == LARGE[:50_000]
        assert figure(lb, "responses_bad") == 0


@needs("node")
def test_node(tmp_path: Path) -> None:
    with node_h2(tmp_path) as address, http(address, protocol="h2") as lb:
        assert posted(lb, LARGE) == LARGE
        with Client(lb.address) as plain:
            assert plain.get("/").body == b"0\r\nx-sum: 0\r\n\r\n"
        with H2Client(lb.address) as client:
            for stream in range(1, 121, 2):
                client.ask(stream, f"/{stream}", method="POST", body=b"hi")
            heads = client.response(1).heads
            assert (heads[0]["x-path"], heads[0]["x-host"], heads[-1]["x-sum"]) == ("/1", "a.example", "2")


@needs("nginx")
def test_nginx(tmp_path: Path) -> None:
    with Backend(echo) as behind, nginx_h2(tmp_path, f"proxy_pass http://{behind.address}") as address:
        with http(address, protocol="h2") as lb:
            assert posted(lb, LARGE) == LARGE
            assert posted_by_h2(lb, LARGE[:50_000]) == LARGE[:50_000]
            with Client(lb.address) as client:
                assert client.get("/", method=b"HEAD").status == 200
            assert figure(lb, "responses_bad") == 0


@needs("haproxy")
def test_haproxy(tmp_path: Path) -> None:
    with Backend(echo) as behind, haproxy_h2(tmp_path, behind.address) as address, http(address, protocol="h2") as lb:
        assert posted(lb, LARGE) == LARGE
        assert posted_by_h2(lb, LARGE[:50_000]) == LARGE[:50_000]
        assert figure(lb, "responses_bad") == 0


# --- gRPC -------------------------------------------------------------------------------------------------------------------


def called(lb: Balancer, name: bytes) -> None:
    """Calls of all kinds; the statuses are counted."""
    called_in_all_ways(f"{lb.address[0]}:{lb.address[1]}", name)
    assert figure(lb, "grpc_not_found") == 1


def test_calls_to_grpclib() -> None:
    pytest.importorskip("grpclib")
    with grpclib_server() as address, http(address) as lb:
        called(lb, b"grpclib")


@needs("nginx")
def test_calls_through_nginx(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    with GrpcServer("one") as server, nginx_h2(tmp_path, f"grpc_pass grpc://{server.address}") as address, http(address) as lb:
        called(lb, b"one")


@needs("haproxy")
def test_calls_through_haproxy(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    with (
        GrpcServer("one") as server,
        haproxy_h2(tmp_path, server.address, onward="proto h2") as address,
        http(address) as lb,
    ):
        called(lb, b"one")
