"""Mode https: requests and answers over TLS, and how connections end."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from harness import dial, read_all, reset, wait_for
from http_balancers import GET, OK, figure
from http_peers import Backend, Reader, answering, field
from tls_balancers import V12, V13, answers, https, request
from tls_peers import (
    PLAIN,
    Authority,
    ByHand,
    TlsClient,
    trusting,
)


def test_requests_on_one_connection(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        for _ in range(50):
            assert client.get().body == b"backend"
        assert field(client.get(method=b"HEAD").head, b"Content-Length") == b"7"
        assert client.get().body == b"backend"
        wait_for(lambda: figure(lb, "requests_done") == 52, "the last is over")
        assert (figure(lb, "handshakes"), figure(lb, "accepted")) == (1, 1)


def test_backends_are_told_https(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.get(extra=b"X-Forwarded-Proto: http\r\nForwarded: proto=http\r\n")
        head = backend.heads[0]
        assert field(head, b"X-Forwarded-Proto") == b"https"
        assert field(head, b"X-Forwarded-For") == b"127.0.0.1"
        assert field(head, b"Forwarded") == b'for=127.0.0.1;host="a.example";proto=https'


def test_requests_in_one_record_and_one_over_many(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        client.socket.sendall(client.sealed(b"".join(request(f"/{number}") for number in range(20))))
        assert answers(client, 20) == [b"backend"] * 20
        assert [head.split()[1] for head in backend.heads] == [b"/%d" % number for number in range(20)]
        post = request("/post", b"Content-Length: 5\r\n", b"POST") + b"hello"
        client.socket.sendall(client.sealed(*(post[at : at + 1] for at in range(len(post)))))
        assert answers(client, 1) == [b"backend"]
        chunks = request("/chunks", b"Transfer-Encoding: chunked\r\n", b"POST") + b"3\r\nabc\r\n0\r\n\r\n"
        client.socket.sendall(client.sealed(post + chunks + post + request("/last")))
        assert answers(client, 4) == [b"backend"] * 4
        assert backend.bodies[20:] == [b"hello", b"hello", b"3\r\nabc\r\n0\r\n\r\n", b"hello", b""]


@pytest.mark.parametrize("version", [V12, V13])
def test_records_over_many_segments(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    """The handshake and two requests, byte by byte."""
    with (
        Backend() as backend,
        https(site, backend) as lb,
        ByHand(lb.address, trusting(authority, version=version)) as client,
    ):

        def one_by_one(data: bytes) -> None:
            for at in range(len(data)):
                client.socket.sendall(data[at : at + 1])

        client.shake(one_by_one)
        one_by_one(client.sealed(request("/1") + request("/2", b"Content-Length: 5\r\n", b"POST"), b"he", b"llo"))
        assert answers(client, 2) == [b"backend"] * 2
        assert backend.bodies == [b"", b"hello"]


def test_a_request_with_the_handshakes_last_words(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.socket.sendall(client.hello())
        while True:
            client.take()
            try:
                client.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
        client.socket.sendall(client.sealed(request()))
        assert answers(client, 1) == [b"backend"]


def test_large_bodies_both_ways(authority: Authority, site: Path) -> None:
    big = os.urandom(8 << 20)
    parts = [big[at : at + 99_999] for at in range(0, len(big), 99_999)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    framed = {
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(big) + big,
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
    }

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(framed[head.split()[1].decode()])

    with Backend(script) as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(request("/length", b"Content-Length: %d\r\n" % len(big), b"POST"))
        client.send(big)
        assert client.answer().body == big
        client.send(request("/chunked", b"Transfer-Encoding: chunked\r\n", b"POST"))
        client.send(chunked)
        assert client.answer().body == chunked
        assert backend.bodies == [big, chunked]
        assert figure(lb, "accepted") == 1


def test_answers_to_a_slow_reader(authority: Authority, site: Path) -> None:
    """Pipelined, some of them large, and taken two thousand bytes at a time."""
    sizes = [10, 8_000_000, 3, 70_000, 16_384, 1]

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        size = int(head.split()[1][1:])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes([size % 251]) * size)

    with (
        Backend(script) as backend,
        https(site, backend) as lb,
        ByHand(lb.address, trusting(authority), receive_buffer=2048) as client,
    ):
        client.shake()
        client.socket.sendall(client.sealed(b"".join(request(f"/{size}") for size in sizes)))
        wait_for(lambda: figure(lb, "buffers") == 1, "the balancer waits for its client")
        assert answers(client, len(sizes)) == [bytes([size % 251]) * size for size in sizes]


def test_continue_and_head(authority: Authority, site: Path) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(OK if body != b"" else OK[:-2])

    with Backend(script) as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        assert client.get(method=b"HEAD").status == 200
        client.send(request("/", b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"PUT"))
        client.send(b"hi")
        status = [client.answer().status]
        while status[-1] == 100:
            status.append(client.answer().status)
        assert status[-1] == 200
        assert backend.bodies == [b"", b"hi"]


def test_close_ends_with_close_notify(authority: Authority, site: Path) -> None:
    """Python's ssl takes no other end for one here."""
    with Backend() as backend, https(site, backend) as lb:
        for version in (V12, V13):
            for line in (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
                with TlsClient(lb.address, trusting(authority, version=version)) as client:
                    client.send(line)
                    assert client.answer().body == b"backend"
                    assert client.socket.recv(1) == b""
                    client.socket.unwrap()
    to_end = Backend(answering(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000, end=True))
    with to_end as backend, https(site, backend) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(GET)
        assert client.answer().body == b"x" * 300_000


def test_the_balancers_own_answers_end_with_close_notify(authority: Authority, site: Path) -> None:
    with https(site) as lb, TlsClient(lb.address, trusting(authority)) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400
        assert client.socket.recv(1) == b""


def test_kept_connection_that_rests_ends_with_close_notify(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"keepalive_timeout": "200ms"}) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.get().status == 200
            assert client.socket.recv(1) == b""
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.socket.recv(1) == b"", "nor was anything asked"


def test_a_cut_answer_does_not_end_with_close_notify(authority: Authority, site: Path) -> None:
    cut = Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", end=True))
    with cut as backend, https(site, backend) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(request()))
            with pytest.raises(ConnectionResetError):
                read_all(client)  # type: ignore[arg-type]
        assert figure(lb, "requests_failed") == 1


def test_client_that_closes_without_close_notify_is_done(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend) as lb:
        with TlsClient(lb.address, trusting(authority)) as client:
            assert client.get().status == 200
        wait_for(lambda: figure(lb, "closed_done") == 1, "it is done")
        assert (figure(lb, "requests_done"), figure(lb, "closed")) == (1, 1)


def test_client_resets_mid_answer(authority: Authority, site: Path) -> None:
    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)
        return True

    with Backend(script) as backend, https(site, backend) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(request()))
            assert client.recv(1000)
            reset(client.socket)
        wait_for(lambda: figure(lb, "requests_client_aborts") == 1, "the exchange is over")
        assert backend.ended.wait(10), "the backend is free"


def test_upgraded_connection_is_a_relay_of_tls(authority: Authority, site: Path) -> None:
    """The client's first bytes come in one record with its request."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        return False

    with Backend(script) as backend, https(site, backend) as lb, ByHand(lb.address, trusting(authority)) as client:
        client.shake()
        client.socket.sendall(client.sealed(request("/", b"Connection: Upgrade\r\nUpgrade: echo\r\n")))
        reader = Reader(client)  # type: ignore[arg-type]
        assert (reader.head() or b"").startswith(b"HTTP/1.1 101 ")
        assert reader.exactly(5) == b"early"
        client.socket.sendall(client.sealed(b"GET /again HTTP/1.1\r\n\r\n"))
        assert (reader.head() or b"").startswith(b"HTTP/1.1 101 ")
        assert backend.heads[1] == b"GET /again HTTP/1.1\r\n\r\n"
        assert figure(lb, "upgrades") == 1


def test_websockets(authority: Authority, site: Path) -> None:
    from websockets.sync.client import connect
    from websockets.sync.server import ServerConnection, serve

    def talk(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        with https(site, address) as lb:
            url = f"wss://a.test:{lb.address[1]}/"
            with connect(url, sock=dial(lb.address), ssl=trusting(authority), max_size=None) as client:
                for message in ("hello", "x" * 200_000, os.urandom(1_000_000)):
                    client.send(message)
                    assert client.recv() == message
            wait_for(lambda: figure(lb, "closed_done") >= 1, "it is over")
        server.shutdown()
        thread.join()
    gc.collect()  # its selector is part of a cycle


def test_curl(authority: Authority, site: Path) -> None:
    big = b"x" * 3_000_000
    with Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + big)) as backend, https(site, backend) as lb:
        url = f"https://a.test:{lb.address[1]}/"
        resolve = ["--resolve", f"a.test:{lb.address[1]}:127.0.0.1", "--cacert", str(authority.cert)]
        for extra in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"], ["--http1.0"], ["-H", "Connection: close"]):
            done = subprocess.run(["curl", "-sS", *extra, *resolve, url, url], capture_output=True, env=PLAIN, timeout=60)
            assert (done.returncode, done.stdout == big * 2) == (0, True), done.stderr
