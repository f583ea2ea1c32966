"""Chunked bodies are framed anew: what a backend reads, what a client reads, and what is refused before either reads it."""

from __future__ import annotations

import hashlib
import socket
import threading
from typing import Any

import pytest
from harness import wait_for
from http_balancers import OFF, figure, http
from http_cases import CHUNKED_OF_ANSWERS, CHUNKED_TAKEN
from http_peers import Backend, Client, Reader, answering, field, narrow
from pace import take_slowly

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("way", ["whole", "behind its head", "byte by byte"])
def test_chunk_extensions_of_requests_do_not_reach_the_backend(way: str) -> None:
    sizes = b"".join(CHUNKED_TAKEN[name] + b"hello\r\n" for name in CHUNKED_TAKEN)
    body = sizes + b'0;last="1"\r\n\r\n'
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        if way == "whole":
            client.send(POST + body)
        elif way == "behind its head":
            client.send(POST)
            wait_for(lambda: backend.heads, "the head is forwarded")
            client.send(body)
        else:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(POST + body)):
                client.send((POST + body)[at : at + 1])
        assert client.answer().status == 200
        assert backend.bodies == [b"5\r\nhello\r\n" * len(CHUNKED_TAKEN) + b"0\r\n\r\n"]
        assert client.get().status == 200


@pytest.mark.parametrize("line", [b"5;bad[=x", b'5;a="b', b"5;", b"5 ", b"5;a=b ", b"5;a b", b"5;=b"])
def test_malformed_chunk_extension_is_refused_before_a_byte_of_its_chunk_goes_out(line: bytes) -> None:
    for pieces in ([line + b"\r\nhello\r\n0\r\n\r\n"], [line, b"\r\nhello\r\n0\r\n\r\n"]):
        with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
            client.send(POST + b"3\r\nabc\r\n")
            wait_for(lambda: backend.heads, "the head is forwarded")
            for piece in pieces:
                client.send(piece)
            assert client.answer().status == 400
            assert backend.ended.wait(5)
            assert backend.bodies == [b"3\r\nabc\r\n"]
            assert backend.raw == b""


@pytest.mark.parametrize("name", CHUNKED_TAKEN)
def test_chunk_extensions_of_answers_do_not_reach_the_client(name: str) -> None:
    raw = CHUNKED_TAKEN[name] + b"hello\r\n0;last\r\nX-Sum: 6\r\n\r\n"
    with Backend(answering(CHUNKED + raw)) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            assert client.get().body == b"5\r\nhello\r\n0\r\nX-Sum: 6\r\n\r\n"
        assert backend.connections == 1


def test_chunk_line_of_an_answer_that_does_not_end() -> None:
    with Backend(answering(CHUNKED + b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n")) as backend, http(backend) as lb:
        with Client(lb.address) as client:
            assert client.get().status == 502


@pytest.mark.parametrize("when", ["with the head", "in the middle"])
@pytest.mark.parametrize("name", CHUNKED_OF_ANSWERS)
def test_answers_whose_chunks_only_we_read_are_taken(name: str, when: str) -> None:
    """nginx 1.22 and HAProxy 2.6 take them."""
    size, trailer = CHUNKED_OF_ANSWERS[name]

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(CHUNKED + b"3\r\nabc\r\n" * (when == "in the middle"))
        if when == "in the middle":
            assert passed.wait(5)
        connection.sendall(size + b"hello\r\n0\r\n" + trailer + b"X-Last: 2\r\n\r\n")

    passed = threading.Event()
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        if when == "in the middle":
            wait_for(lambda: b"abc" in client.socket.recv(4096, socket.MSG_PEEK), "the first chunk passes")
        passed.set()
        body = client.answer().body
        kept = b"X-Sum: 1\r\n" if b"X-Sum" in trailer else b""
        assert body.endswith(b"5\r\nhello\r\n0\r\n" + kept + b"X-Last: 2\r\n\r\n")
        assert client.get().status == 200
        assert backend.connections == 1


TRAILERS = b"Trailer: X-Sum\r\nTE: trailers\r\nConnection: TE\r\n"


def post_with_trailers(client: Client) -> None:
    client.send(POST[:-2] + TRAILERS + b"\r\n5\r\nhello\r\n0\r\nX-Sum: 6\r\nX_Other: 7\r\n\r\n")
    assert client.answer().status == 200


def test_request_trailers_are_dropped() -> None:
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        post_with_trailers(client)
        assert backend.bodies == [b"5\r\nhello\r\n0\r\n\r\n"]
        for name in (b"Trailer", b"TE", b"Connection"):
            assert field(backend.heads[0], name) is None


def test_request_trailers_reach_a_pool_that_asks_for_them() -> None:
    with Backend() as backend, http(backend, trailers=True) as lb, Client(lb.address) as client:
        post_with_trailers(client)
        assert backend.bodies == [b"5\r\nhello\r\n0\r\nX-Sum: 6\r\nX_Other: 7\r\n\r\n"]
        assert field(backend.heads[0], b"Trailer") == b"X-Sum"
        assert field(backend.heads[0], b"TE") == b"trailers"
        assert field(backend.heads[0], b"Connection") == b"TE"
        client.send(POST + b"0\r\nContent-Length: 6\r\n\r\n")
        assert client.answer().status == 400


def test_what_a_pool_asks_for_holds_for_the_whole_request() -> None:
    """A reload in the middle of a body does not leave half of its trailers."""
    with Backend() as backend, http(backend, trailers=True) as lb, Client(lb.address) as client:
        client.send(POST[:-2] + TRAILERS + b"\r\n5\r\nhello\r\n")
        wait_for(lambda: backend.heads, "the head is forwarded")
        lb.reload(
            BalancerSettings(
                workers=1,
                drain_timeout="2s",
                listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
                pools=[PoolSettings(probe=OFF, backends=[backend.address], policy="round_robin", trailers=False)],
            )
        )
        client.send(b"0\r\nX-Sum: 6\r\n\r\n")
        assert client.answer().status == 200
        post_with_trailers(client)
        assert backend.bodies == [b"5\r\nhello\r\n0\r\nX-Sum: 6\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]


def test_trailers_of_answers_are_left_out_for_http_1_0_with_what_announces_them() -> None:
    raw = CHUNKED[:-2] + b"Trailer: X-Sum\r\n\r\n5 ;a\r\nhello\r\n0\r\nX-Sum: 6\r\n\r\n"
    with Backend(answering(raw)) as backend, http(backend) as lb:
        with Client(lb.address) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            answer = client.answer()
            assert answer.body == b"hello"
            assert field(answer.head, b"Trailer") is None
        with Client(lb.address) as client:
            assert field(client.get().head, b"Trailer") == b"X-Sum"


def test_a_replayed_chunked_request_is_framed_the_same() -> None:
    """It is kept as it goes out, and sent twice."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        if len(backend.heads) == 2:
            return True  # the kept connection ends as the request comes
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return False

    put = POST.replace(b"POST", b"PUT") + b'05 ; a="b"\r\nhello\r\n0;c\r\nX-Sum: 6\r\n\r\n'
    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(2):
            client.send(put)
            assert client.answer().status == 200
        assert backend.bodies == [b"5\r\nhello\r\n0\r\n\r\n"] * 3
        assert figure(lb, "replays") == 1


def test_requests_behind_a_chunked_one_with_extensions() -> None:
    """What follows moves up when the body becomes shorter."""
    with Backend() as backend, http(backend) as lb, Client(lb.address) as client:
        post = POST + b"5;" + b"a" * 200 + b"\r\nhello\r\n0\r\nX-Sum: 6\r\n\r\n"
        client.send(post * 3 + b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.answer().status for _ in range(4)] == [200] * 4
        assert backend.bodies == [b"5\r\nhello\r\n0\r\n\r\n"] * 3 + [b""]
        assert backend.heads[3].startswith(b"GET /last ")


def chunks(content: bytes, size: int, odd: bytes = b"") -> bytes:
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), odd, part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("datapath", ["auto", "copy", "splice"])
@pytest.mark.parametrize("size", [10_000, 65_536, 1_500_000])
def test_large_chunked_bodies_both_ways(size: int, datapath: str) -> None:
    content = hashlib.shake_128(b"seed").digest(3_000_000)
    framed = chunks(content, size)

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(CHUNKED + chunks(content, size, b" ;a"))

    with Backend(script) as backend, http(backend, top={"datapath": datapath}) as lb, Client(lb.address) as client:
        for _ in range(2):
            threading.Thread(target=client.send, args=(POST + chunks(content, size, b";a=b"),)).start()
            assert client.answer().body == framed
        assert backend.bodies == [framed] * 2
        spliced = figure(lb, "bytes_spliced")
        if datapath == "copy" or size < 65_536:
            assert spliced == 0
        elif size > 1_000_000:
            assert spliced > 5_000_000


def test_a_large_chunk_is_spliced_to_an_http_1_0_client_too() -> None:
    content = hashlib.shake_128(b"seed").digest(4_000_000)
    with (
        Backend(answering(CHUNKED + chunks(content, 2_000_000))) as backend,
        http(backend, top={"datapath": "splice"}) as lb,
        Client(lb.address) as client,
    ):
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer().body == content
        assert figure(lb, "bytes_spliced") > 2_000_000


@pytest.mark.parametrize("datapath", ["copy", "splice"])
def test_chunks_for_a_client_that_takes_slowly(datapath: str) -> None:
    content = hashlib.shake_128(b"seed").digest(1_500_000)
    body = chunks(content, 300_000, b" ; a")
    with Backend(answering(CHUNKED + body)) as backend, http(backend, top={"datapath": datapath}) as lb:
        client = narrow(lb.address)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        take_slowly(client, 100_000)
        reader = Reader(client)
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += client.recv(65536)
        assert rest.endswith(chunks(content, 300_000)[-1_000_000:])
        assert reader.buffer == b""
        client.close()


def test_chunked_body_beyond_max_body_is_refused_when_it_is_announced() -> None:
    limits: dict[str, Any] = {"max_body": "100k"}
    with Backend() as backend, http(backend, listener=limits) as lb, Client(lb.address) as client:
        client.send(POST + b"20000\r\n")
        assert client.answer().status == 413
        assert backend.connections == 0
