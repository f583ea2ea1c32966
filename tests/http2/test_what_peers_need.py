"""What single peers need of us, one by one, beside what the other modules have (test_items.py lists all)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from grpc_calls import channel
from grpc_servers import GrpcServer
from h2_backends import CALL, MESSAGE, Call, H2Backend, answer_call, h2
from h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    H2Client,
    frame,
    window_update,
)
from h2_servers import nghttpd
from harness import wait_for
from http_balancers import figure, http
from http_peers import Backend, Client
from real_peers import needs
from tls_balancers import https

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tls_peers import Authority

KNOWN = {DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION}
LARGE = b"x" * 300_000


def large(connection: socket.socket, head: bytes, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LARGE), LARGE))


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx2_asks_again_after_an_idle_end(library: str) -> None:
    """Item 3: it takes the true last stream for a reason to connect anew."""
    client_of = pytest.importorskip(library).Client
    with Backend() as backend, http(backend, listener={"keepalive_timeout": "200ms"}) as lb:
        with client_of(http2=True, http1=False, timeout=20) as client:
            for number in range(1, 5):
                assert client.post(f"http://{lb.address[0]}:{lb.address[1]}/", content=b"hi").content == b"backend"
                wait_for(lambda number=number: figure(lb, "http2_goaways") == number, "the idle connection is ended")


def test_a_call_never_ends_with_data() -> None:
    """Item 12: a backend that forgets its trailers; grpcio 1.85.1 says UNKNOWN, grpclib 0.4.9 waits for its deadline."""

    def forgets(call: Call) -> None:
        call.talk.send(
            call.talk.head(call.stream, (":status", "200"), ("content-type", "application/grpc")),
            frame(DATA, END_STREAM, call.stream, MESSAGE),
        )

    with H2Backend(forgets) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
        response = client.response(1)
        assert response.body == MESSAGE
        assert response.heads[-1].get("grpc-status") not in (None, "0")


def test_grpcio_and_grpclib_get_known_frames_without_padding() -> None:
    """Items 14, 15 and 24: no padding for grpcio 1.85.1, no frame of an extension for grpclib 0.4.9, no PING of ours."""
    with H2Backend(answer_call) as backend, http(backend.address) as lb, H2Client(lb.address) as client:
        for stream in range(1, 41, 2):
            client.ask(stream, "/a.B/C", *CALL, method="POST", body=MESSAGE * 100)
            assert client.response(stream).heads[-1]["grpc-status"] == "0"
        assert client.ping()
        for got in (*client.frames, *backend.frames):
            assert got.kind in KNOWN, got
            assert not (got.kind in (DATA, HEADERS) and got.flags & PADDED), got
        assert not [got for got in backend.all_of(PING) if not got.flags & ACK]


def test_data_is_16_kib_whatever_nginx_announces() -> None:
    """Item 16: nginx 1.22 and grpcio 1.85.1 announce frames of megabytes."""
    with Backend(large) as backend, http(backend) as lb:
        with H2Client(lb.address, (MAX_FRAME_SIZE, 16_777_215), (INITIAL_WINDOW_SIZE, (1 << 31) - 1)) as client:
            client.send(window_update(0, (1 << 30)))
            client.ask(1)
            assert client.response(1).body == LARGE
            assert max(len(got.payload) for got in client.all_of(DATA)) <= 16384


def test_frames_of_16_kib_are_taken() -> None:
    """Item 16: any that we announce."""
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", method="POST")), frame(DATA, 0, 1, bytes(16384)))
        client.send(frame(DATA, END_STREAM, 1, bytes(16384)))
        assert client.response(1).status == "200"


@needs("nghttpd")
def test_nghttpd_gets_no_more_streams_than_it_announces(tmp_path: Path) -> None:
    """Item 18: it ends the connection for one more."""
    (tmp_path / "page").write_bytes(b"a page")
    with nghttpd(tmp_path, "--max-concurrent-streams=3") as address, http(address, protocol="h2") as lb:
        with H2Client(lb.address) as client:
            client.ask(1, "/page")  # now it is known
            assert client.response(1).body == b"a page"
            for stream in range(3, 103, 2):
                client.ask(stream, "/page")
            for _ in range(50):
                assert client.until(lambda got: got.kind in (DATA, HEADERS) and bool(got.flags & END_STREAM))
            assert not client.all_of(RST_STREAM)
        assert (figure(lb, "requests_done"), figure(lb, "calls_refused")) == (51, 0)


def test_streams_of_a_first_burst_that_a_backend_refuses_come_again() -> None:
    """Item 18: a hundred go out until it has said how many it takes. There is no other backend."""
    taken = 3

    def some(call: Call) -> None:
        if 2 * taken < call.stream < 20 and call.talk is call.talk.backend.talks[0]:
            call.talk.send(frame(RST_STREAM, 0, call.stream, struct.pack(">I", 7)))
        else:
            call.talk.answer(call.stream)

    with H2Backend(some, settings=((MAX_CONCURRENT_STREAMS, taken),)) as backend, h2(backend, retries=2) as lb:
        with H2Client(lb.address) as client:
            client.send(*(frame(HEADERS, END_HEADERS | END_STREAM, at, client.head()) for at in range(1, 21, 2)))
            for _ in range(10):
                assert client.until(lambda got: got.kind in (DATA, HEADERS) and bool(got.flags & END_STREAM))
        assert figure(lb, "requests_done") == 10


def test_crumbs_are_joined_for_granian() -> None:
    """Item 21: granian 2.8.7 does not join them for its application."""
    with H2Backend() as backend, h2(backend) as lb, H2Client(lb.address) as client:
        client.ask(1, "/", ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))
        assert client.response(1).status == "200"
        assert [value for name, value in backend.calls[0].fields if name == "cookie"] == ["a=1; b=2"]


def test_metadata_below_the_soft_limit_of_grpcio_arrives() -> None:
    """Item 23: from 8,192 bytes on it refuses some of them at random; what we add is counted as well."""
    pytest.importorskip("grpc")
    with GrpcServer("one") as server, http(server.address) as lb, channel(f"{lb.address[0]}:{lb.address[1]}") as made:
        asked = made.unary_unary("/a.B/Metadata")
        for _ in range(30):
            assert asked(b"", timeout=20, metadata=[("x-asked", "y" * 7000)]) == b"one"


def test_small_windows_are_allowed_in_batches() -> None:
    """Item 25: grpcio 1.85.1 counts frames that ask for nothing."""
    with Backend() as backend, http(backend) as lb, H2Client(lb.address) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, client.head("/", method="POST")))
        for _ in range(200):
            client.send(frame(DATA, 0, 1, b"x" * 50))
        client.send(frame(DATA, END_STREAM, 1))
        assert client.response(1).status == "200"
        assert len([got for got in client.all_of(WINDOW_UPDATE) if got.payload]) <= 5


@pytest.mark.parametrize("end", ["trailers", "at once"])
def test_grpclib_is_told_no_wrong_length(end: str) -> None:
    """Item 29: grpclib 0.4.9 closes the connection for a content-length that is wrong."""

    def at_once(call: Call) -> None:
        call.talk.send(call.talk.head(call.stream, (":status", "200"), ("grpc-status", "5"), end=True))

    with H2Backend(answer_call if end == "trailers" else at_once) as backend, http(backend.address) as lb:
        with H2Client(lb.address) as client:
            client.ask(1, "/a.B/C", *CALL, method="POST", body=MESSAGE)
            response = client.response(1)
            assert response.heads[0].get("content-length", str(len(response.body))) == str(len(response.body))
        assert backend.calls[0].head.get("content-length", str(len(MESSAGE))) == str(len(MESSAGE))


def test_grpcio_over_tls(authority: Authority, site: Path) -> None:
    """Item 30: calls over TLS that ends here, by ALPN."""
    grpc: Any = pytest.importorskip("grpc")
    options = [("grpc.ssl_target_name_override", "a.test"), ("grpc.use_local_subchannel_pool", 1)]
    with GrpcServer("one") as server, https(site, server.address) as lb:
        credentials = grpc.ssl_channel_credentials(authority.cert.read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{lb.address[1]}", credentials, options) as made:
            for _ in range(20):
                assert made.unary_unary("/a.B/Name")(b"hi", timeout=20) == b"one:hi"


def test_a_true_goaway_ends_what_hypercorn_has_taken_back() -> None:
    """Item 8: a stream that was refused by RST_STREAM(NO_ERROR), and that a later GOAWAY covers, is served elsewhere once."""

    def takes_back(call: Call) -> None:
        call.talk.send(frame(RST_STREAM, 0, call.stream, struct.pack(">I", 0)))
        call.talk.send(frame(GOAWAY, payload=struct.pack(">II", call.stream, 0)))

    with H2Backend(takes_back) as first, H2Backend() as second, h2(first, second, retries=3) as lb:
        with Client(lb.address) as client:
            for _ in range(3):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                assert client.answer().body == b"ok"
        assert [call.body for call in second.calls] == [b"hi"] * 3
